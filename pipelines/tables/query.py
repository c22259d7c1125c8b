"""Read-only access to the tables: SQL in, Arrow or pandas out.

The engine is DataFusion inside ``deltalake``: it downloads nothing and reads deletion vectors.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import DeltaError

from pipelines.access.restricted import Reader, Shown, restrict
from pipelines.access.scratch import scratch_folder
from pipelines.tables.analyst_views import VIEWS, View, tables_of, views_for
from pipelines.tables.arrow_types import plain_types
from pipelines.tables.changes import name_of
from pipelines.tables.statement import check_reads, named_in, per_table, tables_named_in
from pipelines.tables.versions import Moment, changes_since, open_at
from schemas.errors import AffectstreamError
from schemas.table import Root
from schemas.tables import TABLES
from transforms.landing.features import check_readable

if TYPE_CHECKING:  # it takes half a second, and only some callers want frames
    import pandas as pd

AsOf = Moment | Mapping[str, Moment]
ChangesSince = int | Mapping[str, int]

_SETTINGS = {
    "datafusion.catalog.information_schema": "true",
    # Columns that a filter doesn't need are read only where rows pass: the newest of 10 M rows with
    # all columns take 0.9 instead of 4.3 s of processor time.
    "datafusion.execution.parquet.pushdown_filters": "true",
    # The engine drops the columns' metadata at a UNION, and then refuses to sum up what differs.
    "datafusion.execution.skip_physical_aggregate_schema_check": "true",
}
_HINT_LENGTH = 600


def tables(root: Root) -> dict[str, int]:
    """Return the number of rows of each table that stands under this root."""
    names = list(_places(root))
    counts = " UNION ALL ".join(f"SELECT '{n}' AS name, count(*) AS n FROM {n}" for n in names)
    found = {str(row["name"]): int(row["n"]) for row in query(root, counts).to_pylist()}
    return {name: found[name] for name in names}


def query(
    root: Root,
    sql: str,
    *,
    as_of: AsOf | None = None,
    changes_since: ChangesSince | None = None,
    timeout_s: float | None = None,
    reader: Reader | None = None,
) -> pa.Table:
    """Run one reading SQL statement over the tables under this root, and the views of them.

    Args:
        root: the folder or ``s3://`` place of the tables.
        sql: one statement that begins with SELECT, WITH, VALUES, EXPLAIN, DESCRIBE or SHOW.
        as_of: reads tables as they stood at a time (each table as its last commit until then left
            it), or at a version. Each table counts its own versions: a version alone is for a
            statement that reads one table, otherwise name it: ``{"emotion_features": 12}``.
        changes_since: reads the changes that a table had after this version in place of the table,
            with the columns ``_change_type`` (insert, delete, update_preimage, update_postimage),
            ``_commit_version``, ``_commit_timestamp`` and ``_commit_reason``. Other tables
            that are not named here are read as they stand.
        timeout_s: seconds after which the call gives up, None for never. The engine cannot be
            interrupted: a statement that was given up, by Ctrl-C too, goes on in a thread of its
            own until it or the process ends.
        reader: who reads, by a role; what the role does not see is not there. None sees all.

    A statement may take half of the machine's memory.

    Raises:
        AffectstreamError: the root holds no table, the statement does not only read, cannot be run
            (the message carries the engine's own hint) or takes too long, or a version or time
            cannot be read (it names the range that can be).
    """
    check_reads(sql)
    places = _places(root)
    if reader is not None and not (as_of is None and changes_since is None):
        reader.check_past()
    wanted = tables_named_in(sql, places) if reader is None else reader.needed(sql)
    opened = {name: _open_table(places[name]) for name in wanted if name in places}
    named = list(opened)
    for name, moment in _moments(as_of, named).items():
        opened[name] = open_at(opened[name], moment)
    versions = per_table("--changes-since", changes_since, named)
    with scratch_folder() as folder:
        opened |= {n: _changes(opened[n], version, folder) for n, version in versions.items()}
        asked = _Asked(sql, opened, places, versions, reader, folder)
        return _run_within(timeout_s, lambda: _run(asked))


class _Asked(NamedTuple):
    """A statement, the tables that it may read, and the places of all that stand.

    ``changed`` are the tables that stand for their changes; ``folder`` is for the reader's tables.
    """

    sql: str
    opened: dict[str, DeltaTable]
    places: dict[str, str]
    changed: Iterable[str]
    reader: Reader | None
    folder: str


def _moments(as_of: AsOf | None, named: list[str]) -> dict[str, Moment]:
    if isinstance(as_of, datetime):
        return dict.fromkeys(named, as_of)
    return per_table("--as-of", as_of, named)


def query_pandas(
    root: Root,
    sql: str,
    *,
    as_of: AsOf | None = None,
    changes_since: ChangesSince | None = None,
    timeout_s: float | None = None,
) -> "pd.DataFrame":
    """Run one reading SQL statement and return a pandas frame: ``query`` says what is what."""
    found = query(root, sql, as_of=as_of, changes_since=changes_since, timeout_s=timeout_s)
    return found.to_pandas()


def read_table(root: Root, name: str, *columns: str) -> pa.Table:
    """Return these columns of a table, no row where the table does not stand yet.

    A column that was added since the table was written is null.
    """
    schema = TABLES[name].schema
    if not DeltaTable.is_deltatable(f"{root}/{name}"):
        return pa.schema([schema.field(column) for column in columns]).empty_table()
    known = {field.name for field in DeltaTable(f"{root}/{name}").schema().fields}
    chosen = (f'"{each}"' if each in known else f'NULL AS "{each}"' for each in columns)
    found = query(root, f"SELECT {', '.join(chosen)} FROM {name}")
    return pa.table(
        [
            found[column] if column in known else found[column].cast(schema.field(column).type)
            for column in columns
        ],
        names=list(columns),
    )


def open_tables(root: Root, *, unreadable: bool = False) -> dict[str, DeltaTable]:
    """Open the tables that stand under this root, by name, ``unreadable`` ones if those are wanted.

    Raises AffectstreamError where there is none or one cannot be read.
    """
    return {name: _open_table(place, unreadable) for name, place in _places(root).items()}


def standing(root: Root) -> dict[str, str]:
    """Return the place of each table that stands under this root, none where none does."""
    places = {name: f"{root}/{name}" for name in TABLES}
    try:
        return {name: place for name, place in places.items() if DeltaTable.is_deltatable(place)}
    except (DeltaError, OSError) as error:
        message = f"no tables can be looked for under {root}: {_sentence(str(error))}"
        raise AffectstreamError(message) from error


def _places(root: Root) -> dict[str, str]:
    found = standing(root)
    if not found:
        message = (
            f"no table under {root}: run a replay into it, or give the folder that holds "
            "observations/ and its siblings"
        )
        raise AffectstreamError(message)
    return found


def _open_table(uri: str, unreadable: bool = False) -> DeltaTable:
    try:
        table = DeltaTable(uri)
    except (DeltaError, OSError) as error:
        message = f"table {uri} cannot be read: {_sentence(str(error))}"
        raise AffectstreamError(message) from error
    if not unreadable:
        check_readable(table)
    return table


def _changes(table: DeltaTable, version: int, folder: str) -> DeltaTable:
    """Return a table of the changes since a version, in a folder that does not outlive the query.

    The engine takes Delta tables alone.
    """
    changes = changes_since(table, version)
    place = Path(folder) / name_of(table)
    write_deltalake(place, changes)
    return DeltaTable(place)


def _run_within(timeout_s: float | None, work: Callable[[], pa.Table]) -> pa.Table:
    """Return what ``work`` returns, or raise what it raises, from a thread of its own.

    Inside the engine no signal is handled; a thread that waits for another hears Ctrl-C. Work that
    was given up doesn't keep the process from ending.
    """
    results: list[pa.Table] = []
    errors: list[BaseException] = []

    def work_apart() -> None:
        try:
            results.append(work())
        except BaseException as error:  # the engine's panics are no Exception
            errors.append(error)

    thread = threading.Thread(target=work_apart, name="query", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not results:
        message = (
            f"the query takes longer than {timeout_s:g} s: let it read less, or give it more time "
            "(--timeout SECONDS, 0 for any)"
        )
        raise AffectstreamError(message)
    return results[0]


def _run(asked: _Asked) -> pa.Table:
    try:
        shown = _shown(asked)
        result = pa.table(_engine(*shown).execute(asked.sql))
    except (DeltaError, pa.ArrowException, OSError) as error:
        message = f"the query does not run: {_explain(_sentence(str(error)), asked)}"
        raise AffectstreamError(message) from error
    if not result.num_columns:
        message = "the query returns no column: name what to select (SELECT … INTO is not read)"
        raise AffectstreamError(message)
    return plain_types(result)


def _shown(asked: _Asked) -> Shown:
    """Return the tables and views that the statement meets."""
    ready = {
        name: view
        for name, view in VIEWS.items()
        if not _hindrance(view, asked.places, asked.changed)
    }
    if asked.reader is None:
        # A name may also be that of an alias: a view that can't be had is no error until it's read.
        views = [v for v in views_for(named_in(asked.sql, VIEWS)) if v.name in ready]
        return Shown(asked.opened, views)
    return restrict(asked.reader, asked.sql, asked.opened, ready, asked.folder, _engine)


def _engine(tables: Mapping[str, DeltaTable], views: Iterable[View]) -> QueryBuilder:
    engine = QueryBuilder(_SETTINGS)
    # As a setting of the session it isn't known; it has to be a statement.
    engine.execute(f"SET datafusion.runtime.memory_limit = '{_memory_limit()}K'").read_all()
    for name, table in tables.items():
        engine.register(name, table)
    for view in views:
        engine.execute(f"CREATE VIEW {view.name} AS {view.sql}").read_all()
    return engine


def _memory_limit() -> int:
    """Return half of the machine's memory, in KiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2048


def _hindrance(view: View, places: dict[str, str], changed: Iterable[str]) -> str | None:
    """Say why a view cannot be read, None where it can."""
    needed = tables_of(view)
    if lacking := [name for name in needed if name not in places]:
        return f"{view.name} reads {', '.join(lacking)}, and no such table stands here"
    if set(needed) & set(changed) and not view.by_row:
        by_row = ", ".join(each.name for each in VIEWS.values() if each.by_row)
        return (
            f"{view.name} is not made row by row, so it has no changes: ask for those of a table "
            f"or of {by_row}"
        )
    return None


def _explain(hint: str, asked: _Asked) -> str:
    """Say why the engine did not run a statement, and which tables and views there are."""
    if asked.reader is not None and (refusal := asked.reader.explain(hint, asked.sql)):
        return refusal
    hindrances = {
        view.name: _hindrance(view, asked.places, asked.changed)
        for view in VIEWS.values()
        if asked.reader is None or view.name in asked.reader.role.tables
    }
    for name, hindrance in hindrances.items():
        if hindrance and f".{name}' not found" in hint:
            return f"{hint} ({hindrance})"
    ready = [name for name, hindrance in hindrances.items() if not hindrance]
    known = [n for n in asked.places if asked.reader is None or n in asked.reader.role.tables]
    return f"{hint} (tables here: {', '.join(known)}; views: {', '.join(ready)})"


def _sentence(hint: str) -> str:
    """Join the engine's lines into one without its full stop, cut where a field list runs long."""
    joined = " ".join(hint.split()).rstrip(".")
    return joined if len(joined) <= _HINT_LENGTH else f"{joined[:_HINT_LENGTH]} …"
