"""Maintenance of the tables beside whoever writes them: retention, files, log."""

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.fs import DeltaStorageHandler
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status
from rich.table import Table as Grid

from pipelines.access.settings import Retention
from pipelines.tables.engine import Engine
from pipelines.tables.query import open_tables
from pipelines.tables.schedule import (
    RETENTION_DAYS,
    expired_by_modality,
    first_kept_day,
    limits_of,
    own_retention,
    properties_of,
)
from schemas.errors import AffectstreamError
from schemas.strict import suggest
from schemas.table import NO_DAY, PARTITION, Root, Table
from schemas.tables import TABLES
from transforms.landing.prepare import check_schema
from transforms.landing.retry import retry_commit

WEEK_H = 7 * 24
"""Hours for which a reader, or a follower of the change feed, finds the files of old versions."""
LEAST_H = 1
"""Files of a commit that is under way are younger; a vacuum may not take them."""
MOST_H = 10 * 365 * 24
"""Longer than any retention; the engines reckon in milliseconds and fail at much larger numbers."""
_CLOSED_AFTER = dt.timedelta(hours=1)
"""A day is closed when it has been over for so long: late rows come within minutes."""
_SMALL = 50 * 2**20
"""Bytes of a file below half of what both engines write; two of them in a day are worth joining."""
_SORTED = "affectstream.sorted"
"""Application id whose transaction version is the last day, as its ordinal, that was sorted.

In a checkpoint it outlives the log, and unlike a table property it makes no writer's commit fail.
"""
_ID = re.compile(r"[0-9a-f]{32}")
"""A row id: nothing else may get into a predicate."""
_IDS_AT_ONCE = 5000
"""Ids in one predicate, which the log keeps: 180 kB."""


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do in one table, as its files say.

    ``cutoff`` is the first day that is kept; the days to sort and to compact come after it.
    ``undated`` are the files, by their paths, of expired rows of no known day. ``modalities`` are
    those of which rows are kept for a shorter time and stand too long: the first day that is kept.
    """

    cutoff: dt.date | None
    undated: list[str]
    expired_rows: int
    sort: list[dt.date]
    compact: list[dt.date]
    modalities: Mapping[str, dt.date] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done in one table, or in a dry run is to be done: files before and after."""

    table: str
    work: Work
    before: int
    after: int
    vacuumed: int


@dataclass(frozen=True, slots=True)
class Maintenance:
    """How to maintain tables: by which engine, as of when, and what vacuum keeps.

    Without a ``retention`` each table is kept as long as it says itself.
    """

    engine: Engine
    keep_hours: int = WEEK_H
    dry_run: bool = False
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    retention: Retention | None = None


def maintain(
    root: Root, names: Sequence[str], how: Maintenance, console: Console
) -> list[Maintained]:
    """Maintain these tables under ``root``, all that stand unless some are named.

    In this order: rows are deleted whose days are past the table's retention, and those of no known
    day whose file has stood for so long; closed days are
    z-ordered by subject and time, once and again when small files have come; small files of other
    days are joined; what no version of the last ``keep_hours`` needs is deleted; the log gets a
    checkpoint, and loses what is past its own retention. Commits that other writers were faster
    than are tried again. A dry run writes nothing.

    Raises:
        AffectstreamError: a table does not stand, or cannot be written to.
    """
    if not LEAST_H <= how.keep_hours <= MOST_H:
        message = (
            f"a vacuum keeps at least {LEAST_H} hour, since a commit may be under way, and at most "
            f"{MOST_H:,}: give --keep-hours between them"
        )
        raise AffectstreamError(message)
    tables = _chosen(root, names)
    for name, table in tables.items():
        check_schema(TABLES[name], table)
    with console.status("") as status:
        return [_maintain(TABLES[name], table, how, status) for name, table in tables.items()]


