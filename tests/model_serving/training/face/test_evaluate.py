"""The face evaluation reads FER+'s votes by their columns, and disturbs what it says it does."""

from pathlib import Path

import numpy as np

from model_serving.training.evaluation import Evaluation
from model_serving.training.face.data import FACE_LABELS, load_faces
from model_serving.training.face.evaluate import answers, evaluate
from model_serving.training.face.train import FERPLUS
from pipelines.config import WEIGHTS
from tests.support.model_folders import rendered_faces

FOLDER = WEIGHTS / "face-compact"
COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    "unknown", "NF",
)  # fmt: skip
SPLIT = "FER+ test, majority vote, 8 classes"


def write(data: Path, given: np.ndarray, labels: list[str]) -> None:
    """Write an archive as FER+'s is, all ten votes of an image on its label."""
    path = data / FERPLUS
    path.parent.mkdir(parents=True, exist_ok=True)
    votes = np.zeros((len(given), len(COLUMNS)))
    votes[np.arange(len(given)), [COLUMNS.index(label) for label in labels]] = 10
    np.savez(path, columns=COLUMNS, test_x=given, test_votes=votes)


def figures(found: Evaluation, metric: str) -> dict[str, float]:
    return {m.split: m.value for m in found.measured if m.metric == metric}


def test_a_model_is_right_where_the_votes_say_what_it_says(tmp_path: Path) -> None:
    given = rendered_faces(60)
    write(tmp_path, given, ["neutral"] * len(given))
    chances = answers(FOLDER, load_faces(tmp_path / FERPLUS, "test"), tmp_path / "first")
    said = [FACE_LABELS[place] for place in chances.argmax(axis=1)]
    assert len(set(said)) >= 3, said
    write(tmp_path, given, said)
    found = evaluate(FOLDER, tmp_path, "compact", tmp_path / "second")
    accuracy = figures(found, "accuracy")
    assert accuracy[SPLIT] == 1
    assert accuracy["FER+ test, largest vote, 8 classes"] == 1
    assert accuracy[f"{SPLIT}, first 60, blur of 2.0 px"] < 1
    assert f"{SPLIT}, average with face-base" in accuracy
    shipped = "FER+ test, majority vote, as shipped, 7 expressions"
    assert accuracy[shipped] > 0.9, "contrast that shipping adds changes what two say"
    blurred = f"{shipped}, first 60, blur of 2.0 px"
    assert accuracy[blurred] < 1
    coverage = figures(found, "coverage at the shipped threshold")
    assert coverage[blurred] < coverage[shipped], "blur lowers the confidence that ships"
    (goal,) = [m for m in found.measured if m.key]
    assert (goal.key, goal.metric, goal.value, goal.rows) == ("ferplus_accuracy", "accuracy", 1, 60)
    other = [FACE_LABELS[FACE_LABELS.index(label) - 1] for label in said]
    write(tmp_path, given, other)
    found = evaluate(FOLDER, tmp_path, "compact", tmp_path / "second")
    assert figures(found, "accuracy")[SPLIT] == 0


def test_faces_without_a_majority_or_that_are_none_are_not_judged(tmp_path: Path) -> None:
    write(tmp_path, rendered_faces(4), ["fear", "NF", "anger", "unknown"])
    with np.load(tmp_path / FERPLUS) as archive:
        parts = dict(archive)
    parts["test_votes"][2] = [0, 5, 0, 0, 5, 0, 0, 0, 0, 0]
    np.savez(tmp_path / FERPLUS, **parts)
    faces = load_faces(tmp_path / FERPLUS, "test")
    assert faces.majority.tolist() == [True, False]
    assert faces.votes[0].argmax() == FACE_LABELS.index("fear")
