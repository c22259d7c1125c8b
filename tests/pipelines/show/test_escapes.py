"""Texts of events reach no terminal, csv, JSON or Markdown with characters that act there."""

import csv
import io
import json
import logging
import unicodedata
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.cli import main
from pipelines.live.screen import Screen
from pipelines.observe.logs import JsonLines
from pipelines.serve.api.token_file import add_token, read_tokens
from pipelines.show.escapes import escape_controls, escape_csv_cell, escape_in_json, safe_text
from pipelines.show.screen import show
from pipelines.tables.dictionary import describe, markdown
from schemas.logs.events import LogEvent
from tests.support.records import raw, record
from tests.support.served import BEGIN, decision, feature, land, review
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


def printed(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """Run a command whatever its exit status is."""
    monkeypatch.setattr("sys.argv", ["affectstream", *map(str, arguments)])
    with pytest.raises(SystemExit):
        main.main()


def test_a_trace_of_a_hostile_event_does_not_act(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows attributes of the event before any expectation has looked at them."""
    (tmp_path / "log").mkdir()
    event = record("text", 1, {"text": "x"}, purpose=HOSTILE, region=HOSTILE, scenario=HOSTILE)
    pq.write_table(pa.Table.from_batches([raw(event)]), tmp_path / "log" / "part-0.parquet")
    place = ("--log", tmp_path / "log", "--keys", keys, "--tables", tmp_path / "tables")
    printed(monkeypatch, "trace", "session.text/0/1", *place)
    out = capsys.readouterr().out
    assert "pwn" in out
    assert acting(out) == set()


def test_tokens_and_their_revocation_print_nothing_that_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens.json"
    add_token(path, f"{HOSTILE}[red]", "recommender", timedelta(days=1))
    printed(monkeypatch, "tokens", "list", "--file", path)
    printed(monkeypatch, "tokens", "revoke", read_tokens(path)[0].id, "--file", path)
    said = capsys.readouterr()
    assert "pwn" in said.out
    assert "[red]" in said.err.replace("\n", "")
    assert acting(said.out + said.err) == set()


def test_dead_letters_refusals_and_reviews_of_hostile_rows_do_not_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_tables(tmp_path)
    now = BEGIN.date()
    letter = {"dead_letter_id": "a", "stage": HOSTILE, "code": HOSTILE, "topic": HOSTILE}
    letter |= {"detail": HOSTILE, "partition": 0, "offset": 1, "event_date": now}
    land(tmp_path, "dead_letters", letter)
    refused = {"event_id": "b", "code": HOSTILE, "article": HOSTILE, "purpose": HOSTILE}
    refused |= {"content": 1, "event_time": BEGIN, "event_date": now, "modality": HOSTILE}
    land(tmp_path, "refusals", refused | {"subject_ref": "0" * 32, "offset": 0})
    land(tmp_path, "review_queue", review("ann", 0, reviewed_by=HOSTILE, reason=HOSTILE))
    commands = [("show",), ("tables",), ("check", "--docs", tmp_path / "docs")]
    commands += [("describe", name) for name in ("dead_letters", "refusals", "review_queue")]
    commands += [
        ("query", f"SELECT * FROM {name}", "--format", form)
        for name in ("dead_letters", "refusals", "review_queue")
        for form in ("table", "csv", "json")
    ]
    for command in commands:
        printed(monkeypatch, *command, "--tables", tmp_path)
        said = capsys.readouterr()
        assert acting(said.out + said.err) == set(), command
    printed(monkeypatch, "report", "--tables", tmp_path, "--out", tmp_path / "report.html")
    assert acting((tmp_path / "report.html").read_text()) - {"\t"} == set()


def test_what_a_feed_and_a_live_job_say_does_not_act() -> None:
    console = Console(file=io.StringIO(), width=400)
    console.print(safe_text(f"{HOSTILE}[red]"), soft_wrap=True)
    Screen(console).note(f"restarts: {HOSTILE}", LogEvent.JOB_RESTARTING)
    out = console.file.getvalue()
    assert "[red]" in out
    assert out.count("pwn") == 2
    assert acting(out) == set()


def test_a_line_of_a_structured_log_does_not_act() -> None:
    entry = logging.LogRecord("x", logging.ERROR, "f.py", 1, "message", None, None)
    entry.event, entry.fields = LogEvent.MODEL_KEPT, {"reason": HOSTILE}
    line = JsonLines().format(entry)
    assert acting(line) == set()
    assert json.loads(line)["reason"] == HOSTILE
