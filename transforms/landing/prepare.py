"""Preparation of tables before a run: created, given the columns that are new, or refused."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError
from deltalake.schema import Field, PrimitiveType

from schemas.errors import AffectstreamError
from schemas.strict import make_private_folder
from schemas.table import FIRST_VERSION, PARTITION, Root, Table, since
from schemas.tables import TABLES
from transforms.landing.features import unwritable_features
from transforms.landing.layout import log_statistics
from transforms.landing.repair import repair_tables, unwritable_error
from transforms.landing.retry import retry_commit

SCHEMA_VERSION = "affectstream.schema"
"""Property of a Delta table that says by which version of its schema it was written last."""
CHANGES_SINCE = "affectstream.changes_since"
"""Property of a Delta table that says from which version on its change feed can be trusted."""
_CHANGE_FEED = {"delta.enableChangeDataFeed": "true"}


def prepare_tables(root: Root) -> None:
    """Create the tables that are missing under ``root``, and bring the others up to date.

    A folder that is created for them is its owner's alone; who may enter one that stands is not
    changed.
    A column that was added since a table was written is added to it, null in the rows that stand,
    its change feed is turned on, and texts are left out of the statistics of its log.
    Rows of a day that no reader can open are repaired, see ``landing.repair``.

    Raises:
        AffectstreamError: a table cannot be written to, is newer than this program, or differs in
            more than new columns. Nothing has been written then.
    """
    if "://" not in str(root) and not Path(root).exists():
        with suppress(OSError):  # which creating the first table explains
            make_private_folder(Path(root))
    found = [(table, _open(root, table)) for table in TABLES.values()]
    for table, stands in found:
        if stands is not None:
            check_schema(table, stands)
    for table, stands in found:
        _write(root, table, stands)
    repair_tables(root)


def prepare_table(root: Root, table: Table) -> None:
    """Create one table under ``root``, or bring it up to date, as ``prepare_tables`` does all.

    Raises:
        AffectstreamError: it cannot be written to, or is no such table of this program.
    """
    stands = _open(root, table)
    if stands is not None:
        check_schema(table, stands)
    _write(root, table, stands)


def schema_version(stands: DeltaTable) -> int:
    """Return the version of the schema that a table was written by last.

    Raises:
        AffectstreamError: the table names something that is no version.
    """
    named = stands.metadata().configuration.get(SCHEMA_VERSION, str(FIRST_VERSION))
    if re.fullmatch(r"[1-9][0-9]{0,5}", named, re.ASCII):
        return int(named)
    message = (
        f"{_place(stands)} names {named!r} as its property {SCHEMA_VERSION}, which is no version: "
        "set it to the version of the program that wrote the table, or give a new folder"
    )
    raise AffectstreamError(message)


def check_schema(table: Table, stands: DeltaTable) -> None:
    """Raise where a table that stands is newer than its row here, or differs from it.

    Columns that it lacks because they were added later are no difference.
    """
    version = schema_version(stands)
    if version > table.version:
        message = (
            f"{_place(stands)} was written by a later affectstream (schema {version} of "
            f"{table.name}, this program knows {table.version}): update this program"
        )
        raise AffectstreamError(message)
    differences = list(_differences(table, stands, version))
    if differences:
        message = (
            f"{_place(stands)} is no {table.name} table of this program "
            f"({'; '.join(differences)}): give a new folder, and replay your logs into it"
        )
        raise AffectstreamError(message)


def _differences(table: Table, stands: DeltaTable, version: int) -> Iterator[str]:
    wanted = {field.name: field for field in Schema.from_arrow(table.schema).fields}
    given = {field.name: field for field in stands.schema().fields}
    if unknown := sorted(given.keys() - wanted.keys()):
        yield f"it has {', '.join(unknown)}, which nobody writes"
    owed = {field.name for field in table.schema if since(field) <= version}
    if lacking := sorted(owed - given.keys()):
        yield f"it has no {', '.join(lacking)}"
    for name in sorted(given.keys() & wanted.keys()):
        if given[name].type != wanted[name].type:
            yield f"its {name} is {_name(given[name])} and not {_name(wanted[name])}"
        elif not given[name].nullable:
            yield f"its {name} may not be null"
    if stands.metadata().partition_columns != [PARTITION]:
        yield f"it is not partitioned by {PARTITION}"
    yield from unwritable_features(stands)


def _place(stands: DeltaTable) -> str:
    return str(stands.table_uri).removeprefix("file://").rstrip("/")


def _name(field: Field) -> str:
    kind = field.type
    return str(kind.type) if isinstance(kind, PrimitiveType) else str(kind.to_json())


def _open(root: Root, table: Table) -> DeltaTable | None:
    place = f"{root}/{table.name}"
    try:
        return DeltaTable(place) if DeltaTable.is_deltatable(place) else None
    except (DeltaError, OSError) as error:
        raise unwritable_error(root, table.name, error) from error


def _write(root: Root, table: Table, stands: DeltaTable | None) -> None:
    """Create the table, or add its new columns where it stands, and try to write to it."""
    place = f"{root}/{table.name}"
    try:
        stands = stands or _create(place, table)
        if "://" not in place:  # one that stands can be opened by whoever may only read
            for folder in (place, f"{place}/_delta_log"):
                tempfile.TemporaryFile(dir=folder).close()
        _evolve(table, stands)
    except (DeltaError, OSError) as error:
        raise unwritable_error(root, table.name, error) from error


def _create(place: str, table: Table) -> DeltaTable:
    """Create the table unless it stands; another program may do the same at once."""

    def create() -> DeltaTable:
        return DeltaTable.create(
            place,
            schema=table.schema,
            partition_by=[PARTITION],
            mode="ignore",
            configuration={**_CHANGE_FEED, **log_statistics(table)},
        )

    return retry_commit(create, place, "attempts to create it")


def _evolve(table: Table, stands: DeltaTable) -> None:
    """Add the columns that the table lacks and its change feed, and note the schema's version.

    Another program may be faster.
    """

    def change() -> None:
        given = {field.name for field in stands.schema().fields}
        new = [field for field in Schema.from_arrow(table.schema).fields if field.name not in given]
        if new:
            stands.alter.add_columns(new)
            stands.update_incremental()
        if schema_version(stands) != table.version:
            version = {SCHEMA_VERSION: str(table.version)}
            _set(stands, version)
        properties = stands.metadata().configuration
        if (hidden := log_statistics(table)).items() - properties.items():
            _set(stands, dict(hidden))
        if _CHANGE_FEED.items() - properties.items():
            _set(stands, _CHANGE_FEED)
            properties = {}
        # Noted once the feed is on: that of a merge before reads as news what it only copied.
        if CHANGES_SINCE not in properties:
            _set(stands, {CHANGES_SINCE: str(stands.version() + 1)})

    retry_commit(change, _place(stands), "changes of its schema", stands.update_incremental)


def _set(stands: DeltaTable, properties: dict[str, str]) -> None:
    stands.alter.set_table_properties(properties, raise_if_not_exists=False)
    stands.update_incremental()
