"""The change feed of a table: what was added, replaced and deleted from one version to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.tables.arrow_types import plain_types
from schemas.errors import AffectstreamError
from transforms.landing.prepare import CHANGES_SINCE

CHANGE = "_change_type"
"""Column of a change: ``insert``, ``delete``, ``update_preimage`` or ``update_postimage``."""
VERSION = "_commit_version"
"""Column of a change: the version of the table that it came with."""

REASON = "affectstream.reason"
"""Metadata of a commit: why it deleted or wrote rows. The erasure of a person needs none.

Spark has one text for all metadata of a commit, in which this stands as ``spark_reason`` writes it.
"""
RETENTION = "retention"
BACKFILL = "backfill"
ERASURE = "erasure"
"""What a commit may say that repeats an erasure; to a follower it is as good as no reason."""

_SPARK_METADATA = "userMetadata"

_GONE = ("not found", "Invalid table version")
"""What the engine says where a file or a log entry is missing."""


class ChangesGoneError(AffectstreamError):
    """Changes that can no longer be read: their files or log entries were vacuumed."""


@dataclass(frozen=True, slots=True)
class VersionRange:
    """The versions of a table whose changes can be asked for, both included."""

    first: int
    last: int


def readable_versions(table: DeltaTable) -> VersionRange:
    """Return from which version to which a table's change feed is right.

    Raises:
        AffectstreamError: the change feed is off. Reading it would raise nothing and be wrong.
    """
    since = table.metadata().configuration.get(CHANGES_SINCE, "")
    if not since.isdecimal():
        place = str(table.table_uri).removeprefix("file://").rstrip("/")
        message = (
            f"{place} has no change feed: a replay or live run of this program turns it on, for "
            "what is written from then on"
        )
        raise AffectstreamError(message)
    return VersionRange(int(since), table.version())


def name_of(table: DeltaTable) -> str:
    """Return the name of a table: that of its folder."""
    return str(table.table_uri).rstrip("/").rpartition("/")[2]


def read_changes(
    table: DeltaTable, first: int, last: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the changes of these versions, both included, ordered by version.

    Beside the table's columns (all, unless some are named) stand ``_change_type`` and
    ``_commit_version``. Versions that changed no row, as a compaction, have none.

    Raises:
        ChangesGoneError: some were vacuumed.
        AffectstreamError: the versions are not those of this table, or its feed was off then.
    """
    known = readable_versions(table)
    name = name_of(table)
    if not known.first <= first <= last <= known.last:
        message = (
            f"{name} has changes of the versions {known.first} to {known.last}, not of {first} to "
            f"{last}: ask for versions between these"
        )
        raise AffectstreamError(message)
    wanted = None if columns is None else [*columns, CHANGE, VERSION]
    try:
        found = table.load_cdf(starting_version=first, ending_version=last, columns=wanted)
        changes = plain_types(pa.table(found))
    except (DeltaError, pa.ArrowException, OSError) as error:
        if not any(sign in str(error) for sign in _GONE):
            message = f"the changes of {name} cannot be read: {' '.join(str(error).split())}"
            raise AffectstreamError(message) from error
        message = f"the changes of {name} from version {first} on were vacuumed: they are gone"
        raise ChangesGoneError(message) from error
    return changes.sort_by(VERSION)


def reasons(table: DeltaTable, versions: Sequence[int]) -> dict[int, str]:
    """Return why these versions were committed, as far as their commits say."""
    if not versions:
        return {}
    entries = table.history(table.version() - min(versions) + 1)
    found = {int(entry["version"]): _reason(entry) for entry in entries if "version" in entry}
    return {version: reason for version in versions if (reason := found.get(version))}


def spark_reason(reason: str) -> str:
    """Return what a commit by Spark has as its metadata where this is its reason."""
    return f"{REASON}={reason}"


def _reason(entry: dict[str, Any]) -> str | None:
    said = str(entry.get(_SPARK_METADATA, ""))
    by_spark = said.removeprefix(spark_reason("")) if said.startswith(spark_reason("")) else None
    return entry.get(REASON, by_spark)
