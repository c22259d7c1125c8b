"""Queries of the past: as of a version or time, and the changes since a version, at every edge."""

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable

from pipelines.tables.analyst_views import VIEWS
from pipelines.tables.changes import BACKFILL, REASON, readable_versions
from pipelines.tables.query import query
from schemas.errors import AffectstreamError
from schemas.tables import EMOTION_FEATURES, TABLES
from tests.support.served import decision, erase, feature, land, subject
from transforms.landing.prepare import prepare_tables

COUNT = "SELECT count(*) AS n FROM emotion_features"
NAME = "emotion_features"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def features(root: Path) -> DeltaTable:
    return DeltaTable(root / NAME)


def count(root: Path, **asked: object) -> int:
    return int(query(root, COUNT, **asked)["n"][0].as_py())


def commit_time(root: Path, version: int) -> datetime:
    """When a version was committed, as the engine's history tells it."""
    entry = next(e for e in features(root).history() if e["version"] == version)
    return datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)


def land_windows(root: Path, number: int) -> list[int]:
    versions = []
    for window in range(number):
        versions.append(land(root, NAME, feature("a", window)))
        time.sleep(0.005)  # times of commits are in milliseconds
    return versions


def vacuum(root: Path) -> None:
    features(root).optimize.compact()
    features(root).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)


def test_as_of_a_version_is_what_stood_then(root: Path) -> None:
    versions = land_windows(root, 4)
    assert [count(root, as_of=version) for version in versions] == [1, 2, 3, 4]
    assert count(root, as_of=0) == 0
    assert count(root, as_of={NAME: versions[1]}) == 2
    assert query(root, "SELECT count(*) AS n FROM latest", as_of=0)["n"].to_pylist() == [0]


def test_as_of_a_time_is_what_the_last_commit_until_then_left(root: Path) -> None:
    versions = land_windows(root, 4)
    for version, rows in zip(versions, (1, 2, 3, 4), strict=True):
        at = commit_time(root, version)
        assert count(root, as_of=at) == rows
        assert count(root, as_of=at - timedelta(milliseconds=1)) == rows - 1
    assert count(root, as_of=datetime.now(UTC)) == 4


def test_a_copy_of_the_tables_has_the_times_of_the_commits(root: Path, tmp_path: Path) -> None:
    versions = land_windows(root, 3)
    at = commit_time(root, versions[1])
    copied = tmp_path / "copy"
    shutil.copytree(root / NAME, copied / NAME, copy_function=shutil.copyfile)
    assert count(copied, as_of=at) == 2


def test_a_time_holds_for_every_table_that_the_statement_reads(root: Path) -> None:
    land(root, NAME, feature("a", 0))
    land(root, "expression_decisions", decision("a", 0))
    time.sleep(0.005)
    at = datetime.now(UTC)
    time.sleep(0.005)
    land(root, NAME, feature("a", 1))
    land(root, "expression_decisions", decision("a", 1))
    sql = "SELECT d.decision_id AS d FROM emotion_features JOIN expression_decisions d USING ({})"
    sql = sql.format("window_id")
    assert query(root, sql, as_of=at).num_rows == 1
    assert query(root, sql).num_rows == 2


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (99, "as of version 99: it has the versions 0 to"),
        (-1, "as of version -1: it has the versions 0 to"),
        (datetime(2020, 1, 1, tzinfo=UTC), "as of 2020-01-01 00:00:00Z: it has the versions 0 to"),
        (datetime(2200, 1, 1, tzinfo=UTC), "lies in the future"),
        (datetime.fromisoformat("0001-01-01T00:00+14:00"), r"as of 0001-01-01T00:00:00\+14:00: it"),
        (datetime.fromisoformat("9999-12-31T23:00-14:00"), "-14:00 lies in the future"),
        (datetime.fromisoformat("2090-11-30T10:00"), "has no zone"),
        ({"runs": 0}, "names runs, but the statement reads emotion_features"),
    ],
)
def test_what_cannot_be_had_is_one_sentence_with_what_can(
    root: Path, moment: object, said: str
) -> None:
    land_windows(root, 2)
    with pytest.raises(AffectstreamError, match=said) as wrong:
        count(root, as_of=moment)
    assert "\n" not in str(wrong.value)


