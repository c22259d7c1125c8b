"""The days of a backfill: which they are, and what of them was observed."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.backfill.rebuild import length_us
from schemas.errors import AffectstreamError
from schemas.settings import Windows
from schemas.table import PARTITION
from schemas.tables import TABLES

CHUNK_US = 3_600_000_000
"""Event time that is read and windowed at once: one hour, so that memory follows the rate."""
_DAY = dt.timedelta(days=1)
_EARLIEST = dt.date(1970, 1, 2)
"""The first day before which, too, times can be counted: windows are numbered from 1970."""


@dataclass(frozen=True, slots=True)
class Days:
    """Days from the first to the last, both included."""

    first: dt.date
    last: dt.date

    def __iter__(self) -> Iterator[dt.date]:
        """Yield each day."""
        for number in range((self.last - self.first).days + 1):
            yield self.first + number * _DAY


def parse_days(given: str) -> Days:
    """Read ``2026-11-01..2026-11-07``, or one day.

    Raises:
        AffectstreamError: it is neither, or before 1970.
    """
    first, _, last = given.partition("..")
    try:
        days = Days(_day(first), _day(last or first))
    except ValueError as error:
        message = f"--days is {given!r}: write it as 2026-11-01..2026-11-07"
        raise AffectstreamError(message) from error
    if days.last < days.first:
        message = f"--days ends before it begins: write {last}..{first}"
        raise AffectstreamError(message)
    if days.first < _EARLIEST:
        message = f"--days begins on {first}: there are no events before {_EARLIEST}"
        raise AffectstreamError(message)
    return days


def _day(text: str) -> dt.date:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError(text)
    return dt.date.fromisoformat(text)


def midnight(day: dt.date) -> dt.datetime:
    """Return the beginning of a day, UTC."""
    return dt.datetime.combine(day, dt.time(0), dt.UTC)


def windows_of(day: dt.date, windows: Windows) -> tuple[int, int]:
    """Return the first window that begins on a day and the first of the next, counted from 1970."""
    span = length_us(windows)
    first, end = (
        -(-int(midnight(each).timestamp()) * 1_000_000 // span) for each in (day, day + _DAY)
    )
    return first, end


def read_rows(stands: DeltaTable, name: str, columns: list[str], where: pc.Expression) -> pa.Table:
    """Return these columns of a table's rows; one that was added later is null where it lacks."""
    schema = pa.schema([TABLES[name].schema.field(column) for column in columns])
    dataset = stands.to_pyarrow_dataset()
    given = [column for column in columns if column in dataset.schema.names]
    rows = dataset.to_table(columns=given, filter=where)
    whole = [
        rows[field.name] if field.name in given else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(whole, names=columns).cast(schema).combine_chunks()


def on_day(day: dt.date) -> pc.Expression:
    """Select the rows of a day."""
    return pc.field(PARTITION) == pa.scalar(day)


def within(column: str, start: dt.datetime, end: dt.datetime) -> pc.Expression:
    """Select the rows of a span of time, in which each row's day is that of this column."""
    days = (pc.field(PARTITION) >= start.date()) & (pc.field(PARTITION) <= end.date())
    return days & (pc.field(column) >= start) & (pc.field(column) < end)
