"""What rewrites a table's files: deltalake, inside this process, or another engine."""

import datetime as dt
from collections.abc import Sequence
from typing import Protocol

from deltalake import CommitProperties, DeltaTable, WriterProperties

from pipelines.tables.changes import REASON, RETENTION, name_of
from pipelines.tables.compaction import file_layout
from schemas.table import PARTITION
from schemas.tables import TABLES

_SORT_BYTES = 2 << 30
"""Memory of a sort, above which it goes to disk: half a million feature rows take 0.4 GB."""


class Engine(Protocol):
    """Rewrites of one table, each of them one commit.

    Raises ``deltalake.exceptions.CommitFailedError`` where another writer was first.
    """

    def compact(self, table: DeltaTable, day: dt.date) -> None:
        """Make large files of a day's small ones."""

    def sort(self, table: DeltaTable, day: dt.date, columns: Sequence[str]) -> None:
        """Write a day's rows anew, in the z-order of these columns."""

    def delete(self, table: DeltaTable, expired: str) -> None:
        """Delete the rows of a predicate, in a commit that says that their retention is over."""

    def vacuum(self, table: DeltaTable, keep_hours: int) -> None:
        """Delete the files that no version of so many hours ago, or later, needs.

        The change feed's files are among them: in those a person's rows would outlive an erasure.
        """


class DeltalakeEngine:
    """The engine that is always there: it works inside this process."""

    def compact(self, table: DeltaTable, day: dt.date) -> None:
        table.optimize.compact(_day(day), writer_properties=_layout(table))

    def sort(self, table: DeltaTable, day: dt.date, columns: Sequence[str]) -> None:
        table.optimize.z_order(
            columns, _day(day), max_spill_size=_SORT_BYTES, writer_properties=_layout(table)
        )

    def delete(self, table: DeltaTable, expired: str) -> None:
        why = CommitProperties(custom_metadata={REASON: RETENTION})
        table.delete(expired, commit_properties=why, writer_properties=_layout(table))

    def vacuum(self, table: DeltaTable, keep_hours: int) -> None:
        table.vacuum(keep_hours, dry_run=False, enforce_retention_duration=False, full=True)


def _layout(table: DeltaTable) -> WriterProperties:
    return file_layout(TABLES[name_of(table)])


def _day(day: dt.date) -> list[tuple[str, str, str]]:
    return [(PARTITION, "=", str(day))]
