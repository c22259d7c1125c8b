"""The command ``trace``: one record's way through the stages."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.cli.app import Bootstrap, ConfiguredTables, Keys, Settings
from pipelines.show.escapes import escape_controls

commands = typer.Typer()


@commands.command()
def trace(
    record: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET.")],
    log: Annotated[Path | None, typer.Option(help="Recorded log; without one, Kafka.")] = None,
    tables: ConfiguredTables = None,
    keys: Keys = None,
    kafka: Bootstrap = None,
    config: Settings = None,
) -> None:
    """Show what each stage makes of one record, how long it takes, and what has landed."""
    from pipelines.config import load_config
    from pipelines.observe.trace import parse_place
    from pipelines.observe.trace import trace as run

    settings = load_config(config, log=log, tables=tables, keys=keys, kafka={"bootstrap": kafka})
    grid = Table("stage", box=None, padding=(0, 2, 0, 0))
    grid.add_column("ms", justify="right")
    grid.add_column("verdict", overflow="fold")
    for step in run(settings, parse_place(record)):
        took = "–" if step.milliseconds is None else f"{step.milliseconds:.1f}"
        grid.add_row(*(Text(escape_controls(cell)) for cell in (step.stage, took, step.verdict)))
    Console().print(grid)
