"""A reviewer's decision: stored once, beside other writers, in tables of an earlier version too."""

import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from pipelines.access.audit import hash_of, read_entries
from pipelines.cli.main import app
from pipelines.review import label
from pipelines.review.label import find_review, store_review
from pipelines.tables.overview import standing_tables
from pipelines.tables.query import query
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.served import BEGIN, decision, feature, land, review, subject
from tests.support.synthetic_tables import expression_columns
from transforms.landing.prepare import prepare_tables
from transforms.landing.writing import is_written, writing

DAY = BEGIN.date()
NOW = datetime(2090, 11, 30, 12, tzinfo=UTC)
RELEASED = Path(__file__).parents[2] / "data" / "released-0.1.0" / "tables"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    land(tmp_path, "review_queue", review("ann", 0), review("bob", 0))
    return tmp_path


def said(root: Path, review_id: str) -> dict[str, Any]:
    found = query(
        root,
        "SELECT reviewer_decision, reviewed_by, reviewed_at FROM review_queue "
        f"WHERE review_id = '{review_id}'",
    )
    return found.to_pylist()[0]


def test_a_decision_is_stored_with_who_and_when(root: Path) -> None:
    store_review(root, "r-ann-0", DAY, "confirmed", "dana@example", NOW)
    assert said(root, "r-ann-0") == {
        "reviewer_decision": "confirmed",
        "reviewed_by": "dana@example",
        "reviewed_at": NOW,
    }
    assert said(root, "r-bob-0")["reviewer_decision"] is None
    assert query(root, "SELECT count(*) AS n FROM review_queue").to_pylist() == [{"n": 2}]


def shown(root: Path, review_id: str = "r-ann-0") -> str | None:
    sql = f"SELECT reviewed_expression AS shown FROM review_queue WHERE review_id = '{review_id}'"
    return query(root, sql).to_pylist()[0]["shown"]


def test_who_confirms_says_what_the_window_shows_at_that_time(root: Path) -> None:
    """Not what the decision holds, nor what a later revision of the window shows."""
    land(root, "emotion_features", feature("ann", 0, **expression_columns("sadness", 0.82, 0.4)))
    land(root, "expression_decisions", decision("ann", 0, expression="surprise"))
    assert store_review(root, "r-ann-0", DAY, "confirmed", "dana", NOW) == "sadness"
    land(root, "emotion_features", feature("ann", 0, 2, **expression_columns("joy", 0.9, 0.4)))
    assert store_review(root, "r-ann-0", DAY, "confirmed", "dana", NOW) == "sadness"
    assert shown(root) == "sadness"
    assert store_review(root, "r-ann-0", DAY, "unclear", "dana", NOW) is None
    assert shown(root) is None
    assert store_review(root, "r-ann-0", DAY, "fear", "dana", NOW) == "fear"
    assert shown(root) == "fear"
    assert store_review(root, "r-ann-0", DAY, "confirmed", "dana", NOW) == "joy"
    assert store_review(root, "r-bob-0", DAY, "confirmed", "dana", NOW) is None, "no such window"


def test_what_was_confirmed_before_it_was_stored_is_stored_when_it_is_said_again(
    root: Path,
) -> None:
    store_review(root, "r-ann-0", DAY, "confirmed", "dana", NOW)
    assert shown(root) is None
    land(root, "emotion_features", feature("ann", 0, **expression_columns("sadness", 0.82, 0.4)))
    assert store_review(root, "r-ann-0", DAY, "confirmed", "dana", NOW) == "sadness"
    assert shown(root) == "sadness"


def test_ones_own_decision_may_be_changed_and_no_others(root: Path) -> None:
    store_review(root, "r-ann-0", DAY, "confirmed", "dana", NOW)
    store_review(root, "r-ann-0", DAY, "anger", "dana", NOW)
    with pytest.raises(AffectstreamError, match="decided by somebody else"):
        store_review(root, "r-ann-0", DAY, "unclear", "eve", NOW)
    assert said(root, "r-ann-0")["reviewer_decision"] == "anger"


@pytest.mark.parametrize(
    ("row", "decision", "reviewer", "told"),
    [
        ("r-ann-0", "fine", "dana", "'fine' is no decision: give one of confirmed, unclear, anger"),
        ("r-ann-0", "unclear", "", "'' is no reviewer: give 1 to 64 letters"),
        ("r-ann-0", "unclear", "d' OR '1'='1", "is no reviewer"),
        ("r-nobody", "unclear", "dana", "or was erased: load the queue again"),
        ("x' OR '1'='1", "unclear", "dana", "or was erased: load the queue again"),
    ],
)
def test_what_cannot_be_stored_is_a_sentence_and_changes_nothing(
    root: Path, row: str, decision: str, reviewer: str, told: str
) -> None:
    with pytest.raises(AffectstreamError) as raised:
        store_review(root, row, DAY, decision, reviewer, NOW)
    assert told in str(raised.value)
    undecided = "SELECT count(*) AS n FROM review_queue WHERE reviewer_decision IS NULL"
    assert query(root, undecided).to_pylist() == [{"n": 2}]