def test_a_vacuumed_version_is_refused_even_where_a_count_would_still_be_right(root: Path) -> None:
    versions = land_windows(root, 3)
    vacuum(root)
    last = features(root).version()
    with pytest.raises(AffectstreamError, match="after those that were vacuumed") as wrong:
        count(root, as_of=versions[1])
    first = int(str(wrong.value).split("has the versions ")[1].split(" to ")[0])
    assert f"{first} to {last}" in str(wrong.value)
    assert count(root, as_of=first) == 3
    with pytest.raises(AffectstreamError, match="cannot be read"):
        count(root, as_of=first - 1)
    with pytest.raises(AffectstreamError, match="cannot be read"):
        count(root, as_of=commit_time(root, versions[1]))


def test_versions_whose_log_was_cleaned_are_refused(root: Path) -> None:
    versions = land_windows(root, 3)
    at = commit_time(root, versions[0])
    features(root).create_checkpoint()
    for version in range(versions[-1]):
        (root / NAME / "_delta_log" / f"{version:020d}.json").unlink()
    for moment in (versions[0], at):
        with pytest.raises(AffectstreamError, match=f"has the versions {versions[-1]} to"):
            count(root, as_of=moment)
    assert count(root, as_of=versions[-1]) == 3
    assert count(root, as_of=datetime.now(UTC)) == 3


def test_one_version_is_for_one_table(root: Path) -> None:
    both = "SELECT * FROM emotion_features, expression_decisions"
    for option in ("as_of", "changes_since"):
        with pytest.raises(AffectstreamError, match="each table counts its own versions") as wrong:
            query(root, both, **{option: 3})
        assert f"--{option.replace('_', '-')} emotion_features=3" in str(wrong.value)
        with pytest.raises(AffectstreamError, match="reads none"):
            query(root, "SELECT 1", **{option: 3})


CHANGES = f"SELECT window_id, revision, _change_type AS c, _commit_version AS v FROM {NAME}"


