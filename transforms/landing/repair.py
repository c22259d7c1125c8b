"""Repair of tables that hold rows of a day which no reader can open: rewritten in place."""

import logging
import re

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from schemas.errors import AffectstreamError
from schemas.table import NO_DAY, PARTITION, Root
from schemas.tables import TABLES
from transforms.landing.layout import file_properties
from transforms.landing.retry import retry_commit

_LOG = logging.getLogger(__name__)
_SOUND = re.compile(r"(?!0000)\d{4}-\d\d-\d\d")
"""A day that Python has; for one before year 1 or after 9999 it refuses the whole table."""
_UNSOUND = (
    f"{PARTITION} IS NULL OR {PARTITION} < CAST('0001-01-01' AS DATE) "
    f"OR {PARTITION} > CAST('9999-12-31' AS DATE)"
)


def repair_tables(root: Root) -> None:
    """Move the rows of unusable days to NO_DAY, in one commit a table, and log what was found.

    Raises:
        AffectstreamError: a table cannot be written to, or other writers were faster each time.
    """
    for name in TABLES:
        place = f"{root}/{name}"
        try:
            if DeltaTable.is_deltatable(place):
                _repair(DeltaTable(place), name)
        except (DeltaError, OSError) as error:
            raise unwritable_error(root, name, error) from error


def unwritable_error(root: Root, name: str, cause: Exception | str) -> AffectstreamError:
    """Return what to raise where a table can't be opened or written to."""
    reason = " ".join(str(cause).split())[:300]
    return AffectstreamError(
        f"cannot write tables under {root}, at {name} ({reason}): make it a folder that you may "
        "write to, or give a new one"
    )


def _repair(table: DeltaTable, name: str) -> None:
    def move() -> None:
        if not (days := unsound_days(table)):
            return
        done = table.update(
            {PARTITION: f"CAST('{NO_DAY}' AS DATE)"},
            predicate=_UNSOUND,
            writer_properties=file_properties(TABLES[name]),
        )
        _LOG.error(
            "repaired table %s: %d of its rows had days that no calendar has (%s), taken from "
            "Kafka times that are none, and nothing could be written any more; now they have %s",
            name, done["num_updated_rows"], ", ".join(days), NO_DAY,
        )  # fmt: skip

    retry_commit(move, table.table_uri, "repairs", table.update_incremental)


def unsound_days(table: DeltaTable) -> list[str]:
    """Return the partitions of a table that are no days of the years 1 to 9999."""
    days = (str(partition[PARTITION]) for partition in table.partitions())
    return sorted(day for day in days if not _SOUND.fullmatch(day))
