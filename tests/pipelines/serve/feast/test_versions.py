"""What was known when: each time gets the version of a window that had landed by then."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from pipelines.tables.changes import BACKFILL, REASON
from tests.support.feast_stores import feast_store, history
from tests.support.served import LENGTH, erase, feature, land, subject
from transforms.landing.prepare import prepare_tables

NAME = "emotion_features"
ANNA = subject("anna")
Row = dict[str, object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def shown(now: datetime) -> Callable[..., Row]:
    """Makes a row of the window that ended so many seconds ago."""

    def row(who: str, expression: str, revision: int = 1, ago: int = 60) -> Row:
        end = now - timedelta(seconds=ago)
        own = {"window_id": f"{who}-{ago}", "window_start": end - LENGTH, "window_end": end}
        return feature(who, 0, revision, **own, expression=expression, event_date=end.date())

    return row


def commit(root: Path, *rows: Row) -> datetime:
    """Land rows and return a time just after they did."""
    land(root, NAME, *rows)
    return landed(root)


def landed(root: Path) -> datetime:
    entry = DeltaTable(root / NAME).history(1)[0]
    return datetime.fromtimestamp(entry["timestamp"] / 1_000, UTC)


def known(root: Path, *times: datetime, who: str = "anna") -> list[str | None]:
    found = history(
        feast_store(root), [subject(who)] * len(times), times, "expression", as_known=True
    )
    return [None if pd.isna(name) else name for name in found["expression"]]


BEFORE = timedelta(milliseconds=-1)


def test_a_revision_is_seen_from_when_it_landed(root: Path, shown: Callable[..., Row]) -> None:
    first = commit(root, shown("anna", "joy"))
    second = commit(root, shown("anna", "fear", 2))
    third = commit(root, shown("anna", "anger", 3))
    times = [first + BEFORE, first, second + BEFORE, second, third]
    assert known(root, *times) == [None, "joy", "joy", "fear", "anger"]


def test_a_window_that_landed_late_is_not_seen_before(
    root: Path, shown: Callable[..., Row], now: datetime
) -> None:
    first = commit(root, shown("anna", "joy", ago=60))
    second = commit(root, shown("anna", "fear", ago=30))
    late = commit(root, shown("anna", "anger", ago=40))
    assert known(root, first, second, late) == ["joy", "fear", "fear"]
    assert known(root, now - timedelta(seconds=35)) == [None]  # nothing had landed by then


def test_no_version_of_an_erased_subject_is_left(root: Path, shown: Callable[..., Row]) -> None:
    first = commit(root, shown("anna", "joy"), shown("ben", "joy"))
    commit(root, shown("anna", "fear", 2))
    erase(root, NAME, "anna")
    assert known(root, first, landed(root)) == [None, None]
    assert known(root, first, landed(root), who="ben") == ["joy", "joy"]
    again = commit(root, shown("anna", "sadness", 3))  # consented anew
    assert known(root, first, again) == [None, "sadness"]


def test_a_backfill_is_seen_from_when_it_was_made(root: Path, shown: Callable[..., Row]) -> None:
    first = commit(root, shown("anna", "joy"))
    table = DeltaTable(root / NAME)
    rows = table.to_pyarrow_table()
    place = rows.schema.get_field_index("expression")
    write_deltalake(
        table,
        rows.set_column(place, rows.schema.field(place), [["fear"]]),
        mode="overwrite",
        predicate=f"event_date = '{rows['event_date'][0]}'",
        commit_properties=CommitProperties(custom_metadata={REASON: BACKFILL}),
    )
    assert known(root, first, landed(root)) == ["joy", "fear"]


def test_behind_a_vacuum_a_window_is_taken_to_have_landed_at_its_end(
    root: Path, shown: Callable[..., Row], now: datetime
) -> None:
    commit(root, shown("anna", "joy"), shown("ben", "joy"))
    commit(root, shown("anna", "sadness", 2))
    vacuum(root)
    for ago in range(20, 40):  # so many that older versions are read apart from these
        commit(root, shown("ben", "anger", ago=ago))
    last = commit(root, shown("anna", "fear", 3))
    old = now - timedelta(seconds=50)
    assert known(root, old, last + BEFORE, last) == ["sadness", "sadness", "fear"]
    assert known(root, old, who="ben") == ["joy"]


def test_without_readable_changes_all_windows_are_known_from_their_ends(
    root: Path, shown: Callable[..., Row], now: datetime
) -> None:
    commit(root, shown("anna", "joy"))
    commit(root, shown("ben", "joy"))
    vacuum(root)
    end = now - timedelta(seconds=60)
    assert known(root, end - timedelta(seconds=1), end) == [None, "joy"]


def vacuum(root: Path) -> None:
    """Delete the files that the changes so far were read from."""
    table = DeltaTable(root / NAME)
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