def plan(
    table: Table,
    files: pa.Table,
    sorted_until: dt.date | None,
    now: dt.datetime,
    retention: Retention | None = None,
) -> Work:
    """Say what there is to do, from the files of a table as ``get_add_actions`` lists them."""
    days = files[f"partition.{PARTITION}"].to_pylist()
    sizes, rows = files["size_bytes"].to_pylist(), files["num_records"].to_pylist()
    cutoff = first_kept_day(limits_of(table, retention or Retention())[0], now)
    undated = _expired_undated(files, cutoff)
    expired = {day for day in days if cutoff is not None and day < cutoff and day != NO_DAY}
    # Files of no known day are left as they were added: their age is all that tells theirs.
    kept = set(days) - expired - {NO_DAY}
    small = {
        day: sum(d == day and size < _SMALL for d, size in zip(days, sizes, strict=True))
        for day in kept
    }
    crowded = {day for day, count in small.items() if count > 1}
    closed_before = (now - _CLOSED_AFTER).date()
    to_sort = {
        day
        for day in kept
        if sort_columns(table)
        and day < closed_before
        and (day in crowded or sorted_until is None or day > sorted_until)
    }
    paths = files["path"].to_pylist()
    return Work(
        cutoff=cutoff if expired else None,
        undated=undated,
        expired_rows=sum(
            n or 0
            for day, path, n in zip(days, paths, rows, strict=True)
            if day in expired or path in undated
        ),
        sort=sorted(to_sort),
        compact=sorted(crowded - to_sort),
    )


def _expired_undated(files: pa.Table, cutoff: dt.date | None) -> list[str]:
    """Return the paths of files of no known day that were added before the first day kept."""
    if cutoff is None:
        return []
    kept_since = dt.datetime.combine(cutoff, dt.time(), dt.UTC).timestamp() * 1000
    names = (f"partition.{PARTITION}", "path", "modification_time")
    rows = zip(*(files[name].to_pylist() for name in names), strict=True)
    return [path for day, path, added_ms in rows if day == NO_DAY and added_ms < kept_since]


def sort_columns(table: Table) -> list[str]:
    """Return the columns by which a table's closed days are z-ordered, none where it isn't."""
    return [table.subject, table.time] if table.subject and table.time else []


def _chosen(root: Root, names: Sequence[str]) -> dict[str, DeltaTable]:
    for name in names:
        if name not in TABLES:
            message = f"there is no table {name}: {suggest(name, TABLES)}"
            raise AffectstreamError(message)
    stand = open_tables(root)
    if missing := [name for name in names if name not in stand]:
        message = f"{missing[0]} does not stand under {root}: a replay or live run creates it"
        raise AffectstreamError(message)
    return {name: table for name, table in stand.items() if not names or name in names}


def _maintain(table: Table, stands: DeltaTable, how: Maintenance, status: Status) -> Maintained:
    retention = how.retention or own_retention(table, stands)
    files = pa.table(stands.get_add_actions(flatten=True))
    work = plan(table, files, _sorted_until(stands), how.clock(), retention)
    expired = expired_by_modality(table, stands, retention, how.clock())
    work = replace(
        work,
        expired_rows=work.expired_rows + sum(rows for _, rows in expired.values()),
        modalities={modality: day for modality, (day, _) in expired.items()},
    )
    if not how.dry_run:
        _note_retention(stands, properties_of(table, retention))
        _rewrite(table, stands, work, how.engine, status)
        status.update(f"{table.name}: vacuum")
        stands.update_incremental()
    vacuumed = len(_unneeded(stands, how.keep_hours))
    if not how.dry_run:
        if vacuumed:
            _commit(stands, lambda: how.engine.vacuum(stands, how.keep_hours))
        status.update(f"{table.name}: checkpoint")
        stands.create_checkpoint()
        stands.cleanup_metadata()
    after = len(stands.file_uris())
    return Maintained(table.name, work, files.num_rows, after, vacuumed)


def _note_retention(stands: DeltaTable, wanted: dict[str, str]) -> None:
    """Let the table tell how long its rows are kept; a writer's commit is then tried again."""
    known = stands.metadata().configuration
    whole = wanted.get(RETENTION_DAYS)
    for name in known:
        if name.startswith(f"{RETENTION_DAYS}.") and name not in wanted and whole is not None:
            wanted = wanted | {name: whole}  # a property cannot be taken away
    if wanted.items() - known.items():
        _commit(stands, lambda: _set(stands, wanted))


