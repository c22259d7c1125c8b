"""What a backfill found, day by day."""

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid

from pipelines.show.escapes import safe_text

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class DayResult:
    """The rows of a table and day as rebuilt: how many, how many differ, and DIFFERENCE rows."""

    rows: int
    differ: int
    examples: pa.Table


Results = dict[tuple[str, dt.date], DayResult]
"""By table and day."""


def print_results(results: Results, console: Console, *, wrote: bool) -> None:
    """Print one line for each table and day, and the first rows that differ."""
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("day", "table"):
        grid.add_column(column, no_wrap=True)
    for column in ("rows rebuilt", "differ"):
        grid.add_column(column, justify="right")
    for (name, day), result in sorted(results.items(), key=lambda item: (item[0][1], item[0][0])):
        grid.add_row(str(day), name, f"{result.rows:,}", f"{result.differ:,}")
    console.print(grid)
    shown = 0
    for (name, _), result in results.items():
        for row in result.examples.to_pylist()[: _SHOWN - shown]:
            console.print(safe_text(f"{name} {row['row_id']}: {row['what']}"), soft_wrap=True)
            shown += 1
    total = sum(result.differ for result in results.values())
    if total > shown:
        console.print(f"… and {total - shown:,} more")
    if total and wrote:
        console.print("the days with differences were replaced by what was rebuilt")
