"""Reading for the page: tables stay open, and one result serves every viewer until a commit."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError

from pipelines.access.roles import Role
from pipelines.serve.followed_table import FollowedTable
from pipelines.tables.arrow_types import plain_types
from schemas.errors import AffectstreamError
from schemas.table import PARTITION, Root
from schemas.tables import TABLES

_FRESH_S = 0.1
"""For how long a table counts as just looked at: a run of a view asks several times."""
_RESULTS = 128
_DAYS = 7
"""How many of the newest days can be chosen."""

Versions = tuple[tuple[str, str, int], ...]
"""Name, identity and version of each table that a query read."""


class Reader:
    """The tables under one root, for all viewers of a page.

    A handle that stands costs 1 ms to bring up to date, and a query of 1 M rows 20 ms. Results are
    kept until one of their tables has a commit. With a ``role`` the tables are those that it sees,
    as it sees them.
    """

    def __init__(
        self,
        root: Root,
        clock: Callable[[], float] = time.monotonic,
        role: Role | None = None,
    ) -> None:
        self.root = root
        self._clock, self._role = clock, role
        self._lock = threading.RLock()
        self._followed: dict[str, FollowedTable] = {}
        self._tables: dict[str, DeltaTable | None] = {}
        self._looked_at: dict[str, float] = {}
        self._results: OrderedDict[tuple[str, Versions], pd.DataFrame] = OrderedDict()

    def version(self, name: str) -> int | None:
        """Return the version that a table stands at, None before it is made."""
        table = self._table(name)
        return None if table is None else table.version()

    def check_root(self) -> None:
        """Raise where no table stands under the root."""
        if all(self._table(name) is None for name in TABLES):
            message = (
                f"no table under {self.root}: start a job or a replay that writes there, or give "
                "another folder as --tables"
            )
            raise AffectstreamError(message)

    def rows(self, sql: str, *names: str) -> pd.DataFrame:
        """Run a query over these tables; without all of them there is no row, and no column.

        Raises:
            AffectstreamError: a table cannot be read.
        """
        with self._lock:
            try:
                return self._rows(sql, names)
            except (DeltaError, pa.ArrowException, OSError):
                for name in names:  # made anew since it was opened, or vacuumed while it was read
                    self._forget(name)
                    self._looked_at.pop(name, None)
            try:
                return self._rows(sql, names)
            except (DeltaError, pa.ArrowException, OSError) as error:
                reason = " ".join(str(error).split())[:300]
                message = f"{', '.join(names)} under {self.root} cannot be read: {reason}"
                raise AffectstreamError(message) from error

    def present(self, name: str, *columns: str) -> str:
        """Return these columns for a SELECT; one that an earlier version did not have is null."""
        table = self._table(name)
        known = {field.name for field in table.schema().fields} if table else set()
        return ", ".join(c if c in known else f"NULL AS {c}" for c in columns)

    def days(self, name: str) -> list[date]:
        """Return the newest days of which a table has rows, the newest first."""
        files = self._files(name)
        if files is None:
            return []
        days = pc.unique(files[f"partition.{PARTITION}"]).to_pylist()
        return sorted((day for day in days if day is not None), reverse=True)[:_DAYS]

    def end(self, name: str, day: date) -> datetime | None:
        """Return the newest time of a table's rows of a day, to the millisecond, from its log."""
        files = self._files(name)
        column = f"max.{TABLES[name].time}"
        if files is None or column not in files.column_names:
            return None
        of_day = files.filter(pc.equal(files[f"partition.{PARTITION}"], pa.scalar(day)))
        newest = pc.max(of_day[column]).as_py()
        return newest.astimezone(UTC) if newest else None

    def count(self, name: str) -> int:
        """Return the number of a table's rows, from its log."""
        files = self._files(name)
        return 0 if files is None else int(pc.sum(files["num_records"]).as_py() or 0)

    def committed_at(self, name: str) -> datetime | None:
        """Return when a table's newest commit was."""
        table = self._table(name)
        if table is None:
            return None
        with self._lock:
            entry: dict[str, Any] = table.history(1)[0]
        return datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)

    def _files(self, name: str) -> pa.Table | None:
        table = self._table(name)
        if table is None:
            return None
        with self._lock:
            files = pa.table(table.get_add_actions(flatten=True))
        return files if files.num_rows else None

    def _rows(self, sql: str, names: tuple[str, ...]) -> pd.DataFrame:
        opened = {name: self._table(name) for name in names}
        tables = {name: table for name, table in opened.items() if table is not None}
        if len(tables) < len(names):
            return pd.DataFrame()
        versions = ((n, str(table.metadata().id), table.version()) for n, table in tables.items())
        key = (sql, tuple(versions))
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        engine = QueryBuilder()
        for name, table in tables.items():
            self._register(engine, name, table)
        found = plain_types(pa.table(engine.execute(sql))).to_pandas()
        self._results[key] = found
        if len(self._results) > _RESULTS:
            self._results.popitem(last=False)
        return found

    def _register(self, engine: QueryBuilder, name: str, table: DeltaTable) -> None:
        """Let the engine know a table as the role sees it; columns that it doesn't see are null.

        A view is enough here, where no statement is a viewer's own. Rows are never limited: a role
        that sees the page has all rows of its tables.
        """
        grant = None if self._role is None else self._role.tables[name]
        if grant is None or grant.columns_whole:
            engine.register(name, table)
            return
        engine.register(f"whole_{name}", table)
        columns = [field.name for field in table.schema().fields]
        shown = (
            f'"{c}"' if grant.shows(c) else f'CASE WHEN false THEN "{c}" END AS "{c}"'
            for c in columns
        )
        engine.execute(
            f"CREATE VIEW {name} AS SELECT {', '.join(shown)} FROM whole_{name}"
        ).read_all()

    def _table(self, name: str) -> DeltaTable | None:
        """Return a table as it stands now, None before it is made, or where the role has it not."""
        if self._role is not None and name not in self._role.tables:
            return None
        with self._lock:
            now = self._clock()
            if now - self._looked_at.get(name, -_FRESH_S) < _FRESH_S:
                return self._tables.get(name)
            self._looked_at[name] = now
            followed = self._followed.setdefault(name, FollowedTable(self.root, name))
            try:
                self._tables[name] = followed.newest()
            except (DeltaError, pa.ArrowException, OSError):
                self._forget(name)  # being made, or replaced: the next look finds it
            return self._tables.get(name)

    def _forget(self, name: str) -> None:
        self._tables.pop(name, None)
        self._followed.pop(name, None)


def moment(value: datetime) -> str:
    """Return a time as a literal of SQL."""
    return f"TIMESTAMP '{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