def change_rows(found: pa.Table) -> list[tuple[object, ...]]:
    rows = found.select(["v", "c", "window_id", "revision"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


def test_changes_since_a_version_are_what_came_after_it(root: Path) -> None:
    first = land(root, NAME, feature("a", 0), feature("b", 0))
    second = land(root, NAME, feature("a", 0, revision=2), feature("a", 1))
    third = erase(root, NAME, "b")
    later = [
        (second, "insert", "a-1-recommendation", 1),
        (second, "update_postimage", "a-0-recommendation", 2),
        (second, "update_preimage", "a-0-recommendation", 1),
        (third, "delete", "b-0-recommendation", 1),
    ]
    assert change_rows(query(root, CHANGES, changes_since=first)) == later
    assert change_rows(query(root, CHANGES, changes_since=second)) == later[3:]
    assert change_rows(query(root, CHANGES, changes_since={NAME: first}, as_of=second)) == later[:3]
    none = query(root, f"SELECT * FROM {NAME}", changes_since=third)
    assert none.num_rows == 0
    added = ["_change_type", "_commit_version", "_commit_timestamp", "_commit_reason"]
    assert none.column_names[: len(EMOTION_FEATURES)] == EMOTION_FEATURES.names
    assert none.column_names[len(EMOTION_FEATURES) :] == added


def test_changes_say_when_they_were_committed_and_why(root: Path) -> None:
    land(root, NAME, feature("a", 0), feature("b", 0))
    since = features(root).version()
    why = CommitProperties(custom_metadata={REASON: BACKFILL})
    features(root).delete(f"subject_ref = '{subject('a')}'", commit_properties=why)
    version = erase(root, NAME, "b")
    sql = f"SELECT subject_ref AS s, _commit_reason AS why, _commit_timestamp AS at FROM {NAME}"
    found = {row["s"]: row for row in query(root, sql, changes_since=since).to_pylist()}
    assert found[subject("a")]["why"] == BACKFILL
    assert found[subject("b")]["why"] is None
    assert found[subject("b")]["at"] == commit_time(root, version)


def test_changes_join_tables_as_they_stand_and_views_by_row_show_them(root: Path) -> None:
    since = land(root, NAME, feature("a", 0))
    land(root, "expression_decisions", decision("a", 0), decision("a", 1))
    land(root, NAME, feature("a", 1))
    joined = (
        f"SELECT f._change_type AS c, d.decision_id AS d FROM {NAME} f "
        "JOIN expression_decisions d USING (window_id)"
    )
    rows = query(root, joined, changes_since={NAME: since}).to_pylist()
    assert rows == [{"c": "insert", "d": "d-a-1-recommendation"}]
    flat = query(root, "SELECT p_joy, _change_type AS c FROM expressions", changes_since=since)
    assert flat["c"].to_pylist() == ["insert"]
    assert flat["p_joy"].to_pylist() == pytest.approx([0.7])


@pytest.mark.parametrize("name", [view.name for view in VIEWS.values() if not view.by_row])
def test_a_view_that_is_not_made_row_by_row_has_no_changes(root: Path, name: str) -> None:
    since = land(root, NAME, feature("a", 0))
    with pytest.raises(AffectstreamError, match=f"{name} is not made row by row.* of expressions"):
        query(root, f"SELECT * FROM {name}", changes_since={NAME: since})


def test_an_alias_may_have_the_name_of_a_view(root: Path) -> None:
    versions = land_windows(root, 2)
    sql = f"SELECT max(window_end) AS latest FROM {NAME}"
    newest = query(root, sql, changes_since=versions[0])["latest"].to_pylist()
    assert newest == query(root, "SELECT window_end FROM latest")["window_end"].to_pylist()


def test_changes_from_before_the_feed_or_after_the_newest_version_are_refused(root: Path) -> None:
    land_windows(root, 2)
    known = readable_versions(features(root))
    assert query(root, CHANGES, changes_since=known.first - 1).num_rows == 2
    for version in (known.first - 2, known.last + 1):
        with pytest.raises(
            AffectstreamError, match=f"a version from {known.first - 1} to {known.last}"
        ):
            query(root, CHANGES, changes_since=version)


def test_a_table_without_a_feed_is_one_sentence(tmp_path: Path) -> None:
    DeltaTable.create(tmp_path / NAME, schema=EMOTION_FEATURES, partition_by=["event_date"])
    with pytest.raises(AffectstreamError, match="has no change feed"):
        query(tmp_path, CHANGES, changes_since=0)


def test_vacuumed_changes_name_the_version_from_which_there_are_some(root: Path) -> None:
    versions = land_windows(root, 2)
    erase(root, NAME, "a")
    vacuum(root)
    land_windows(root, 2)
    with pytest.raises(AffectstreamError, match="were vacuumed: ask for those since") as wrong:
        query(root, CHANGES, changes_since=versions[0])
    first = int(str(wrong.value).split("a version from ")[1].split(" to ")[0])
    assert query(root, CHANGES, changes_since=first).num_rows == 2
    with pytest.raises(AffectstreamError, match="were vacuumed"):
        query(root, CHANGES, changes_since=first - 1)


def test_a_query_leaves_nothing_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = land_windows(root, 2)
    spare = root / "spare"
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))
    assert query(root, CHANGES, changes_since=versions[0]).num_rows == 1
    with pytest.raises(AffectstreamError, match="does not run"):
        query(root, f"SELECT nothing FROM {NAME}", changes_since=versions[0])
    assert list(spare.iterdir()) == []
    assert {path.name for path in root.iterdir()} == {*TABLES, "spare"}
