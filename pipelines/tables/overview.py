"""What stands under a root: each table's versions, rows and size."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table as Grid
from rich.text import Text

from pipelines.show.escapes import escape_controls
from pipelines.tables.query import open_tables
from schemas.errors import AffectstreamError
from schemas.table import Root
from schemas.tables import TABLES
from transforms.landing.prepare import check_schema, schema_version


@dataclass(frozen=True, slots=True)
class Standing:
    """One table as it stands; ``problem`` says why this program cannot write to it.

    ``schema`` is None where the table names no version.
    """

    table: str
    version: int
    rows: int
    files: int
    bytes: int
    schema: int | None
    problem: str | None


def standing_tables(root: Root) -> list[Standing]:
    """Look at each table under ``root``; those that do not stand are left out.

    Raises:
        AffectstreamError: there is none, or one can't be read.
    """
    return [_look(name, table) for name, table in open_tables(root, unreadable=True).items()]


def _look(name: str, table: DeltaTable) -> Standing:
    files = pa.table(table.get_add_actions(flatten=True))
    rows, size = (pc.sum(files[column]).as_py() or 0 for column in ("num_records", "size_bytes"))
    schema, problem = None, None
    try:
        schema = schema_version(table)
        check_schema(TABLES[name], table)
    except AffectstreamError as error:
        problem = str(error)
    return Standing(name, table.version(), rows, files.num_rows, size, schema, problem)


def print_tables(found: list[Standing], console: Console) -> None:
    """Print one line for each table, and what is wrong with any of them."""
    grid = Grid("table", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("rows", "files", "size", "version", "schema"):
        grid.add_column(column, justify="right")
    for each in found:
        newest = TABLES[each.table].version
        schema = str(newest) if each.schema == newest else f"{each.schema or '?'} of {newest}"
        counts = (f"{each.rows:,}", f"{each.files:,}", decimal(each.bytes), str(each.version))
        grid.add_row(each.table, *counts, schema)
    console.print(grid)
    for each in found:
        if each.problem:
            console.print(Text(escape_controls(each.problem)), style="red", soft_wrap=True)
