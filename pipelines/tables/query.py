"""Read-only access to the tables: SQL in, Arrow or pandas out.

The engine is DataFusion inside ``deltalake``: it downloads nothing and reads deletion vectors.
"""

import re
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError

from pipelines.tables.arrow_types import plain_types
from schemas.errors import AffectstreamError
from schemas.tables import TABLES, Root
from transforms.landing.features import check_readable

if TYPE_CHECKING:  # it takes half a second, and only some callers want frames
    import pandas as pd

_COMMENT = r"--[^\r\n]*\r?\n|/\*(?:(?!/\*|\*/).)*\*/"
_READS = re.compile(
    rf"(?:\s|\(|{_COMMENT})*(?:explain\s+(?:analyze\s+)?(?:verbose\s+)?)?\(*\s*"
    r"(?:select|with|values|describe|show)\b",
    re.IGNORECASE | re.DOTALL,
)
"""What a statement may begin with. The engine refuses a second statement and DML, but it would run
COPY, which writes files, and CREATE EXTERNAL TABLE, which reads any. A comment that holds another
``/*`` is not skipped: engines differ on where it ends, and a COPY could hide behind it."""

_HINT_LENGTH = 600


def tables(root: Root) -> dict[str, int]:
    """Return the number of rows of each table that stands under this root."""
    engine, names = _engine(root)
    counts = " UNION ALL ".join(f"SELECT '{n}' AS name, count(*) AS n FROM {n}" for n in names)
    rows = pa.table(engine.execute(counts)).to_pylist()
    found = {str(row["name"]): int(row["n"]) for row in rows}
    return {name: found[name] for name in names}


def query(root: Root, sql: str) -> pa.Table:
    """Run one reading SQL statement over the tables under this root.

    Raises ``AffectstreamError`` where the root holds no table, where the statement is not one that
    only reads, and where the engine cannot run it; the message carries the engine's own hint.
    """
    if not _READS.match(sql):
        message = (
            "affectstream only reads: a query begins with SELECT, WITH, VALUES, EXPLAIN, DESCRIBE "
            "or SHOW"
        )
        raise AffectstreamError(message)
    engine, names = _engine(root)
    try:
        result = pa.table(engine.execute(sql))
    except (DeltaError, pa.ArrowException, OSError) as error:
        hint = _sentence(str(error))
        message = f"the query does not run: {hint} (tables here: {', '.join(names)})"
        raise AffectstreamError(message) from error
    if not result.num_columns:
        message = "the query returns no column: name what to select (SELECT … INTO is not read)"
        raise AffectstreamError(message)
    return plain_types(result)


def query_pandas(root: Root, sql: str) -> "pd.DataFrame":
    """Run one reading SQL statement over the tables under this root and return a pandas frame."""
    return query(root, sql).to_pandas()


def read_table(root: Root, name: str, *columns: str) -> pa.Table:
    """Return these columns of a table, no row where the table does not stand yet.

    A column that was added since the table was written is null.
    """
    schema = TABLES[name].schema
    if not DeltaTable.is_deltatable(f"{root}/{name}"):
        return pa.schema([schema.field(column) for column in columns]).empty_table()
    known = {field.name for field in DeltaTable(f"{root}/{name}").schema().fields}
    chosen = (column if column in known else f"NULL AS {column}" for column in columns)
    found = query(root, f"SELECT {', '.join(chosen)} FROM {name}")
    return pa.table(
        [
            found[column] if column in known else found[column].cast(schema.field(column).type)
            for column in columns
        ],
        names=list(columns),
    )


def open_tables(root: Root, *, unreadable: bool = False) -> dict[str, DeltaTable]:
    """Open the tables that stand under this root, by name, ``unreadable`` ones if those are wanted.

    Raises AffectstreamError where there is none or one cannot be read.
    """
    try:
        names = [name for name in TABLES if DeltaTable.is_deltatable(f"{root}/{name}")]
    except (DeltaError, OSError) as error:
        message = f"no tables can be looked for under {root}: {_sentence(str(error))}"
        raise AffectstreamError(message) from error
    if not names:
        message = (
            f"no table under {root}: run a replay into it, or give the folder that holds "
            "observations/ and its siblings"
        )
        raise AffectstreamError(message)
    opened = {name: _open_table(f"{root}/{name}") for name in names}
    for table in () if unreadable else opened.values():
        check_readable(table)
    return opened


def _open_table(uri: str) -> DeltaTable:
    try:
        return DeltaTable(uri)
    except (DeltaError, OSError) as error:
        message = f"table {uri} cannot be read: {_sentence(str(error))}"
        raise AffectstreamError(message) from error


def _engine(root: Root) -> tuple[QueryBuilder, list[str]]:
    engine = QueryBuilder({"datafusion.catalog.information_schema": "true"})
    opened = open_tables(root)
    for name, table in opened.items():
        try:
            engine.register(name, table)
        except (DeltaError, OSError) as error:
            message = f"table {root}/{name} cannot be read: {_sentence(str(error))}"
            raise AffectstreamError(message) from error
    return engine, list(opened)


def _sentence(hint: str) -> str:
    """Join the engine's lines into one without its full stop, cut where a field list runs long."""
    joined = " ".join(hint.split()).rstrip(".")
    return joined if len(joined) <= _HINT_LENGTH else f"{joined[:_HINT_LENGTH]} …"
