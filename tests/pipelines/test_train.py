"""What a training refuses before it reads a corpus."""

from pathlib import Path

import pytest
from live_runs import QUIET

from model_serving.training.harness import Run
from model_serving.training.recipe import read_recipe
from pipelines.train import train
from schemas.errors import AffectstreamError


@pytest.mark.parametrize(
    ("task", "recipe", "licence", "told"),
    [
        ("text", "voice-base", "research", "is for voice: affectstream train voice"),
        ("voice", "voice-base", "open", "RAVDESS may be used for research only"),
        ("face", "face-compact", "open", r"FER\+ may be used for research only"),
    ],
)
def test_another_modality_and_a_licence_that_no_corpus_has_are_refused(
    tmp_path: Path, task: str, recipe: str, licence: str, told: str
) -> None:
    changed = read_recipe(recipe).model_copy(update={"licence": licence})
    with pytest.raises(AffectstreamError, match=told):
        train(task, changed, tmp_path, tmp_path / "out", Run(folder=tmp_path), QUIET)
    assert not (tmp_path / "out").exists()
