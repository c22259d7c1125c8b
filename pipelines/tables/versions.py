"""What a query can ask of a table's past: how it stood at a version or time, what changed since."""

import json
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileType

from pipelines.tables.changes import (
    VERSION,
    ChangesGoneError,
    name_of,
    read_changes,
    readable_versions,
    reasons,
)
from schemas.errors import AffectstreamError
from schemas.events import TIME
from schemas.tables import TABLES

Moment = int | datetime
"""A version of a table, or a time with its zone."""

_COMMITTED = "_commit_timestamp"


def open_at(newest: DeltaTable, moment: Moment) -> DeltaTable:
    """Open a table as it stood at a version, or as the last commit before a time left it.

    All files of that version are looked for first: a count can be right where the rows are gone.

    Raises:
        AffectstreamError: the version or time is none of this table's, or its files or its log
            entry were removed. The message names the range that can be read.
    """
    version = moment if isinstance(moment, int) else _version_at(newest, moment)
    table = _open_readable(newest, version)
    if table is None:
        known = _readable(newest)
        shown = f"version {version}" if isinstance(moment, int) else _text(moment)
        message = f"{name_of(newest)} cannot be read as of {shown}: {known}"
        raise AffectstreamError(message)
    return table


def changes_since(table: DeltaTable, version: int) -> pa.Table:
    """Return the changes of all versions after this one, no row where it is the newest.

    Beside the table's columns stand ``_change_type``, ``_commit_version``, ``_commit_timestamp``
    (UTC) and ``_commit_reason``: why an upkeep of the tables made the change, null for news.

    Raises:
        AffectstreamError: the change feed doesn't reach back so far; the message says how far.
    """
    known = readable_versions(table)
    if not known.first - 1 <= version <= known.last:
        message = (
            f"{name_of(table)} has no changes since version {version}: its feed begins with the "
            f"version {known.first}, so ask for changes since a version from {known.first - 1} to "
            f"{known.last}"
        )
        raise AffectstreamError(message)
    try:
        changes = read_changes(table, min(version + 1, known.last), known.last)
    except ChangesGoneError as error:
        oldest = _first_with_changes(table, version + 1, known.last)
        message = (
            f"the changes of {name_of(table)} since version {version} were vacuumed: ask for those "
            f"since a version from {oldest - 1} to {known.last}"
        )
        raise ChangesGoneError(message) from error
    return _dated(changes if version < known.last else changes.slice(0, 0), table)


def _first_with_changes(table: DeltaTable, first: int, last: int) -> int:
    """Return the first version from which on all changes can be read, ``last + 1`` for none."""
    row_id = [TABLES[name_of(table)].row_id]

    def readable(version: int) -> bool:
        try:
            read_changes(table, version, last, row_id)
        except ChangesGoneError:
            return False
        return True

    return first + bisect_left(range(first, last + 1), True, key=readable)


def _dated(changes: pa.Table, table: DeltaTable) -> pa.Table:
    """Type the commits' columns as tables have them, and add the reasons of the commits."""
    versions = changes[VERSION].cast(pa.int64())
    at = changes[_COMMITTED].cast(pa.timestamp("ms", "UTC")).cast(TIME)
    why = reasons(table, sorted(set(versions.to_pylist())))
    reason = pa.array([why.get(version) for version in versions.to_pylist()], pa.string())
    plain = changes.drop_columns([VERSION, _COMMITTED])
    plain = plain.append_column(VERSION, versions).append_column(_COMMITTED, at)
    return plain.append_column("_commit_reason", reason)


@dataclass(frozen=True, slots=True)
class _Readable:
    """The versions that can be read, and the time of the first of them."""

    first: int
    last: int
    since: datetime | None

    def __str__(self) -> str:
        versions = f"{self.first} to {self.last}"
        since = f", the first of {_text(self.since)}" if self.since else ""
        why = " after those that were vacuumed" if self.first else ""
        return f"it has the versions {versions}{since}{why}; ask for one of these or a time since"


def _text(moment: datetime) -> str:
    try:
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    except OverflowError:  # in UTC it lies before year 1 or after 9999
        return moment.isoformat()


def _readable(newest: DeltaTable) -> _Readable:
    """Find the oldest version whose files are all there, and so are those of later ones."""
    last = newest.version()
    first = _first(last, lambda version: _open_readable(newest, version) is not None)
    return _Readable(first, last, _commit_time(_files(newest), first))


def _version_at(newest: DeltaTable, moment: datetime) -> int:
    """Return the version that the last commit at or before a time made, -1 where there is none."""
    if moment.tzinfo is None:
        message = f"the time {moment.isoformat()} has no zone: give one, as in 2026-11-30T10:00Z"
        raise AffectstreamError(message)
    if moment > datetime.now(UTC):
        message = f"{_text(moment)} lies in the future: give a time that has passed"
        raise AffectstreamError(message)
    files = _files(newest)

    def later(version: int) -> bool:
        at = _commit_time(files, version)
        return at is not None and at > moment

    return _first(newest.version() + 1, later) - 1


def _first(last: int, true_from: Callable[[int], bool]) -> int:
    """Return the smallest of 0 to ``last`` from which on a condition holds; it does for ``last``.

    Two to the power of the calls is the number of versions: logs of a live job have many.
    """
    return bisect_left(range(last), True, key=true_from)


def _open_readable(newest: DeltaTable, version: int) -> DeltaTable | None:
    """Open a version; None where it is none, or its log entry or one of its files is gone."""
    if not 0 <= version <= newest.version():
        return None
    try:
        table = DeltaTable(newest.table_uri, version=version)
    except (DeltaError, OSError):
        return None
    paths = pa.table(table.get_add_actions())["path"].to_pylist()
    found = _files(newest).get_file_info(paths) if paths else []
    return None if any(info.type is FileType.NotFound for info in found) else table


def _files(table: DeltaTable) -> DeltaStorageHandler:
    return DeltaStorageHandler(table.table_uri)


def _commit_time(files: DeltaStorageHandler, version: int) -> datetime | None:
    """Read when a version was committed from its log entry, None where that was removed.

    The engine's own time travel goes by the times of files, which change when a table is copied,
    and its ``history`` always begins at the newest version.
    """
    try:
        with files.open_input_file(f"_delta_log/{version:020d}.json") as file:
            entries = [json.loads(line) for line in file.read().splitlines()]
    except (DeltaError, OSError):
        return None
    stamps = [each["commitInfo"]["timestamp"] for each in entries if "commitInfo" in each]
    return datetime.fromtimestamp(stamps[0] / 1000, UTC) if stamps else None
