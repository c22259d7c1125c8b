"""The dictionary says what every column means, and shows nothing of a person but the pseudonym."""

import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.tables.analyst_views import VIEWS
from pipelines.tables.dictionary import describe, dictionary, write_dictionary
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.served import BEGIN, feature, land, subject
from transforms.landing.prepare import prepare_tables

SCHEMAS = {each.name: each.schema for each in (*TABLES.values(), *VIEWS.values())}
SAID = {b"doc", b"since", b"unit", b"range", b"example"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def test_every_column_of_tables_and_views_has_a_meaning() -> None:
    entries = {entry.name: entry for entry in dictionary()}
    assert list(entries) == [*TABLES, *VIEWS]
    for name, schema in SCHEMAS.items():
        assert [column.column for column in entries[name].columns] == schema.names
        assert all(column.meaning and column.type for column in entries[name].columns)
        assert all(set(field.metadata) <= SAID for field in schema)


def test_numbers_and_times_have_a_range_or_a_unit() -> None:
    for entry in dictionary():
        for column in entry.columns:
            kind = SCHEMAS[entry.name].field(column.column).type
            measured = pa.types.is_integer(kind) or pa.types.is_floating(kind)
            if measured or pa.types.is_timestamp(kind):
                assert column.range or column.unit, f"{entry.name}.{column.column}"


@pytest.mark.parametrize(
    ("name", "column", "unit", "extent"),
    [
        ("emotion_features", "valence", "", "-1 to 1"),
        ("emotion_features", "revision", "events", "1 or more"),
        ("emotion_features", "age_band", "", "child, teen, adult, unknown"),
        ("emotion_features", "window_start", "UTC, µs", "2000-01-01 to 2100-01-01"),
        ("observations", "event_id", "", "32 hex digits"),
        ("expression_decisions", "action", "", "1 to 64 characters"),
        ("expressions", "valence", "", "-1 to 1"),
        ("expressions", "p_joy", "", "0 to 1"),
        ("coverage", "observed", "events", "0 or more"),
    ],
)
def test_units_and_ranges(name: str, column: str, unit: str, extent: str) -> None:
    (entry,) = describe(name, None)
    (found,) = (each for each in entry.columns if each.column == column)
    assert (found.unit, found.range) == (unit, extent)


def test_long_vocabularies_are_counted() -> None:
    (entry,) = describe("dead_letters", None)
    (code,) = (column for column in entry.columns if column.column == "code")
    assert re.fullmatch(r"one of \d+ codes", code.range)


def test_examples_are_the_first_values_that_are_not_null(root: Path) -> None:
    land(root, "emotion_features", feature("a", 0, activity=None))
    land(root, "emotion_features", feature("a", 1, activity="quest"))
    (entry,) = describe("emotion_features", root)
    examples = {column.column: column.example for column in entry.columns}
    assert examples["activity"] == "quest"
    assert examples["game_result"] == ""
    assert examples["subject_ref"] == subject("a")
    assert examples["confidence"] == "0.700"
    assert examples["window_start"].endswith("Z")
    (latest,) = describe("latest", root)
    assert {c.column: c.example for c in latest.columns}["p_joy"] == "0.700"


def test_references_of_a_person_beyond_the_pseudonym_have_no_example(root: Path) -> None:
    row = {
        "ledger_id": "1" * 32,
        "subject_ref": subject("a"),
        "person_ref": "2" * 32,
        "person_fold": "3" * 32,
        "purpose": "recommendation",
        "event_time": BEGIN,
        "recorded_at": BEGIN,
        "event_date": BEGIN.date(),
    }
    land(root, "consent_ledger", row)
    (entry,) = describe("consent_ledger", root)
    shown = {column.column: column.example for column in entry.columns if column.example}
    assert shown["subject_ref"] == subject("a")
    assert not {"person_ref", "person_fold"} & set(shown)
    assert not {"2" * 32, "3" * 32} & set(shown.values())


def test_without_tables_or_rows_there_are_no_examples(root: Path, tmp_path: Path) -> None:
    for place in (None, tmp_path / "nowhere", root):
        for name in ("emotion_features", "coverage"):
            (entry,) = describe(name, place)
            assert not any(column.example for column in entry.columns)


def test_an_unknown_name_is_one_sentence_with_what_there_is() -> None:
    with pytest.raises(AffectstreamError, match=r"no table or view latets.*views: expressions"):
        describe("latets", None)


def written(name: str | None, root: Path, form: str, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    write_dictionary(describe(name, root), form, console)
    return console.file.getvalue()


def test_all_of_it_is_listed_with_what_each_holds(root: Path) -> None:
    text = written(None, root, "table", 200)
    for each in (*TABLES.values(), *VIEWS.values()):
        assert re.search(rf"^{each.name} .*{re.escape(each.description[:40])}", text, re.M)


@pytest.mark.parametrize("width", [80, 120])
def test_a_page_fits_the_terminal_with_whole_names_of_columns(root: Path, width: int) -> None:
    land(root, "emotion_features", feature("a", 0))
    for name, schema in SCHEMAS.items():
        text = written(name, root, "table", width)
        assert max(map(len, text.splitlines())) <= width
        assert all(re.search(rf"^{column}\b", text, re.M) for column in schema.names)


def test_json_and_markdown_go_to_standard_output(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    land(root, "emotion_features", feature("a", 0))
    assert written("expressions", root, "json") == ""
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["name"], entry["kind"]) == ("expressions", "view")
    (joy,) = (column for column in entry["columns"] if column["column"] == "p_joy")
    assert (joy["range"], joy["example"], joy["type"]) == ("0 to 1", "0.700", "float")
    written("coverage", root, "markdown")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "## coverage"
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(VIEWS["coverage"].schema)
    assert all(line.count("|") == lines[4].count("|") for line in rows)
