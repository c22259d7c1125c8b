"""``affectstream model add``: a draft, what its labels mean, figures of a CSV, what is missing."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model_serving.card import read_card
from model_serving.loader import load_recogniser
from pipelines.cli.app import app
from pipelines.cli.main import main  # noqa: F401 - joins the commands to the application
from schemas.errors import AffectstreamError
from tests.field.foreign_models import make_folder
from tests.support import model_folders as folders

LABELS = ["happy", "Angry", "odd"]


def _add(folder: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["model", "add", str(folder), *options])
    if isinstance(result.exception, AffectstreamError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def _folder(tmp_path: Path, **send: Any) -> Path:
    folder = tmp_path / "their-model"
    folder.mkdir()
    make_folder(folder, {"architecture": "bert", "labels": LABELS, "says": "Angry", **send})
    return folder


def _csv(path: Path, header: list[str], rows: list[list[str]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def test_a_draft_shows_what_labels_mean_and_what_is_missing(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    said = _add(folder)
    assert "0 happy joy 1 Angry anger 2 odd none of these" in said
    assert re.findall(r"missing: (\w+)", said) == ["licence", "training_data", "figures", "groups"]
    card = read_card(folder / "card.json")
    assert (card.name, card.licence, card.modality) == ("their-model", "research", "text")
    assert set(card.sha256) == {
        path.name for path in folder.iterdir() if path.suffix in {".json", ".safetensors"}
    } - {"card.json"}
    load_recogniser("text", str(folder), None, "cpu")


def test_a_licence_that_is_told_is_missing_no_more(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _add(folder)
    assert "missing: licence" not in _add(folder, "--licence", "open")
    assert read_card(folder / "card.json").licence == "open"
    assert "missing: licence" not in _add(folder)


def test_a_labelled_csv_gives_figures_and_gaps_between_groups(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    labels = ["anger", "Angry", "wütend", "joy"] * 60
    rows = [[f"text {n}", label, "fm"[n % 2]] for n, label in enumerate(labels)]
    said = _add(folder, "--data", _csv(tmp_path / "own.csv", ["text", "label", "sex"], rows))
    assert "own.csv: accuracy 0.750" in said
    card = read_card(folder / "card.json")
    found = {(f.split, f.metric): f for f in card.figures}
    assert found["own.csv", "accuracy"].value == 0.75
    assert found["own.csv", "accuracy"].rows == 240
    assert found["own.csv, sex, f", "accuracy"].value == 1.0
    assert found["own.csv, sex, m", "accuracy"].value == 0.5
    assert found["own.csv, sex", "uar gap"].value == pytest.approx(0.5)
    assert "missing: figures" not in said
    assert "missing: groups: their-model@1 is not loaded: its gap in recall" in said
    again = _add(folder, "--data", str(tmp_path / "own.csv"))
    assert len(read_card(folder / "card.json").figures) == len(card.figures)
    assert "own.csv: accuracy 0.750" in again


def test_a_csv_of_files_is_read_from_its_own_folder(tmp_path: Path) -> None:
    folder = _folder(tmp_path, architecture="vit")
    (tmp_path / "faces").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "faces" / name).write_bytes(folders.image(50))
    rows = [["faces/a.png", "anger"], ["faces/b.png", "joy"]]
    said = _add(folder, "--data", _csv(tmp_path / "faces.csv", ["path", "label"], rows))
    assert re.search(r"faces\.csv: accuracy \S+ \S+ to \S+ 2 ", said)


@pytest.mark.parametrize(
    ("header", "row", "refusal"),
    [
        (["sentence", "label"], ["a", "joy"], "needs a header with the columns text and label"),
        (["text"], ["a"], "needs a header with the columns text and label"),
        (["text", "label"], ["a", "curiosity"], r"mean no expression \(curiosity\)"),
        (["text", "label"], ["a", "odd"], r"mean no expression \(odd\)"),
        (["text", "label"], ["a", ""], "mean no expression"),
        (["text", "label"], ["a"], "mean no expression"),
    ],
)
def test_a_csv_that_cannot_be_measured_says_why(
    header: list[str], row: list[str], refusal: str, tmp_path: Path
) -> None:
    with pytest.raises(AffectstreamError, match=refusal):
        _add(_folder(tmp_path), "--data", _csv(tmp_path / "own.csv", header, [row]))


@pytest.mark.parametrize(
    ("content", "refusal"),
    [(b"", "needs a header"), (b"\xff\xfe\x00", "can't be read as CSV"), (None, "can't be read")],
)
def test_what_is_no_csv_says_so(content: bytes | None, refusal: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AffectstreamError, match=refusal):
        _add(_folder(tmp_path), "--data", str(path))


def test_a_semicolon_or_a_tab_between_columns_is_read(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    for mark in "\t;":
        path = tmp_path / "own.csv"
        path.write_text(f"\ufefftext{mark}label\nyes, no{mark}anger\n")
        assert "own.csv: accuracy 1.000" in _add(folder, "--data", str(path))


def test_a_card_that_is_there_stays(tmp_path: Path) -> None:
    card = {"labels": {"happy": "joy", "Angry": "disgust", "odd": None}}
    folder = _folder(tmp_path, card=card)
    before = (folder / "card.json").read_text()
    assert "1 Angry disgust" in _add(folder)
    assert (folder / "card.json").read_text() == before


def test_a_folder_of_unknown_kind_needs_its_modality(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="is no folder"):
        _add(tmp_path / "absent")
    with pytest.raises(AffectstreamError, match=r"has no config\.json of a model"):
        _add(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vits"}))
    with pytest.raises(AffectstreamError, match="name it, such as `--modality text`"):
        _add(tmp_path)
