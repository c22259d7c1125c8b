"""A query's result, written for a person (table) or for the next program (csv, json, parquet)."""

import io
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.show.escapes import escape_controls, escape_csv_cell, escape_in_json
from schemas.errors import AffectstreamError
from schemas.strict import replace_file

Format = Literal["table", "csv", "json", "parquet"]

_ROWS_SHOWN = 50
_RECORDS_SHOWN = 20
_ITEMS_SHOWN = 7  # the score vector of ekman7-v1 whole, embeddings and avatar weights cut
_TEXT_SHOWN = 240
_FILE_WIDTH = 10_000
_ID = re.compile(r"^([0-9a-f]{8})[0-9a-f]{24}$")


def write_result(table: pa.Table, form: Format, out: Path | None = None) -> None:
    """Write a result to standard output, or to a file that appears whole or not at all.

    ``table`` is for reading: at most 50 rows, lists and long texts cut, floats to three digits,
    times with their zone. Where the rows are wider than the terminal, ids are cut to eight digits,
    and where that does not help, each row is a block. The other forms hold everything: csv has
    lists as JSON text, json is one array with one object per line, and binary values are hex in
    both.

    Control and format characters in texts are written as escapes, in json as its own; a text in
    csv that a spreadsheet would take for a formula begins with an apostrophe. Parquet is as it is.
    """
    if out is None:
        if form == "parquet" and sys.stdout.isatty():
            message = "parquet is not for a terminal: give --out FILE, or send it into a pipe"
            raise AffectstreamError(message)
        with _exit_on_closed_pipe():
            if form == "table":
                console = open_console()
                console.print(*_layout(table, console.width), sep="\n")
            else:
                sys.stdout.flush()
                sys.stdout.buffer.write(_encode(table, form))
                sys.stdout.buffer.flush()
        return
    try:
        with replace_file(out, private=False) as file:
            if form == "table":
                with io.TextIOWrapper(file, encoding="utf-8") as lines:
                    console = Console(file=lines, width=_FILE_WIDTH)
                    console.print(*_layout(table, _FILE_WIDTH), sep="\n")
            else:
                file.write(_encode(table, form))
    except OSError as error:
        message = f"cannot write {out}: {error.strerror}; give a file in a folder that exists"
        raise AffectstreamError(message) from error


def open_console() -> Console:
    """Return standard output, so wide that nothing is wrapped where it is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_WIDTH)


@contextmanager
def _exit_on_closed_pipe() -> Iterator[None]:
    """Exit with status 1 and no traceback when the reader of a pipe has gone, as ``rich`` does."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _encode(table: pa.Table, form: Format) -> bytes:
    sink = io.BytesIO()
    if form == "parquet":
        pq.write_table(table, sink)
    elif form == "csv":
        pa_csv.write_csv(_flatten(_shortest_floats(table)), sink)
    else:
        _write_json(_shortest_floats(table), sink)
    return sink.getvalue()


def _shortest_floats(table: pa.Table) -> pa.Table:
    """Return float32 as the doubles that print alike: 0.9, not 0.8999999761581421."""
    as_text = [f.with_type(_swap(f.type, pa.string())) for f in table.schema]
    as_double = [f.with_type(_swap(f.type, pa.float64())) for f in table.schema]
    return table.cast(pa.schema(as_text)).cast(pa.schema(as_double))


def _swap(kind: pa.DataType, into: pa.DataType) -> pa.DataType:
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_swap(kind.value_type, into), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(_swap(kind.value_type, into))
    return into if pa.types.is_float32(kind) else kind


def _flatten(table: pa.Table) -> pa.Table:
    """Return the table for csv: nested and binary columns as text, and texts that do nothing."""
    names = [escape_csv_cell(name) for name in table.column_names]
    return pa.table([_csv_column(column) for column in table.columns], names=names)


def _csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return pa.array([_json_text(value) for value in column.to_pylist()], pa.string())
    if pa.types.is_string(column.type):
        texts = column.to_pylist()
        safe = [text if text is None else escape_csv_cell(text) for text in texts]
        return pa.array(safe, pa.string())
    return column


def _json_text(value: Any) -> str | None:
    if value is None:
        return None
    return value.hex() if isinstance(value, bytes) else json.dumps(_to_json(value))


