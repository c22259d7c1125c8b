"""The online store: the latest features and decision of each subject, for a lookup at once.

A row replaces another of its subject and purpose only where ``(window_end, revision)`` has grown,
so that neither a late window nor a repetition goes back. How long a row is served is looked at
when it is read.
"""

from collections.abc import Callable, Iterable, Iterator, Set
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.serve.follow import Changes, Position
from schemas.errors import AffectstreamError
from schemas.table import PARTITION
from schemas.tables import TABLES

SERVED = ("emotion_features", "expression_decisions")
"""Tables whose latest row of each subject is held."""
COLUMNS = {
    table: tuple(name for name in TABLES[table].schema.names if name != PARTITION)
    for table in SERVED
}
_DIGITS = 4


class StoreAwayError(AffectstreamError):
    """The online store does not answer, which may pass."""


class Entry(NamedTuple):
    """One row as it is stored: times in microseconds since 1970, the row as JSON."""

    subject_ref: str
    table: str
    purpose: str
    window_end: int
    revision: int
    expires: int
    row: bytes


class OnlineStore(Protocol):
    """Where the latest rows are held."""

    def positions(self) -> dict[str, Position]:
        """Return how far each table was taken in."""

    def write(self, changes: Changes) -> None:
        """Take in what is new and forget whom it says, with its position, all or nothing."""

    def take(self, rows: Iterable[Entry]) -> None:
        """Take in rows that have grown and are no changes of a follower's: no position moves."""

    def find(self, table: str, subject_ref: str) -> list[Entry]:
        """Return what is held of a subject, at most one row for each purpose."""

    def erase(self, subjects: Iterable[str]) -> None:
        """Forget all that is held of these subjects."""

    def purge(self, before: int) -> int:
        """Forget what expired before this time, in microseconds; return how many rows that was."""

    def close(self) -> None:
        """Let go of the store."""


def latest(
    store: OnlineStore,
    table: str,
    subject_ref: str,
    purpose: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Any] | None:
    """Return a subject's newest row that has not expired, None where there is none.

    With a purpose, only a row of that purpose; otherwise that of any, the newest of them.

    Raises:
        StoreAwayError: the store does not answer.
    """
    purposes = None if purpose is None else {purpose}
    entry = newest(store, table, subject_ref, purposes, now)
    if entry is None:
        return None
    row: dict[str, Any] = msgspec.json.decode(entry.row)
    return row


def newest(
    store: OnlineStore,
    table: str,
    subject_ref: str,
    purposes: Set[str] | None,
    now: Callable[[], datetime],
) -> Entry | None:
    """Return a subject's newest row of these purposes, or of any, that has not expired.

    Raises:
        StoreAwayError: the store does not answer.
    """
    at = microseconds(now())
    found = [
        entry
        for entry in store.find(table, subject_ref)
        if entry.expires > at and (purposes is None or entry.purpose in purposes)
    ]
    return max(found, key=lambda entry: (entry.window_end, entry.revision), default=None)


def microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return round(time.timestamp() * 1_000_000)


def entries(changes: Changes, ttl_s: float) -> Iterator[Entry]:
    """Yield the rows as they are stored, numbers to four digits."""
    rows = changes.rows
    if not rows.num_rows:
        return
    ends = rows["window_end"].cast(pa.int64()).to_pylist()
    if "expires_at" in rows.column_names:
        expires = rows["expires_at"].cast(pa.int64()).to_pylist()
    else:
        expires = [end + round(ttl_s * 1_000_000) for end in ends]
    revised = "revision" in rows.column_names
    revisions = rows["revision"].to_pylist() if revised else [0] * rows.num_rows
    purposes = pc.fill_null(rows["purpose"], "").to_pylist()
    subjects = rows["subject_ref"].to_pylist()
    names = rows.column_names
    values = zip(*(_values(rows[name]) for name in names), strict=True)
    encode = msgspec.json.Encoder().encode
    for place, row in enumerate(values):
        yield Entry(
            subjects[place],
            changes.table,
            purposes[place],
            ends[place],
            revisions[place],
            expires[place],
            encode(dict(zip(names, row, strict=True))),
        )


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values as JSON takes them; of a number the digits that mean something."""
    kind = column.type
    if pa.types.is_floating(kind):
        return pc.round(column.cast(pa.float64()), _DIGITS).to_pylist()
    if pa.types.is_fixed_size_list(kind) and not column.null_count:
        flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        wide = np.round(flat.astype(np.float64), _DIGITS).reshape(-1, kind.list_size)
        found: list[Any] = wide.tolist()
        return found
    return column.to_pylist()
