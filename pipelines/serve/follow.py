"""The follower: what became new in a table since a position, and whose rows were erased."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.serve.followed_table import FollowedTable
from pipelines.tables.changes import (
    BACKFILL,
    CHANGE,
    RETENTION,
    VERSION,
    ChangesGoneError,
    read_changes,
    readable_versions,
    reasons,
)
from schemas.errors import AffectstreamError
from schemas.table import Root
from schemas.tables import TABLES

_VERSIONS_AT_ONCE = 5  # of 100,000 rows each at most
_NEWS = pa.array(["insert", "update_postimage"])


class Position(NamedTuple):
    """How far a table was followed: which table that was, and its last version that is done."""

    table_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What versions of one table brought.

    ``rows`` were added or replaced an older revision, in the order of their commits, each row id
    once, in its newest revision. Of the ``erased`` subjects nothing of before is among them. Where
    versions were left out, ``standing`` are all whose rows the table holds: whoever is not among
    them may have been erased meanwhile.
    """

    table: str
    rows: pa.Table
    erased: tuple[str, ...]
    position: Position
    standing: frozenset[str] | None = None


class AwayError(AffectstreamError):
    """What a feed reads from or writes to does not answer now, which may pass."""


class LostPositionError(AffectstreamError):
    """A position from which nothing can be followed any more."""


