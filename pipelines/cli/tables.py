"""Commands that read the tables: a query, an overview, a screen, a report, a check."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.app import KEYS, TABLES, Tables, Truth, TruthKeys, console

commands = typer.Typer()


class Form(StrEnum):
    """How a query's result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@commands.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables.")],
    tables: Tables = TABLES,
    form: Annotated[Form, typer.Option("--format", help="How to write the result.")] = Form.TABLE,
    out: Annotated[Path | None, typer.Option(help="File instead of standard output.")] = None,
) -> None:
    """Run SQL over the tables."""
    from pipelines.tables.query import query as run
    from pipelines.tables.results import write_result

    write_result(run(tables, sql), form.value, out)


@commands.command("tables")
def list_tables(tables: Tables = TABLES) -> None:
    """Print each table's rows, size, versions, and what keeps this program from writing to it."""
    from pipelines.tables.overview import print_tables, standing_tables

    print_tables(standing_tables(tables), Console())


@commands.command()
def show(tables: Tables = TABLES, truth: Truth = None, keys: TruthKeys = KEYS) -> None:
    """Print what the tables hold: estimates, decisions, dead letters, refusals, time."""
    from pipelines.show.accuracy import GroundTruth
    from pipelines.show.screen import show as run

    run(tables, Console(), GroundTruth(truth, keys) if truth else None)


@commands.command()
def report(
    tables: Tables = TABLES,
    truth: Truth = None,
    keys: TruthKeys = KEYS,
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("build/report.html"),
) -> None:
    """Write one HTML page with pictures of what the tables hold."""
    from pipelines.show.accuracy import GroundTruth
    from pipelines.show.report import write_report

    known = GroundTruth(truth, keys) if truth else None
    console.print(f"report: {write_report(tables, out, known)}")


@commands.command()
def check(
    tables: Tables = TABLES,
    docs: Annotated[Path, typer.Option(help="Folder of the data docs.")] = Path("build/data_docs"),
) -> None:
    """Check the landed tables against their expectations and write the data docs."""
    from pipelines.tables.check import check_tables, print_verdicts

    verdicts = check_tables(tables, docs)
    print_verdicts(verdicts, Console())
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)