def test_no_queue_is_made_where_none_stands(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match=r"^there is no review_queue under .*typo: name"):
        store_review(tmp_path / "typo", "r-ann-0", DAY, "confirmed", "dana", NOW)
    assert list(tmp_path.iterdir()) == []


def test_decisions_and_new_rows_at_once_are_all_stored(root: Path) -> None:
    people = [f"p{number}" for number in range(8)]
    land(root, "review_queue", *(review(who, 1) for who in people))
    failed: list[BaseException] = []

    def work(who: str) -> None:
        try:
            store_review(root, f"r-{who}-1", DAY, "joy", who, NOW)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    for window in range(2, 8):
        land(root, "review_queue", review("ann", window))
    for thread in threads:
        thread.join()
    assert failed == []
    assert {said(root, f"r-{who}-1")["reviewed_by"] for who in people} == set(people)
    assert query(root, "SELECT count(*) AS n FROM review_queue").to_pylist() == [{"n": 16}]


def test_a_job_that_lands_its_rows_again_leaves_the_decision(root: Path) -> None:
    store_review(root, "r-ann-0", DAY, "sadness", "dana", NOW)
    land(root, "review_queue", review("ann", 0))
    assert said(root, "r-ann-0")["reviewer_decision"] == "sadness"


def test_tables_of_0_1_0_get_the_columns_with_the_first_decision(tmp_path: Path) -> None:
    root = tmp_path / "tables"
    shutil.copytree(RELEASED, root)
    row = query(root, "SELECT review_id, event_date FROM review_queue LIMIT 1").to_pylist()[0]
    store_review(root, row["review_id"], row["event_date"], "unclear", "dana", NOW)
    assert said(root, row["review_id"])["reviewed_at"] == NOW
    versions = {each.table: each.schema for each in standing_tables(root)}
    assert versions["review_queue"] == TABLES["review_queue"].version
    assert (
        DeltaTable(root / "observations").version()
        == DeltaTable(RELEASED / "observations").version()
    ), "no other table is written to"


def test_the_same_said_again_writes_nothing(root: Path) -> None:
    store_review(root, "r-ann-0", DAY, "joy", "dana", NOW)
    version = DeltaTable(root / "review_queue").version()
    store_review(root, "r-ann-0", DAY, "joy", "dana", NOW + timedelta(hours=1))
    assert DeltaTable(root / "review_queue").version() == version
    assert said(root, "r-ann-0")["reviewed_at"] == NOW


def test_a_review_is_found_by_its_id_alone(root: Path) -> None:
    assert find_review(root, "r-ann-0")[:1] == (DAY,)
    for hostile in ("r-nobody", "", "x' OR '1'='1", "r-ann-0'--", "\x1b[2J", "a" * 65):
        with pytest.raises(AffectstreamError, match=r"^there is no review .*review list"):
            find_review(root, hostile)


def test_a_decision_is_stored_while_runs_write_and_an_erasure_waits_for_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    merge = label._merge
    monkeypatch.setattr(label, "_merge", lambda *a: [held.append(is_written(root)), merge(*a)][1])
    with writing(root):
        store_review(root, "r-ann-0", DAY, "joy", "dana", NOW)
    store_review(root, "r-bob-0", DAY, "joy", "dana", NOW)
    assert held == [True, True]
    assert not is_written(root)


def test_a_decision_is_stored_by_a_command_that_logs_it(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    prepare_tables(tables)
    land(tables, "review_queue", review("ann", 0))
    command = ["review", "label", "r-ann-0", "unclear", "--reviewer", "eve"]
    for _ in range(2):
        result = CliRunner().invoke(app, [*command, "--tables", str(tables)])
        assert result.exit_code == 0, result.exception
    row = said(tables, "r-ann-0")
    assert (row["reviewer_decision"], row["reviewed_by"]) == ("unclear", "eve")
    entries = list(read_entries(tmp_path / "audit"))
    assert [entry["what"] for entry in entries] == ["label r-ann-0 as unclear, by eve"] * 2
    assert entries[0]["subjects"] == [hash_of(subject("ann"))]
