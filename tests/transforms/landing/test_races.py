"""A writer beside others: what it remembers is good for one version, and it reads no more of a
table than it needs."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from schemas.errors import AffectstreamError
from schemas.tables import EMOTION_FEATURES
from transforms.landing import retry
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables

NAME = "emotion_features"
NOON = dt.datetime(2026, 9, 10, 12, tzinfo=dt.UTC)


def rows(*given: tuple[str, float]) -> pa.RecordBatch:
    """Feature rows of (window id, hours after noon)."""
    full = []
    for window, hours in given:
        start = NOON + dt.timedelta(hours=hours)
        row = {"window_id": window, "window_start": start, "revision": 1}
        row["event_date"] = start.date()
        full.append({name: row.get(name) for name in EMOTION_FEATURES.names})
    return pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def windows(root: Path) -> list[str]:
    return sorted(DeltaTable(root / NAME).to_pyarrow_table()["window_id"].to_pylist())


def test_what_another_writer_commits_between_is_not_taken_for_known(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after this writer's commit, before it looks which version the table has."""
    writer, other = TableWriter(root, NAME, remember_s=60), TableWriter(root, NAME)
    writer.commit([rows(("first", 0))])
    write = TableWriter._write

    def write_and_lose_time(self: TableWriter, chosen: pa.Table, *, merge: bool) -> None:
        write(self, chosen, merge=merge)
        if self is writer:
            other.commit([rows(("theirs", 0))])

    monkeypatch.setattr(TableWriter, "_write", write_and_lose_time)
    writer.commit([rows(("own", 0))])
    monkeypatch.undo()
    assert writer.commit([rows(("theirs", 0), ("own", 0), ("first", 0))]) == 0
    assert windows(root) == ["first", "own", "theirs"]


def test_a_writer_that_is_never_first_says_at_which_table(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object, **__: object) -> None:
        raise CommitFailedError

    monkeypatch.setattr(retry.time, "sleep", lambda _: None)
    monkeypatch.setattr(TableWriter, "_write", lose)
    with pytest.raises(AffectstreamError, match=rf"{NAME}/?: 30 commits in a row lost to other"):
        TableWriter(root, NAME).commit([rows(("own", 0))])


def test_only_what_can_hold_the_ids_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = [("before", -24), ("early", -3), ("a", 0), ("b", 1), ("late", 5), ("after", 24)]
    TableWriter(root, NAME).commit([rows(*stand)])
    read, found = TableWriter._read, []

    def spied(self: TableWriter, *given: object) -> pa.Table:
        found.append(read(self, *given))
        return found[-1]

    monkeypatch.setattr(TableWriter, "_read", spied)
    assert TableWriter(root, NAME).commit([rows(("a", 0), ("b", 1), ("c", 0.5))]) == 1
    assert sorted(found[-1]["window_id"].to_pylist()) == ["a", "b"]
    assert TableWriter(root, NAME, remember_s=60).commit([rows(("b", 1), ("d", 5))]) == 1
    assert sorted(found[-1]["window_id"].to_pylist()) == ["after", "b", "late"]
