"""The dictionary of the tables and views: what each column means, its unit, range and an example.

Meanings and units stand in ``schemas``; ranges are those of the expectations that ``affectstream
check`` holds against the tables.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text
from tabulate import tabulate

from pipelines.show.escapes import escape_controls
from pipelines.tables.analyst_views import VIEWS, tables_of
from pipelines.tables.query import query, standing
from pipelines.tables.results import cell_text, shorten_id
from schemas.errors import AffectstreamError
from schemas.suites import load_suite
from schemas.table import Root
from schemas.tables import TABLES

Format = Literal["table", "markdown", "json"]

_HEX = r"^[0-9a-f]{32}\Z"
_LISTED = 8
"""Values of a vocabulary that are listed; of longer ones, as the codes, the number is given."""
_SAMPLE_ROWS = 1000
_EXAMPLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Column:
    """One column; unit, range and example are empty where there is none."""

    column: str
    type: str
    meaning: str
    unit: str
    range: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A table or view with its columns, which are left out where all are listed."""

    name: str
    kind: Literal["table", "view"]
    description: str
    columns: tuple[Column, ...]


def describe(name: str | None, root: Root | None) -> list[Entry]:
    """Return the entry of a table or view, or all entries without columns where none is named.

    Examples come from the rows under ``root``, the first value that is not null, none where there
    is no row. Columns that tell more of a person than the pseudonym have none.

    Raises:
        AffectstreamError: there is no such table or view, or the one that stands cannot be read.
    """
    if name is None:
        return [_entry(each, {}, with_columns=False) for each in (*TABLES, *VIEWS)]
    if name not in TABLES and name not in VIEWS:
        known = f"tables: {', '.join(TABLES)}; views: {', '.join(VIEWS)}"
        message = f"there is no table or view {name}: give one of these ({known})"
        raise AffectstreamError(message)
    return [_entry(name, _examples(name, root))]


def dictionary() -> list[Entry]:
    """Return the entries of all tables and views, without examples."""
    return [_entry(name, {}) for name in (*TABLES, *VIEWS)]


def markdown(entry: Entry) -> str:
    """Return the columns of an entry as a Markdown table."""
    heads = ["column", "type", "what it holds", "unit", "range"]
    rows = [[f"`{c.column}`", c.type, c.meaning, c.unit, c.range] for c in entry.columns]
    if any(column.example for column in entry.columns):
        heads.append("example")
        rows = [[*row, c.example] for row, c in zip(rows, entry.columns, strict=True)]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return str(tabulate(escaped, heads, tablefmt="github", disable_numparse=True))


def write_dictionary(entries: list[Entry], form: Format, console: Console) -> None:
    """Write entries to standard output: for a person, as Markdown, or as one JSON array."""
    if form == "json":
        print(json.dumps([asdict(entry) for entry in entries], ensure_ascii=False, indent=1))
    elif form == "markdown":
        print("\n\n".join(_section(entry) for entry in entries))
    elif len(entries) == 1:
        console.print(*_pages(entries[0]), sep="\n")
    else:
        console.print(_overview(entries))


def _entry(name: str, examples: dict[str, str], *, with_columns: bool = True) -> Entry:
    is_table = name in TABLES
    described = TABLES[name] if is_table else VIEWS[name]
    ranges = _ranges(name)
    columns = tuple(
        Column(
            field.name,
            _type(field.type),
            _said(field, "doc"),
            _said(field, "unit") or _time_unit(field.type),
            _said(field, "range") or ranges.get(field.name, ""),
            examples.get(field.name, ""),
        )
        for field in described.schema
    )
    kind: Literal["table", "view"] = "table" if is_table else "view"
    return Entry(name, kind, described.description, columns if with_columns else ())


def _said(field: pa.Field, key: str) -> str:
    return str((field.metadata or {}).get(key.encode(), b"").decode())


def _type(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return f"{kind.list_size} × {kind.value_type}"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return "date" if pa.types.is_date(kind) else str(kind)


def _time_unit(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "UTC, µs"
    return "UTC day" if pa.types.is_date(kind) else ""


def _ranges(name: str) -> dict[str, str]:
    """Return the range of each column of a table, or of the tables that a view reads."""
    found: dict[str, str] = {}
    for table in reversed(tables_of(VIEWS[name]) if name in VIEWS else (name,)):
        for entry in load_suite(f"tables/{table}")["expectations"]:
            if text := _range(entry["type"], entry["kwargs"]):
                found[entry["kwargs"]["column"]] = text
    return found


def _range(kind: str, kwargs: dict[str, Any]) -> str:
    if kind == "expect_column_values_to_be_between":
        low, high = kwargs.get("min_value"), kwargs.get("max_value")
        low, high = (str(end).removesuffix("T00:00:00Z") for end in (low, high))
        return f"{low} or more" if high == "None" else f"{low} to {high}"
    if kind == "expect_column_value_lengths_to_be_between" and "max_value" in kwargs:
        return f"{kwargs['min_value']} to {kwargs['max_value']} characters"
    if kind == "expect_column_values_to_be_in_set":
        values = [str(value) for value in kwargs["value_set"]]
        return ", ".join(values) if len(values) <= _LISTED else f"one of {len(values)} codes"
    if kind == "expect_column_values_to_match_regex" and kwargs["regex"] == _HEX:
        return "32 hex digits"
    return ""


def _examples(name: str, root: Root | None) -> dict[str, str]:
    needed = (name,) if name in TABLES else tables_of(VIEWS[name])
    if root is None or not standing(root).keys() >= set(needed):
        return {}
    rows = query(root, f"SELECT * FROM {name} LIMIT {_SAMPLE_ROWS}")
    schema = TABLES[name].schema if name in TABLES else VIEWS[name].schema
    shown = [field.name for field in schema if _said(field, "example") != "never"]
    firsts = {column: _first(rows[column]) for column in shown if column in rows.column_names}
    return {column: text for column, text in firsts.items() if text is not None}


def _first(values: pa.ChunkedArray) -> str | None:
    known = values.drop_null()
    if not len(known):
        return None
    text = escape_controls(cell_text(known[0].as_py()))  # a line feed would end a Markdown row
    return text if len(text) <= _EXAMPLE_LENGTH else f"{text[:_EXAMPLE_LENGTH]}…"


def _section(entry: Entry) -> str:
    description = f"{entry.description[0].upper()}{entry.description[1:]}."
    parts = [f"## {entry.name}", description]
    return "\n\n".join([*parts, markdown(entry)] if entry.columns else parts)


def _overview(entries: list[Entry]) -> Grid:
    grid = Grid("name", "", "what it holds", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for entry in entries:
        grid.add_row(entry.name, entry.kind, entry.description)
    return grid


def _pages(entry: Entry) -> Iterator[Text | Grid]:
    yield Text.assemble((entry.name, "bold"), f" ({entry.kind}): {entry.description}")
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    grid.add_column("column", style="cyan", no_wrap=True)
    for head in ("type", "what it holds", "unit, range"):
        grid.add_column(head, overflow="fold")
    with_examples = any(column.example for column in entry.columns)
    if with_examples:
        grid.add_column("example", overflow="fold")
    for column in entry.columns:
        span = "; ".join(part for part in (column.unit, column.range) if part)
        cells = [column.column, column.type, column.meaning, span]
        cells += [shorten_id(column.example)] if with_examples else []
        grid.add_row(*map(Text, cells))
    yield grid
