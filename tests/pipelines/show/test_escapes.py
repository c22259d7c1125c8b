"""Texts of events reach no terminal, csv, JSON or Markdown with characters that act there."""

import csv
import io
import json
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cli import main
from pipelines.show.escapes import escape_controls, escape_csv_cell, escape_in_json
from pipelines.show.screen import show
from pipelines.tables.dictionary import describe, markdown
from tests.support.served import decision, feature, land
from transforms.landing.prepare import prepare_tables

HOSTILE = "\x1b]0;pwn\x07\x1b[2J\u202e\u200b\x9b2J\r|x"
ESCAPED = r"\x1b]0;pwn\x07\x1b[2J\u202e\u200b\x9b2J\r|x"
LANGUAGES = "広場\u3000Ünï café\u00a0 👍🏽 नमस्ते"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    land(tmp_path, "emotion_features", feature("ann", 0, scene_id=HOSTILE, purpose=HOSTILE))
    taken = decision("ann", 0, purpose=HOSTILE, scene_id="=cmd()", action=HOSTILE, reason=HOSTILE)
    land(tmp_path, "expression_decisions", taken)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["affectstream", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0


def acting(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}} - {"\n"}


def test_what_acts_is_escaped_and_no_language_is() -> None:
    assert escape_controls(HOSTILE) == ESCAPED
    assert escape_controls(LANGUAGES) == LANGUAGES
    assert escape_controls("a\n\tb", keep="\n") == "a\n\\tb"
    assert escape_controls("\U000e0041\u2028\ue000") == r"\U000e0041\u2028\ue000"


def test_json_means_the_same_when_it_is_escaped() -> None:
    value = {"scene": f"{HOSTILE}\U000e0041", "n": [1, LANGUAGES]}
    document = escape_in_json(json.dumps(value, ensure_ascii=False))
    assert acting(document) == set()
    assert json.loads(document) == value


@pytest.mark.parametrize(
    ("given", "cell"),
    [
        ("=cmd()", "'=cmd()"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", r"'\t=1"),
        ("\r=1", r"'\r=1"),
        ("\n=1", "'\n=1"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_a_cell_of_csv_is_no_formula(given: str, cell: str) -> None:
    assert escape_csv_cell(given) == cell


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_query_writes_nothing_that_acts(
    form: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture
) -> None:
    sql = (
        "SELECT f.scene_id AS a, [f.scene_id] AS b, d.scene_id AS c, -1 AS n, '-1' AS t "
        "FROM emotion_features f CROSS JOIN expression_decisions d"
    )
    run(monkeypatch, "query", sql, "--tables", root, "--format", form)
    out = capsysbinary.readouterr().out.decode()
    assert acting(out) == set()
    if form == "table":
        assert ESCAPED in out
    elif form == "csv":
        (row,) = csv.DictReader(io.StringIO(out))
        assert (row["a"], row["c"], row["n"], row["t"]) == (ESCAPED, "'=cmd()", "-1", "'-1")
        assert json.loads(row["b"]) == [HOSTILE]
    else:
        assert json.loads(out)[0] == {
            "a": HOSTILE, "b": [HOSTILE], "c": "=cmd()", "n": -1, "t": "-1",
        }  # fmt: skip


@pytest.mark.parametrize("form", ["table", "markdown", "json"])
def test_examples_of_the_dictionary_do_not_act(
    form: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "describe", "emotion_features", "--tables", root, "--format", form)
    out = capsys.readouterr().out
    assert acting(out) == set()
    assert "pwn" in out


def test_a_line_feed_does_not_end_a_row_of_markdown(tmp_path: Path) -> None:
    prepare_tables(tmp_path)
    land(tmp_path, "emotion_features", feature("ann", 0, scene_id="a\n| b"))
    (entry,) = describe("emotion_features", tmp_path)
    assert len(markdown(entry).splitlines()) == len(entry.columns) + 2


def test_show_prints_nothing_that_acts(root: Path) -> None:
    console = Console(file=io.StringIO(), width=400)
    show(root, console)
    out = console.file.getvalue()
    assert "pwn" in out
    assert acting(out) == set()


def test_an_error_that_quotes_a_text_of_an_event_does_not_act(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT CAST(scene_id AS INT) FROM emotion_features"
    monkeypatch.setattr("sys.argv", ["affectstream", "query", sql, "--tables", str(root)])
    with pytest.raises(SystemExit):
        main.main()
    said = capsys.readouterr().err
    assert acting(said) == set()
    assert "pwn" in said