class Follower:
    """Reads the change feed of one table from a position on.

    Rows of a backfill, and those that one commit both deleted and wrote again, are no news. Rows
    that were deleted and not written again are an erasure of their subjects, unless the commit
    says that they only had become old.
    """

    def __init__(self, root: Root, table: str, columns: Sequence[str] | None = None) -> None:
        self.name = table
        self._row = TABLES[table]
        self._columns = list(columns or self._row.schema.names)
        self._place = f"{root}/{table}"
        self._table = FollowedTable(root, table)
        self.seen: Position | None = None
        """Behind what the table held at the last look, None before it is made."""

    def opened(self) -> DeltaTable | None:
        """Return the table as it stands now, None before it is made.

        Raises:
            AwayError: it cannot be read.
        """
        try:
            table = self._table.newest()
        except (DeltaError, pa.ArrowException, OSError) as error:
            self._table.forget()
            message = f"{self._place} cannot be read: {' '.join(str(error).split())}"
            raise AwayError(message) from error
        self.seen = None if table is None else _position(table)
        return table

    def here(self) -> Position | None:
        """Return the position behind all that the table holds now, None before it is made."""
        self.opened()
        return self.seen

    def skip(self) -> Changes | None:
        """Return no change, with the position behind all that the table holds now."""
        table = self.opened()
        if table is None:
            return None
        return Changes(self.name, self._whole(None), (), _position(table), self._standing(table))

    def snapshot(self, where: pc.Expression) -> Changes | None:
        """Return those rows that stand now and for which this holds, as if they were all new."""
        table = self.opened()
        if table is None:
            return None
        rows = table.to_pyarrow_dataset().to_table(columns=self._present(table), filter=where)
        standing = self._standing(table)
        return Changes(self.name, self._whole(rows), (), _position(table), standing)

    def _standing(self, table: DeltaTable) -> frozenset[str]:
        column = self._row.subject or self._row.row_id
        found = table.to_pyarrow_dataset().to_table(columns=[column])[column]
        return frozenset(pc.unique(found).drop_null().to_pylist())

    def read(self, position: Position) -> Changes | None:
        """Return what came after this position, None where nothing has.

        Raises:
            LostPositionError: that can no longer be read, or this is another table.
            AwayError: the table cannot be read now, or its change feed is off.
        """
        table = self.opened()
        if table is None:
            return None
        here = _position(table)
        if position.table_id != here.table_id or position.version > here.version:
            message = (
                f"{self.name} was made anew since it was followed to version {position.version}, "
                "or another folder's was followed (then give this feed another `feed.name`)"
            )
            raise LostPositionError(message)
        if position.version == here.version:
            return None
        try:
            return self._read_on(table, position.version, here)
        except ChangesGoneError as error:
            raise LostPositionError(str(error)) from error
        except AffectstreamError as error:
            raise AwayError(str(error)) from error

    def _read_on(self, table: DeltaTable, version: int, here: Position) -> Changes:
        first = max(version + 1, readable_versions(table).first)
        if first > here.version:  # what came before the feed was on is no news
            return Changes(self.name, self._whole(None), (), here)
        last = min(here.version, first + _VERSIONS_AT_ONCE - 1)
        found = read_changes(table, first, last, self._present(table))
        return self._changes(table, found, last, here.table_id)

    def _present(self, table: DeltaTable) -> list[str]:
        known = {field.name for field in table.schema().fields}
        return [name for name in self._columns if name in known]

    def _changes(self, table: DeltaTable, found: pa.Table, last: int, table_id: str) -> Changes:
        deleted = found.filter(pc.equal(found[CHANGE], "delete"))
        erased: tuple[str, ...] = ()
        if deleted.num_rows:
            found, deleted = self._without_rewritten(table, found, deleted)
        if deleted.num_rows:
            # Up to the first erasure: what comes after it may be of the same person again.
            last = pc.min(deleted[VERSION]).as_py()
            found = found.filter(pc.less_equal(found[VERSION], last))
            deleted = deleted.filter(pc.equal(deleted[VERSION], last))
            gone = pc.unique(deleted[self._row.subject])
            erased = tuple(sorted(gone.drop_null().to_pylist()))
            found = found.filter(pc.invert(pc.is_in(found[self._row.subject], gone)))
        news = found.filter(pc.is_in(found[CHANGE], _NEWS))
        return Changes(self.name, self._newest(self._whole(news)), erased, Position(table_id, last))

    def _without_rewritten(
        self, table: DeltaTable, found: pa.Table, deleted: pa.Table
    ) -> tuple[pa.Table, pa.Table]:
        """Leave out what a commit deleted and wrote again, and all of retention and backfills."""
        said = reasons(table, pc.unique(deleted[VERSION]).to_pylist())
        told = pa.array([v for v, reason in said.items() if reason in (RETENTION, BACKFILL)])
        told = told.cast(found[VERSION].type)
        keys = (VERSION, self._row.row_id)
        inserted = found.filter(pc.equal(found[CHANGE], "insert"))
        again = set(_pairs(deleted, keys)) & set(_pairs(inserted, keys))

        def left(rows: pa.Table) -> pa.Table:
            new = pa.array([pair not in again for pair in _pairs(rows, keys)], pa.bool_())
            return rows.filter(pc.and_(new, pc.invert(pc.is_in(rows[VERSION], told))))

        return left(found), left(deleted)

    def _whole(self, rows: pa.Table | None) -> pa.Table:
        """Return the rows with the columns that were asked for; one that is not there is null."""
        schema = pa.schema([self._row.schema.field(name) for name in self._columns])
        if rows is None:
            return schema.empty_table()
        columns = [
            rows[field.name].cast(field.type)
            if field.name in rows.column_names
            else pa.nulls(rows.num_rows, field.type)
            for field in schema
        ]
        return pa.table(columns, schema=schema)

    def _newest(self, rows: pa.Table) -> pa.Table:
        """Keep the last row of each id: of several revisions only the newest matters."""
        ids = rows[self._row.row_id].combine_chunks().dictionary_encode().indices.to_numpy()
        _, last = np.unique(ids[::-1], return_index=True)
        if len(last) == len(ids):
            return rows
        return rows.take(pa.array(np.sort(len(ids) - 1 - last)))


def _position(table: DeltaTable) -> Position:
    return Position(str(table.metadata().id), table.version())


def _pairs(rows: pa.Table, columns: tuple[str, str]) -> list[tuple[int, str]]:
    return list(zip(*(rows[name].to_pylist() for name in columns), strict=True))