def _set(stands: DeltaTable, properties: dict[str, str]) -> None:
    stands.alter.set_table_properties(properties, raise_if_not_exists=False)


def _rewrite(table: Table, stands: DeltaTable, work: Work, engine: Engine, status: Status) -> None:
    if (cutoff := work.cutoff) is not None:
        status.update(f"{table.name}: rows before {cutoff}")
        earlier = f"{PARTITION} < DATE '{cutoff}' AND {PARTITION} <> DATE '{NO_DAY}'"
        _commit(stands, partial(engine.delete, stands, earlier))
    if work.undated:
        status.update(f"{table.name}: rows of no known day")
        for expired in _undated_predicates(table, stands, work.undated):
            _commit(stands, partial(engine.delete, stands, expired))
    for modality, day in work.modalities.items():
        status.update(f"{table.name}: {modality} before {day}")
        earlier = f"{PARTITION} < DATE '{day}' AND {PARTITION} <> DATE '{NO_DAY}'"
        _commit(stands, partial(engine.delete, stands, f"{earlier} AND modality = '{modality}'"))
    for day in work.sort:
        status.update(f"{table.name}: sorting {day}")
        _commit(stands, partial(engine.sort, stands, day, sort_columns(table)))
    for day in work.compact:
        status.update(f"{table.name}: compacting {day}")
        _commit(stands, partial(engine.compact, stands, day))
    if work.sort and work.sort[-1] > (_sorted_until(stands) or dt.date.min):
        _commit(stands, lambda: _note_sorted(stands, work.sort[-1]))


def _undated_predicates(table: Table, stands: DeltaTable, paths: list[str]) -> Iterator[str]:
    """Yield predicates, in SQL, of the rows of these files.

    By their ids: a predicate of the day alone would take what a writer adds meanwhile.
    """
    storage = DeltaStorageHandler(stands.table_uri)
    ids: list[str] = []
    for path in paths:
        with storage.open_input_file(path) as file:
            found = pq.read_table(file, columns=[table.row_id])[table.row_id].to_pylist()
        ids += [each for each in found if _ID.fullmatch(each)]
    for first in range(0, len(ids), _IDS_AT_ONCE):
        listed = ", ".join(f"'{each}'" for each in ids[first : first + _IDS_AT_ONCE])
        yield f"{PARTITION} = DATE '{NO_DAY}' AND {table.row_id} IN ({listed})"


def _commit(stands: DeltaTable, commit: Callable[[], None]) -> None:
    """Commit on the newest version, and again where another writer was first."""
    stands.update_incremental()
    place = str(stands.table_uri).removeprefix("file://").rstrip("/")
    retry_commit(commit, place, "commits of maintenance", stands.update_incremental)
    stands.update_incremental()


def _unneeded(stands: DeltaTable, keep_hours: int) -> list[str]:
    return stands.vacuum(keep_hours, dry_run=True, enforce_retention_duration=False, full=True)


def _sorted_until(stands: DeltaTable) -> dt.date | None:
    day = stands.transaction_version(_SORTED)
    return None if day is None else dt.date.fromordinal(day)


def _note_sorted(stands: DeltaTable, day: dt.date) -> None:
    note = CommitProperties(app_transactions=[Transaction(_SORTED, day.toordinal())])
    stands.create_write_transaction(
        [], "append", stands.schema(), partition_by=[PARTITION], commit_properties=note
    )


def print_maintained(done: Sequence[Maintained], console: Console, *, dry_run: bool) -> None:
    """Print one line for each table."""
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("table", no_wrap=True)
    for column in ("rows deleted", "days sorted", "compacted", "files", "vacuumed"):
        grid.add_column(column, justify="right")
    for each in done:
        work = each.work
        files = f"{each.before:,}" if dry_run else f"{each.before:,} → {each.after:,}"
        counts = (work.expired_rows, len(work.sort), len(work.compact))
        grid.add_row(each.table, *(f"{n:,}" for n in counts), files, f"{each.vacuumed:,}")
    console.print(grid)
    if dry_run:
        console.print("nothing was written: this is what maintenance would do now")