def _write_json(table: pa.Table, sink: IO[bytes]) -> None:
    opening = "[\n"
    for batch in table.to_batches(max_chunksize=8192):
        for row in batch.to_pylist():
            line = json.dumps(_to_json(row), ensure_ascii=False)
            sink.write(f"{opening}{escape_in_json(line)}".encode())
            opening = ",\n"
    sink.write(b"[]\n" if opening == "[\n" else b"\n]\n")


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str | None) else str(value)


def _layout(table: pa.Table, width: int) -> list[Table | Text]:
    """Return the rows as a grid where it fits into this width, else as one block per row."""
    head = table.slice(0, _ROWS_SHOWN).to_pydict() if table.num_columns else {}
    columns = {name: [cell_text(value) for value in values] for name, values in head.items()}
    short = {name: list(map(shorten_id, cells)) for name, cells in columns.items()}
    grid = next((each for each in (columns, short) if _width(each) <= width), None)
    if grid is None and table.num_rows:
        shown = min(table.num_rows, _RECORDS_SHOWN)
        parts = _blocks(columns, shown)
    else:
        shown = min(table.num_rows, _ROWS_SHOWN)
        parts = [_grid(table, grid or columns, shown)]
    rows = "1 row" if table.num_rows == 1 else f"{table.num_rows:,} rows"
    cut = [f"the first {shown} shown"] if shown < table.num_rows else []
    cut += ["ids cut"] if grid is short and short != columns else []
    if cut:
        rows += f", {', '.join(cut)}; --format csv, json or parquet gives all of them"
    return [*parts, Text(rows, style="dim")]


def _width(columns: dict[str, list[str]]) -> int:
    """Return how wide a grid is: its widest cells, with three spaces between them."""
    widest = [max(map(cell_len, [name, *cells])) for name, cells in columns.items()]
    return sum(widest) + 3 * (len(widest) - 1)


def _grid(table: pa.Table, columns: dict[str, list[str]], shown: int) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        kind = table.schema.field(name).type
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        grid.add_column(
            Text(escape_controls(name)), justify="right" if number else "left", no_wrap=True
        )
    for row in range(shown):
        grid.add_row(*[Text(cells[row]) for cells in columns.values()])
    return grid


def _blocks(columns: dict[str, list[str]], shown: int) -> list[Table | Text]:
    parts: list[Table | Text] = []
    for row in range(shown):
        block = Table(box=None, show_header=False, pad_edge=False)
        block.add_column(style="cyan", no_wrap=True)
        block.add_column(overflow="fold")
        for name, cells in columns.items():
            block.add_row(Text(escape_controls(name)), Text(_shorten(cells[row])))
        parts += [Text(f"row {row + 1}", style="bold"), block, Text()]
    return parts


def _shorten(text: str) -> str:
    more = len(text) - _TEXT_SHOWN
    return f"{text[:_TEXT_SHOWN]}… {more} more characters" if more > 0 else text


def cell_text(value: Any) -> str:
    """Return a value as a person reads it: floats to three digits, times with their zone.

    No character in it but the line feed acts on a terminal.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1e6 else f"{value:.6g}"
    if isinstance(value, datetime):
        return _time_text(value)
    if isinstance(value, list | dict):
        return _nested_cell(value)
    text = value.hex() if isinstance(value, bytes) else str(value)
    return escape_controls(text, keep="\n")


def shorten_id(text: str) -> str:
    """Return an id of 32 hex digits as its first eight, any other text as it is."""
    return _ID.sub(r"\1…", text)


def _time_text(value: datetime) -> str:
    """Return a time to the second or microsecond, with Z for UTC; one without a zone has none."""
    precision = "microseconds" if value.microsecond else "seconds"
    return value.isoformat(" ", precision).replace("+00:00", "Z")


def _nested_cell(value: list[Any] | dict[str, Any]) -> str:
    if isinstance(value, dict):
        pairs = (f"{cell_text(key)}: {cell_text(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    items = [cell_text(item) for item in value[:_ITEMS_SHOWN]]
    more = [f"… {len(value) - _ITEMS_SHOWN} more"] if len(value) > _ITEMS_SHOWN else []
    return f"[{', '.join([*items, *more])}]"
