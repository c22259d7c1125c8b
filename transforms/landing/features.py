"""What other engines can turn on in a Delta table, and which of it keeps us from using the table.

Tried with Delta Lake 4.4 on Spark against deltalake 1.6. Of a table with column mapping some of
our readers give nulls and say nothing; with deletion vectors or a v2 checkpoint only some read it,
with widened types none. Clustering, row tracking, identity columns and in-commit timestamps can be
read, but nothing can be committed.
"""

from collections.abc import Iterator

from deltalake import DeltaTable

from schemas.errors import AffectstreamError

_READABLE = {"timestampNtz"}
_WRITABLE = {"appendOnly", "invariants", "changeDataFeed", "timestampNtz"}
"""Features that rows can be read, or committed, with."""
_MAPPING = "delta.columnMapping.mode"
_OPTIONS = (_MAPPING, "delta.enableDeletionVectors")
"""Properties that turn on what rows cannot be committed with."""
_CONSTRAINT = "delta.constraints."


def check_readable(stands: DeltaTable) -> None:
    """Refuse a table that cannot be read, or not by every reader.

    Raises:
        AffectstreamError: it names the features, and how to be rid of them.
    """
    unknown = set(stands.protocol().reader_features or ()) - _READABLE
    if stands.metadata().configuration.get(_MAPPING, "none") != "none":
        unknown.add("columnMapping")
    if unknown:
        place = str(stands.table_uri).removeprefix("file://").rstrip("/")
        names = ", ".join(sorted(unknown))
        message = (
            f"{place} uses {names}, with which it cannot be read here: drop this in the engine "
            "that turned it on (ALTER TABLE … DROP FEATURE), or replay your logs into a new folder"
        )
        raise AffectstreamError(message)


def unwritable_features(stands: DeltaTable) -> Iterator[str]:
    """Say what other engines turned on in a table that rows then cannot be committed to."""
    if unknown := sorted(set(stands.protocol().writer_features or ()) - _WRITABLE):
        yield f"it uses {', '.join(unknown)}"
    for name, value in stands.metadata().configuration.items():
        if name.startswith(_CONSTRAINT):
            yield f"it has the constraint {name.removeprefix(_CONSTRAINT)}"
        elif name in _OPTIONS and value not in ("none", "false"):
            yield f"it has {name}={value}"
