"""What a training refuses before it reads a corpus."""

from pathlib import Path

import pytest

from model_serving.card import read_card
from model_serving.training.harness import Run
from model_serving.training.recipe import read_recipe
from pipelines.config import WEIGHTS
from pipelines.models.train import train
from schemas.errors import AffectstreamError
from tests.support.live_runs import QUIET


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


@pytest.mark.parametrize(
    ("task", "recipe", "file"),
    [
        ("text", "text-compact", "labels.txt"),
        ("voice", "voice-compact", "manifest.csv"),
        ("face", "face-compact", "ferplus.npz"),
        ("fusion", "fusion", "labels.txt"),
    ],
)
def test_a_corpus_that_is_not_there_is_named(
    tmp_path: Path, task: str, recipe: str, file: str
) -> None:
    with pytest.raises(AffectstreamError, match=f"{file} is not there: --data needs the folder"):
        train(task, read_recipe(recipe), tmp_path, None, Run(tmp_path, build=tmp_path), QUIET)


def test_the_fusion_that_learnt_nothing_is_written_below_build(tmp_path: Path) -> None:
    run = Run(tmp_path, build=tmp_path)
    train("fusion", read_recipe("fusion-open"), tmp_path, None, run, QUIET)
    made = read_card(tmp_path / "models" / "fusion-open" / "card.json")
    shipped = read_card(WEIGHTS / "fusion-open" / "card.json")
    assert made.calibration == shipped.calibration
