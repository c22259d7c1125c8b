"""The retention schedule: how long rows are kept, by table and modality, why, and what comes next.

What maintenance enforces also stands in the Delta tables themselves, as their properties
``affectstream.retention_days`` and ``affectstream.retention_days.MODALITY``, so that whoever finds
a table finds how long it may be kept.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid

from pipelines.access.settings import Retention
from schemas.errors import AffectstreamError
from schemas.table import NO_DAY, PARTITION, Table
from schemas.tables import TABLES

RETENTION_DAYS: Final = "affectstream.retention_days"
_OF_MODALITIES: Final = "observations"
_SHORTER: Final = "biometrics are kept no longer than they are of use: GDPR 5(1)(e), BIPA 15(a)"


class Limit(NamedTuple):
    """How many days rows are kept, None for ever: all of a table, or those of one modality."""

    table: str
    modality: str | None
    days: int | None
    reason: str


class Due(NamedTuple):
    """A limit, the oldest day of which rows stand, and the day on which they are to be deleted."""

    limit: Limit
    oldest: dt.date | None
    delete_on: dt.date | None


def limits_of(table: Table, retention: Retention) -> list[Limit]:
    """Return the limit of a table, and those of modalities that are kept for a shorter time."""
    days = retention.days.get(table.name, table.retention_days)
    found = [Limit(table.name, None, days, table.retention_reason)]
    if table.name == _OF_MODALITIES and days is not None:
        found += [
            Limit(table.name, modality, shorter, _SHORTER)
            for modality, shorter in retention.modality_days.items()
            if shorter < days
        ]
    return found


def first_kept_day(limit: Limit, now: dt.datetime) -> dt.date | None:
    """Return the first day that is kept, None where all are."""
    return None if limit.days is None else now.date() - dt.timedelta(days=limit.days)


def properties_of(table: Table, retention: Retention) -> dict[str, str]:
    """Return the properties by which a Delta table tells how long its rows are kept."""
    return {
        RETENTION_DAYS + (f".{limit.modality}" if limit.modality else ""): str(limit.days)
        for limit in limits_of(table, retention)
        if limit.days is not None
    }


def own_retention(table: Table, stands: DeltaTable) -> Retention:
    """Return how long a table says that its rows are kept; what ships where it says nothing.

    Raises:
        AffectstreamError: what it says is no number of days.
    """
    known = stands.metadata().configuration
    whole = known.get(RETENTION_DAYS)
    if whole is None or table.retention_days is None:
        return Retention()
    prefix = f"{RETENTION_DAYS}."
    modalities = {n.removeprefix(prefix): d for n, d in known.items() if n.startswith(prefix)}
    try:
        return Retention(
            days={table.name: int(whole)},
            modality_days={name: int(days) for name, days in modalities.items()},
        )
    except ValueError as error:
        message = (
            f"table {table.name} names as {RETENTION_DAYS} what is no number of days: say by "
            "`retention` in a configuration how long its rows are kept, and give it as --config"
        )
        raise AffectstreamError(message) from error


def expired_by_modality(
    table: Table, stands: DeltaTable, retention: Retention, now: dt.datetime
) -> dict[str, tuple[dt.date, int]]:
    """Return modality → first day that is kept, and how many rows stand from before it.

    Modalities without such a row are left out, and rows that the table's own limit deletes.
    """
    whole, *shorter = limits_of(table, retention)
    if not shorter:
        return {}
    first = first_kept_day(whole, now) or dt.date.min
    counts = _count_by_day(stands)
    found = {}
    for limit in shorter:
        kept_from = first_kept_day(limit, now)
        if kept_from is None:
            continue
        rows = sum(
            n
            for (modality, day), n in counts.items()
            if modality == limit.modality and first <= day < kept_from and day != NO_DAY
        )
        if rows:
            found[str(limit.modality)] = (kept_from, rows)
    return found


def dues(tables: Mapping[str, DeltaTable], retention: Retention | None) -> Iterator[Due]:
    """Yield every limit of every table, with the oldest rows of those that stand.

    Without a ``retention`` a table is kept as long as it says itself.
    """
    for table in TABLES.values():
        stands = tables.get(table.name)
        for limit in limits_of(table, retention or _own(table, stands)):
            oldest = None if stands is None else _oldest_day(stands, limit)
            delete_on = None
            if oldest is not None and limit.days is not None:
                delete_on = oldest + dt.timedelta(days=limit.days + 1)
            yield Due(limit, oldest, delete_on)


def print_schedule(
    console: Console,
    retention: Retention | None,
    tables: Mapping[str, DeltaTable],
    today: dt.date | None = None,
) -> None:
    """Print the schedule as a public record: what is kept, how long and why, and what is next."""
    today = today or dt.datetime.now(dt.UTC).date()
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("table", "modality", "kept", "oldest"):
        grid.add_column(column, no_wrap=True)
    grid.add_column("deletion", min_width=10)
    grid.add_column("what a row is, its owner, and why so long", overflow="fold")
    for due in dues(tables, retention):
        limit, table = due.limit, TABLES[due.limit.table]
        kept = "as proof" if limit.days is None else f"{limit.days} days"
        grid.add_row(
            limit.table,
            limit.modality or "all",
            kept,
            str(due.oldest or "–"),
            _when(due.delete_on, today),
            f"{table.description} ({table.owner}): {limit.reason}",
        )
    console.print(grid)


def _own(table: Table, stands: DeltaTable | None) -> Retention:
    return Retention() if stands is None else own_retention(table, stands)


def _when(day: dt.date | None, today: dt.date) -> str:
    if day is None:
        return "–"
    return f"{day}, due now" if day <= today else str(day)


def _oldest_day(stands: DeltaTable, limit: Limit) -> dt.date | None:
    """Return the oldest known day of which rows stand; that of a modality is looked for in them."""
    if limit.modality is not None:
        days = [day for (modality, day), _ in _count_by_day(stands).items()
                if modality == limit.modality]  # fmt: skip
    else:
        files = pa.table(stands.get_add_actions(flatten=True))
        column = f"partition.{PARTITION}"
        days = pc.unique(files[column]).to_pylist() if files.num_rows else []
    return min((day for day in days if day is not None and day != NO_DAY), default=None)


def _count_by_day(stands: DeltaTable) -> dict[tuple[str, dt.date], int]:
    """Return modality and day → rows, of a table of observations."""
    engine = QueryBuilder().register("counted", stands)
    found = pa.table(
        engine.execute(
            f"SELECT modality, {PARTITION} AS day, count(*) AS n FROM counted GROUP BY 1, 2"
        )
    )
    return {(row["modality"], row["day"]): row["n"] for row in found.to_pylist()}
