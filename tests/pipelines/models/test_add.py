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


def _add(folder: Path, *options: str, ends: int = 1) -> str:
    """What the command says; it ends with 1 while the pipeline would not load the model."""
    result = CliRunner().invoke(app, ["model", "add", str(folder), *options])
    if isinstance(result.exception, AffectstreamError):
        raise result.exception
    assert result.exit_code == ends, result.output
    return " ".join(result.output.split())


def _folder(tmp_path: Path, **send: Any) -> Path:
    folder = tmp_path / "their-model"
    folder.mkdir(parents=True)
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
    lacking = ["licence", "labels", "training_data", "figures", "groups"]
    assert re.findall(r"missing: (\w+)", said) == lacking
    assert "missing: labels: odd mean none of the expressions by the draft" in said
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


def test_labels_that_are_null_are_listed_until_somebody_looked(tmp_path: Path) -> None:
    folder = _folder(tmp_path, labels=["happy", "Angry", "odd", "wild"])
    assert "missing: labels: odd, wild mean none" in _add(folder)
    card = json.loads((folder / "card.json").read_text())
    card["labels"]["wild"] = "anger"
    (folder / "card.json").write_text(json.dumps(card))
    assert "missing: labels: odd mean none" in _add(folder)
    card["notes"] = card["notes"].replace("Nobody looked yet at the labels that are null.", "")
    (folder / "card.json").write_text(json.dumps(card))
    assert "missing: labels" not in _add(folder)
    names = [f"LABEL_{number}" for number in range(3)]
    other = tmp_path / "other"
    other.mkdir()
    make_folder(other, {"architecture": "bert", "labels": names, "says": "LABEL_0"})
    with pytest.raises(AffectstreamError, match="maps no label to an expression"):
        _add(other)


def test_a_small_group_is_named_and_a_measured_gap_is_not_asked_for_again(tmp_path: Path) -> None:
    folder = _folder(tmp_path, labels=["happy", "Angry"])
    sexes = ["f"] * 120 + ["m"] * 90 + [""] * 10
    rows = [[f"text {n}", ["anger", "joy"][n % 2], sex] for n, sex in enumerate(sexes)]
    header = ["text", "label", "sex"]
    said = _add(folder, "--data", _csv(tmp_path / "own.csv", header, rows))
    assert "; a group needs 100 rows, and there are 90 of m in sex" in said
    assert "with a column for each kind of group" not in said
    more = [["more", "anger", "m"]] * 60
    said = _add(folder, "--data", _csv(tmp_path / "own.csv", header, rows + more))
    assert "over `models.max_gap` (0.1); teach it the groups that it serves worse, or" in said
    assert "measure it on groups" not in said
    alone = [[text, label, "f"] for text, label, _ in rows]
    other = _folder(tmp_path / "next", labels=["happy", "Angry"])
    said = _add(other, "--data", _csv(tmp_path / "own.csv", header, alone))
    assert "; a kind of group needs two whose names are known" in said


def test_a_model_whose_groups_lie_near_ends_with_0(tmp_path: Path) -> None:
    folder = _folder(tmp_path, labels=["happy", "Angry"])
    rows = [[f"text {n}", ["anger", "joy"][n % 2], "fm"[n // 2 % 2]] for n in range(400)]
    said = _add(
        folder, "--data", _csv(tmp_path / "own.csv", ["text", "label", "sex"], rows), ends=0
    )
    assert "missing: groups" not in said


def test_the_temperature_that_is_proposed_does_what_is_said_of_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path, labels=["happy", "Angry"])
    rows = [[f"text {n}", ["anger", "anger", "joy"][n % 3]] for n in range(300)]
    own = _csv(tmp_path / "own.csv", ["text", "label"], rows)
    found = re.search(
        r"is (\S+) off on average \(ece\): `calibration.temperature` (\S+) in card.json makes it "
        r"(\S+) on these rows",
        _add(folder, "--data", own),
    )
    assert found is not None
    card = json.loads((folder / "card.json").read_text())
    ece = {f["metric"]: f["value"] for f in card["figures"]}["ece"]
    assert ece == pytest.approx(float(found[1]), abs=0.001)
    assert ece > 0.25
    card["calibration"]["temperature"] = float(found[2])
    (folder / "card.json").write_text(json.dumps(card))
    assert "calibration:" not in _add(folder, "--data", own)
    card = json.loads((folder / "card.json").read_text())
    ece = {f["metric"]: f["value"] for f in card["figures"]}["ece"]
    assert ece == pytest.approx(float(found[3]), abs=0.002)
    assert ece < 0.01


def test_a_modality_that_the_card_does_not_say_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    _add(folder, "--modality", "text")
    with pytest.raises(AffectstreamError, match="judges text: leave `--modality voice` out"):
        _add(folder, "--modality", "voice")


def test_rows_that_cannot_be_read_are_told_before_anything_is_done(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    with pytest.raises(AffectstreamError, match=r"absent\.csv is no file"):
        _add(folder, "--data", str(tmp_path / "absent.csv"))
    assert not (folder / "card.json").exists()


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
    [(b"", "needs a header"), (b"\xff\xfe\x00", "can't be read as CSV")],
)
def test_what_is_no_csv_says_so(content: bytes, refusal: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
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
