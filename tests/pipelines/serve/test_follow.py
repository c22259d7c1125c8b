"""The follower: what is news, what is an erasure, and where nothing can be followed."""

import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from pipelines.serve.follow import Changes, Follower, LostPositionError, Position
from pipelines.tables.changes import BACKFILL, REASON, RETENTION
from schemas.errors import AffectstreamError
from schemas.tables import EMOTION_FEATURES
from tests.support.served import BEGIN, erase, feature, land, subject
from transforms.landing.prepare import prepare_tables

NAME = "emotion_features"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def table(root: Path) -> DeltaTable:
    return DeltaTable(root / NAME)


def followed(follower: Follower, position: Position) -> list[Changes]:
    """Follow to the end."""
    found = []
    while (changes := follower.read(position)) is not None:
        assert changes.position.version > position.version
        found.append(changes)
        position = changes.position
    return found


def seen(changes: Changes) -> list[tuple[str, int]]:
    ids, revisions = (changes.rows[name].to_pylist() for name in ("window_id", "revision"))
    return list(zip(ids, revisions, strict=True))


def test_what_lands_after_a_position_is_news_once_in_its_newest_revision(root: Path) -> None:
    land(root, NAME, feature("a", 0))
    follower = Follower(str(root), NAME)
    position = follower.skip().position
    land(root, NAME, feature("a", 1), feature("b", 1))
    land(root, NAME, feature("a", 1, revision=3), feature("a", 2))
    found = followed(follower, position)
    assert [sorted(seen(changes)) for changes in found] == [
        [("a-1-recommendation", 3), ("a-2-recommendation", 1), ("b-1-recommendation", 1)]
    ]
    assert found[0].erased == ()
    assert found[0].rows.schema.names == EMOTION_FEATURES.names


def test_nothing_is_left_out_of_many_commits_and_compactions_are_no_news(root: Path) -> None:
    follower = Follower(str(root), NAME)
    position = follower.skip().position
    for window in range(45):
        land(root, NAME, feature("a", window))
        if window % 20 == 19:
            table(root).optimize.compact()
    found = followed(follower, position)
    assert [row for changes in found for row in seen(changes)] == [
        (f"a-{window}-recommendation", 1) for window in range(45)
    ]


def test_a_delete_is_the_erasure_of_its_subjects_and_ends_what_is_read_at_once(root: Path) -> None:
    follower = Follower(str(root), NAME)
    position = follower.skip().position
    land(root, NAME, feature("a", 0), feature("b", 0))
    version = erase(root, NAME, "a")
    land(root, NAME, feature("a", 5))  # of the same person, who came back
    first, second = followed(follower, position)
    assert seen(first) == [("b-0-recommendation", 1)]
    assert first.erased == (subject("a"),)
    assert first.position.version == version
    assert (seen(second), second.erased) == ([("a-5-recommendation", 1)], ())


def test_retention_and_backfills_that_say_so_are_neither_news_nor_erasures(root: Path) -> None:
    follower = Follower(str(root), NAME)
    land(root, NAME, feature("a", 0), feature("b", 0))
    position = follower.skip().position
    day = f"event_date = '{BEGIN.date()}'"
    rows = table(root).to_pyarrow_table()
    backfill = CommitProperties(custom_metadata={REASON: BACKFILL})
    changed = rows.filter(pc.equal(rows["subject_ref"], subject("b")))
    write_deltalake(
        table(root), changed, mode="overwrite", predicate=day, commit_properties=backfill
    )
    old = CommitProperties(custom_metadata={REASON: RETENTION})
    table(root).delete(day, commit_properties=old)
    found = followed(follower, position)
    assert [(seen(changes), changes.erased) for changes in found] == [([], ())]


def test_a_day_that_was_written_again_without_a_word_is_no_news_but_who_is_missing_is_erased(
    root: Path,
) -> None:
    follower = Follower(str(root), NAME)
    land(root, NAME, feature("a", 0), feature("b", 0))
    position = follower.skip().position
    rows = table(root).to_pyarrow_table()
    left = rows.filter(pc.equal(rows["subject_ref"], subject("b")))
    day = f"event_date = '{BEGIN.date()}'"
    write_deltalake(table(root), left, mode="overwrite", predicate=day)
    (found,) = followed(follower, position)
    assert (seen(found), found.erased) == ([], (subject("a"),))


def test_a_snapshot_is_what_stands_with_the_position_behind_it(root: Path) -> None:
    land(root, NAME, feature("a", 0), feature("a", 9))
    follower = Follower(str(root), NAME, ["window_id", "revision", "lesson_state"])
    recent = pc.field("window_end") > BEGIN + timedelta(seconds=20)
    found = follower.snapshot(recent)
    assert seen(found) == [("a-9-recommendation", 1)]
    assert found.position == Position(str(table(root).metadata().id), table(root).version())


def test_a_column_that_a_table_does_not_have_yet_is_null(tmp_path: Path) -> None:
    older = EMOTION_FEATURES.remove(EMOTION_FEATURES.get_field_index("lesson_state"))
    DeltaTable.create(tmp_path / NAME, schema=older, partition_by=["event_date"])
    rows = table(tmp_path).to_pyarrow_table()
    assert "lesson_state" not in rows.column_names
    found = Follower(str(tmp_path), NAME).snapshot(pc.scalar(True))
    assert found.rows.schema.names == EMOTION_FEATURES.names


def test_a_vacuumed_position_and_another_table_are_said(root: Path) -> None:
    follower = Follower(str(root), NAME)
    land(root, NAME, feature("a", 0), feature("b", 0))
    position = follower.skip().position
    erase(root, NAME, "a")
    table(root).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    with pytest.raises(LostPositionError, match="were vacuumed"):
        follower.read(position)
    with pytest.raises(LostPositionError, match="was made anew since it was followed to version 2"):
        follower.read(Position("another", 2))
    with pytest.raises(LostPositionError, match="was made anew"):
        follower.read(position._replace(version=1_000))


def test_a_table_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    follower = Follower(str(tmp_path), NAME)
    assert follower.skip() is None
    assert follower.read(Position("any", 3)) is None
    prepare_tables(tmp_path)
    assert follower.skip() is not None


def test_a_broken_log_is_one_sentence(root: Path) -> None:
    for path in (root / NAME / "_delta_log").glob("*.json"):
        path.write_text("no json")
    with pytest.raises(AffectstreamError, match="cannot be read"):
        Follower(str(root), NAME).skip()


def test_a_table_that_is_made_anew_under_a_follower_is_another_one(root: Path) -> None:
    """Also where it has more versions by then than were followed."""
    follower = Follower(str(root), NAME)
    land(root, NAME, feature("a", 0))
    position = follower.skip().position
    shutil.rmtree(root / NAME)
    prepare_tables(root)
    for window in range(6):
        version = land(root, NAME, feature("b", window))
    assert version > position.version
    with pytest.raises(LostPositionError, match="was made anew"):
        follower.read(position)


def test_what_leaves_versions_out_tells_who_still_has_rows(root: Path) -> None:
    follower = Follower(str(root), NAME)
    land(root, NAME, feature("a", 0), feature("b", 0))
    erase(root, NAME, "a")
    assert follower.skip().standing == {subject("b")}
    assert follower.snapshot(pc.scalar(False)).standing == {subject("b")}
    position = follower.skip().position
    land(root, NAME, feature("c", 0))
    assert follower.read(position).standing is None
