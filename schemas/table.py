"""What a Delta table is to this project: its row, its columns, and where tables stand."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa

Root = str | Path
"""Where the tables stand: a folder, or the URI of one in an object store (``s3://bucket/…``)."""

PARTITION: Final = "event_date"

NO_DAY: Final = dt.date(1970, 1, 1)
"""The partition of a row of which no time is known."""

FIRST_VERSION: Final = 1
"""Version of every schema as affectstream 0.1.0 wrote it."""


def column(
    name: str, kind: pa.DataType, doc: str, since: int = FIRST_VERSION, **more: str
) -> pa.Field:
    """Make a column; one that is added to a table names the schema version that it came with.

    ``more`` may name its ``unit``, its ``range`` where no expectation does, and ``example="never"``
    where the dictionary must not show a value.
    """
    return pa.field(name, kind, metadata={"doc": doc, "since": str(since), **more})


def since(field: pa.Field) -> int:
    """Return the version of the schema that a column came with."""
    return int(field.metadata[b"since"])


Owner = Literal["expression", "privacy", "operations"]
"""Who answers for a table: the recommendation and avatar teams' data, the privacy officer's, or
that of whoever runs the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Everything the project knows of one table; whatever treats tables follows these rows.

    ``schema`` begins with the row id. ``time`` is a column that is never null and that the rows of
    a live job hardly ever go back in; ``pruned_by`` the column that lookups of row ids are limited
    by, which is ``time`` unless the table has none. Rows of an ``awaited`` table are committed as
    they come, since somebody waits for them; those of others are collected for some seconds.
    ``subject`` is the column that says whose the rows are, None where they are nobody's.
    ``retention_days`` is how long rows are kept, None where they are the proof of something:
    ``affectstream maintain`` deletes those of earlier days. ``retention_reason`` says why so long.
    """

    name: str
    description: str
    schema: pa.Schema
    owner: Owner
    retention_days: int | None
    retention_reason: str
    time: str | None = None
    pruned_by: str = ""
    awaited: bool = False
    subject: str | None = None

    def __post_init__(self) -> None:
        """Refuse a row that names a column which its schema does not have."""
        named = {self.lookup_column} | ({self.subject} if self.subject else set())
        if unknown := sorted(named - set(self.schema.names)):
            message = f"table {self.name} names {unknown[0]!r}, which its schema does not have"
            raise ValueError(message)

    @property
    def row_id(self) -> str:
        """The column that identifies a row."""
        return str(self.schema.names[0])

    @property
    def version(self) -> int:
        """Version of the schema: that of its newest column."""
        return max(map(since, self.schema))

    @property
    def lookup_column(self) -> str:
        """The column that is never null and by which file statistics prune a lookup."""
        return self.time or self.pruned_by

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns that hold strings: ids, codes and names."""
        return tuple(field.name for field in self.schema if pa.types.is_string(field.type))

    @property
    def statistics(self) -> tuple[str, ...]:
        """The columns whose least and largest value files and log may tell.

        They are numbers and times, and of texts those that lookups need: the subject, and the one
        that lookups of rows are limited by. Spark refuses tables that name a boolean.
        """
        sought = {self.subject, self.lookup_column}
        return tuple(
            field.name
            for field in self.schema
            if field.name in sought
            or not (
                pa.types.is_string(field.type)
                or pa.types.is_boolean(field.type)
                or pa.types.is_nested(field.type)
                or field.name == PARTITION
            )
        )

    @property
    def revised(self) -> bool:
        """Whether a later row may replace one with the same id."""
        return "revision" in self.schema.names

    @property
    def of_events(self) -> bool:
        """Whether each row is one event, whose checksum tells a repetition from a reused id."""
        return "content" in self.schema.names
