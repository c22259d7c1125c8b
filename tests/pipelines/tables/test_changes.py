"""The change feed: what it tells, from where on it is right, and what it says once it is gone."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable

from pipelines.tables.changes import (
    CHANGE,
    REASON,
    RETENTION,
    VERSION,
    ChangesGoneError,
    read_changes,
    readable_versions,
    reasons,
)
from pipelines.tables.compaction import CompactedTables
from schemas.errors import AffectstreamError
from schemas.tables import EMOTION_FEATURES, TABLES
from tests.support.served import erase, feature, land, subject
from transforms.landing.prepare import CHANGES_SINCE, prepare_tables


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def features(root: Path) -> DeltaTable:
    return DeltaTable(root / "emotion_features")


def told(changes: pa.Table) -> list[tuple[int, str, str, int]]:
    columns = (VERSION, CHANGE, "window_id", "revision")
    return list(zip(*(changes[name].to_pylist() for name in columns), strict=True))


def test_the_feed_of_every_table_is_on_from_its_making(root: Path) -> None:
    for name in TABLES:
        table = DeltaTable(root / name)
        assert table.metadata().configuration["delta.enableChangeDataFeed"] == "true", name
        assert readable_versions(table).first <= table.version() + 1


def test_a_merge_tells_what_it_replaced_and_nothing_that_it_copied(root: Path) -> None:
    first = land(root, "emotion_features", *(feature("a", window) for window in range(20)))
    last = land(root, "emotion_features", feature("a", 3, revision=2), feature("a", 20))
    changes = told(read_changes(features(root), last, last))
    assert sorted(changes) == [
        (last, "insert", "a-20-recommendation", 1),
        (last, "update_postimage", "a-3-recommendation", 2),
        (last, "update_preimage", "a-3-recommendation", 1),
    ]
    assert len(told(read_changes(features(root), first, first))) == 20


def test_changes_come_in_the_order_of_their_versions_with_the_columns_that_were_asked_for(
    root: Path,
) -> None:
    first = land(root, "emotion_features", feature("a", 0), feature("b", 0))
    erase(root, "emotion_features", "a")
    last = land(root, "emotion_features", feature("c", 1))
    found = read_changes(features(root), first, last, ["subject_ref"])
    assert found.column_names == ["subject_ref", CHANGE, VERSION]
    assert found[VERSION].to_pylist() == [first, first, first + 1, last]
    assert found[CHANGE].to_pylist()[2] == "delete"
    assert found["subject_ref"].to_pylist()[2] == subject("a")
    assert found["subject_ref"].type == pa.string()


def test_a_table_that_stands_gets_a_feed_that_holds_from_then_on(root: Path) -> None:
    place = root / "emotion_features"
    stands = DeltaTable.create(
        place, schema=EMOTION_FEATURES, partition_by=["event_date"], mode="overwrite"
    )
    land(root, "emotion_features", *(feature("a", window) for window in range(9)))
    before = land(root, "emotion_features", feature("a", 0, revision=2))
    with pytest.raises(AffectstreamError, match="has no change feed: a replay or live run"):
        readable_versions(DeltaTable(stands.table_uri))
    prepare_tables(root)
    known = readable_versions(features(root))
    assert known.first > before
    with pytest.raises(AffectstreamError, match=f"of the versions {known.first} to"):
        read_changes(features(root), before, known.last)
    version = land(root, "emotion_features", feature("a", 1, revision=2))
    assert len(told(read_changes(features(root), known.first, version))) == 2
    prepare_tables(root)
    assert features(root).version() == version


def test_a_feed_that_another_engine_turned_on_holds_from_its_note_on(root: Path) -> None:
    place = root / "emotion_features"
    on = {"delta.enableChangeDataFeed": "true"}
    DeltaTable.create(
        place,
        schema=EMOTION_FEATURES,
        partition_by=["event_date"],
        mode="overwrite",
        configuration=on,
    )
    land(root, "emotion_features", feature("a", 0))
    prepare_tables(root)
    noted = features(root).metadata().configuration[CHANGES_SINCE]
    assert int(noted) == features(root).version()


def test_compaction_and_its_vacuum_are_no_changes_and_take_the_feeds_files_too(root: Path) -> None:
    for window in range(4):
        land(root, "emotion_features", feature("a", window))
    begin = erase(root, "emotion_features", "a")
    for window in range(4):
        last = land(root, "emotion_features", feature("b", window))
    features(root).optimize.compact()
    end = features(root).version()
    assert end > last
    assert [change for _, change, _, _ in told(read_changes(features(root), last + 1, end))] == []
    kept = list((root / "emotion_features" / "_change_data").rglob("*.parquet"))
    assert kept
    features(root).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert not any(path.exists() for path in kept)
    with pytest.raises(ChangesGoneError, match=f"from version {begin} on were vacuumed"):
        read_changes(features(root), begin, end)


def test_the_compaction_of_a_live_job_vacuums_in_full(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}
    monkeypatch.setattr(DeltaTable, "vacuum", lambda _, **given: asked.update(given))
    tables = CompactedTables(root, compact_after=2)
    tables.refresh()
    for window in range(2):
        land(root, "emotion_features", feature("a", window))
    tables.refresh()
    tables.compact()
    assert asked == {"dry_run": False, "full": True}


def test_versions_whose_log_was_cleaned_are_gone(root: Path) -> None:
    for window in range(3):
        last = land(root, "emotion_features", feature("a", window))
    features(root).create_checkpoint()
    log = root / "emotion_features" / "_delta_log"
    for version in range(last):
        (log / f"{version:020d}.json").unlink()
    with pytest.raises(ChangesGoneError, match="were vacuumed"):
        read_changes(features(root), last - 1, last)
    assert len(told(read_changes(features(root), last, last))) == 1


def test_a_commit_says_why_where_it_said_so(root: Path) -> None:
    land(root, "emotion_features", feature("a", 0), feature("b", 0))
    why = CommitProperties(custom_metadata={REASON: RETENTION})
    features(root).delete(f"subject_ref = '{subject('a')}'", commit_properties=why)
    first = features(root).version()
    second = erase(root, "emotion_features", "b")
    assert reasons(features(root), [first, second]) == {first: RETENTION}
    assert reasons(features(root), []) == {}
