"""The voice evaluation judges EMO-DB by models that did not hear its speakers."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model_serving.training.evaluation import Evaluation
from model_serving.training.heads import columns
from model_serving.training.voice.data import EMODB, HEADS, RATE, RAVDESS, load_clips, targets
from model_serving.training.voice.evaluate import Answers, evaluate
from model_serving.training.voice.train import SHIPPED, answers_path, speakers_of
from pipelines.config import WEIGHTS
from schemas.errors import AffectstreamError

FOLDER = WEIGHTS / "voice-compact"
ACTORS = ("A19", "A20", "A21", "A22")  # two of dev, two of test
_PLACES = ("RAVDESS actors 21-24", "EMO-DB, speakers left out")
SPEAKERS = ("03", "08")  # a man and a woman, on either side of 30


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as that of the corpora: two clips of every emotion and speaker."""
    folder = tmp_path / "data" / "audio"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    at = np.arange(RATE // 2) / RATE
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        manifest = csv.writer(file)
        manifest.writerow(["dataset", "path", "emotion", "speaker"])
        for head, speakers in ((RAVDESS, ACTORS), (EMODB, SPEAKERS)):
            for number, (speaker, emotion) in enumerate(
                (s, e) for s in speakers for e in head.labels for _ in range(2)
            ):
                path = f"{head.name}-{number}.wav"
                tone = np.sin(2 * np.pi * rng.uniform(90, 400) * at * (1 + rng.uniform(0, 2) * at))
                soundfile.write(folder / path, 0.3 * tone * rng.uniform(0.5, 1, len(at)), RATE)
                manifest.writerow([head.name, path, emotion, speaker])
    return folder.parent


def judged(data: Path, shift: int = 0, away: float = 0.0) -> Evaluation:
    """Measure where the models that left speakers out are sure of the label this far from the true.

    What the model says of a speaker whom it heard is nonsense, and must not count. The model that
    was trained last gives logits that lie ``away`` from those of the shipped one.
    """
    clips = load_clips(data)
    own = columns(HEADS, EMODB.name)
    right = np.nan_to_num(targets(clips)) * 8
    right[:, own] = np.roll(right[:, own], shift, axis=1)
    kept = {name: right for name in (RAVDESS.name, EMODB.name)}
    for speaker in speakers_of(clips):
        heard = (clips.speaker != speaker)[:, None]
        kept[speaker] = np.where(heard, -right, right)
    cache = data.parent / "build" / "answers"
    kept[SHIPPED] = Answers(FOLDER, cache).to(clips, "all") + away
    path = answers_path(cache.parent / "training", FOLDER.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **kept)
    return evaluate(FOLDER, data, "compact", cache)


def test_a_speaker_is_judged_by_the_model_that_did_not_hear_it(data: Path) -> None:
    measured = judged(data).measured
    keyed = {m.key: m for m in measured if m.key}
    assert keyed["emodb_uar"].value == 1
    assert keyed["emodb_uar"].rows == len(SPEAKERS) * len(EMODB.labels) * 2
    never = [m for m in measured if m.split.startswith("EMO-DB, corpus never heard")]
    assert {m.value for m in never if m.metric == "accuracy"} == {1}
    assert next(m for m in judged(data, 1).measured if m.key == "emodb_uar").value == 0


def test_answers_of_another_training_are_no_figures_of_the_shipped_weights(data: Path) -> None:
    with pytest.raises(AffectstreamError, match="made other weights than"):
        judged(data, away=1.0)


def test_the_confidence_that_ships_is_judged_too(data: Path) -> None:
    found = [m for m in judged(data).measured if m.split.endswith("shared vocabulary")]
    splits = {m.split: m for m in found if m.metric == "ece"}
    assert set(splits) == {f"{name}, shared vocabulary" for name in _PLACES}
    assert all(m.floor is not None for m in splits.values())
    right = {m.split: m.value for m in found if m.metric == "accuracy"}
    assert right["EMO-DB, speakers left out, shared vocabulary"] == 1


def test_only_test_actors_are_judged_also_under_noise(data: Path) -> None:
    measured = judged(data).measured
    (plain,) = [m for m in measured if m.key == "ravdess_uar"]
    assert plain.rows == 2 * len(RAVDESS.labels) * 2
    noisy = [m for m in measured if "dB over white noise" in m.split and m.metric == "uar"]
    assert [m.rows for m in noisy] == [plain.rows] * 6
    assert not any(m.key for m in noisy)
    shipped = [m for m in noisy if "as shipped" in m.split]
    assert len(shipped) == 3
    covered = [m.value for m in measured if m.metric == "coverage at the shipped threshold"]
    assert len(covered) == 1 + 3
    assert any("average with voice-base" in m.split for m in measured)


def test_without_the_answers_of_its_recipe_it_says_which_command_writes_them(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(AffectstreamError, match="train voice --recipe voice-compact"):
        evaluate(FOLDER, data, "compact", tmp_path / "build" / "answers")
