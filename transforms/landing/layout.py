"""How files are written: without the smallest and largest value of a text in footer or log.

Statistics outlive rows: a deleted row's text would stand in the log's statistics, and in the footer
of an old file, for as long as either is kept.
"""

from collections.abc import Mapping
from typing import Final

from deltalake import ColumnProperties, WriterProperties

from schemas.table import Table

STATISTICS: Final = "delta.dataSkippingStatsColumns"
"""Property of a Delta table: the columns whose statistics its log may hold."""
_COMPRESSION: Final = "SNAPPY"


def log_statistics(table: Table) -> Mapping[str, str]:
    """Return the property by which any writer leaves texts out of the log's statistics."""
    return {STATISTICS: ",".join(table.statistics)}


def file_statistics(table: Table) -> dict[str, ColumnProperties]:
    """Return the properties of the columns that have no statistics in a file's footer."""
    hidden = set(table.texts) - set(table.statistics)
    return {name: ColumnProperties(statistics_enabled="NONE") for name in sorted(hidden)}


def file_properties(table: Table) -> WriterProperties:
    """Return how a commit writes its files."""
    return WriterProperties(compression=_COMPRESSION, column_properties=file_statistics(table))
