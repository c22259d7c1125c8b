"""The retention schedule: how long each table's rows are kept, and why."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid

from schemas.tables import TABLES


def print_schedule(console: Console) -> None:
    """Print the schedule as a public record: table, rows, owner, days and legal reason."""
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("table", no_wrap=True)
    for column in ("what a row is", "owner", "kept", "why"):
        grid.add_column(column)
    for table in TABLES.values():
        days = table.retention_days
        kept = "as proof" if days is None else f"{days} days"
        grid.add_row(table.name, table.description, table.owner, kept, table.retention_reason)
    console.print(grid)
