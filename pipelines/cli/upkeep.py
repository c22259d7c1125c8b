"""Commands that keep the tables small, lawful and right: maintenance and backfill."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipelines.cli.app import TABLES, ConfiguredTables, Settings, Tables, console, load_settings

if TYPE_CHECKING:
    from pipelines.tables.engine import Engine

commands = typer.Typer()


class EngineName(StrEnum):
    """What rewrites the tables."""

    DELTALAKE = "deltalake"
    SPARK = "spark"


Chosen = Annotated[EngineName, typer.Option(help="spark for tables past one process.")]
Jars = Annotated[Path, typer.Option(help="Folder of Delta Lake's jars, with --engine spark.")]
JARS = Path("build/spark")


@commands.command()
def maintain(
    tables: Tables = TABLES,
    table: Annotated[
        list[str] | None, typer.Option(help="Name of a table, several times for several.")
    ] = None,
    engine: Chosen = EngineName.DELTALAKE,
    keep_hours: Annotated[
        int, typer.Option(help="Hours for which files of old versions are kept, 1 to 87,600.")
    ] = 168,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done; write nothing.")] = False,
    schedule: Annotated[
        bool, typer.Option(help="Print how long rows are kept, and what is deleted next, alone.")
    ] = False,
    jars: Jars = JARS,
    config: Settings = None,
) -> None:
    """Delete rows past their retention, sort and compact files, vacuum, clean the log."""
    from pipelines.config import load_retention
    from pipelines.tables.maintain import Maintenance, print_maintained
    from pipelines.tables.maintain import maintain as run
    from pipelines.tables.query import open_tables, standing
    from pipelines.tables.schedule import print_schedule

    retention = load_retention(config) if config else None
    if schedule:
        print_schedule(Console(), retention, open_tables(tables) if standing(tables) else {})
        return
    with _engine(engine, tables, jars) as chosen:
        how = Maintenance(chosen, keep_hours=keep_hours, dry_run=dry_run, retention=retention)
        done = run(tables, table or [], how, console)
    print_maintained(done, Console(), dry_run=dry_run)


class Source(StrEnum):
    """What past days are rebuilt from."""

    OBSERVATIONS = "observations"


@commands.command()
def backfill(
    days: Annotated[str, typer.Option(help="Days, UTC: 2026-11-01..2026-11-07, or one.")],
    source: Annotated[
        Source, typer.Option("--from", help="What they are rebuilt from.")
    ] = Source.OBSERVATIONS,
    tables: ConfiguredTables = None,
    check: Annotated[
        bool, typer.Option(help="Compare with what landed; write nothing. Status 1: rows differ.")
    ] = False,
    engine: Chosen = EngineName.DELTALAKE,
    jars: Jars = JARS,
    config: Settings = None,
) -> None:
    """Rebuild the features and decisions of past days from their observations."""
    from pipelines.backfill.backfill import backfill as run
    from pipelines.backfill.days import parse_days
    from pipelines.backfill.results import print_results

    settings = load_settings(config, tables)
    with _rebuild(engine, settings.tables, jars) as rebuild:
        chosen = partial(rebuild, write=not check)
        results = run(settings, parse_days(days), chosen, console, write=not check)
    print_results(results, Console(), wrote=not check)
    if check and any(result.differ for result in results.values()):
        raise typer.Exit(1)


@contextmanager
def _rebuild(name: EngineName, tables: str, jars: Path) -> "Iterator[Callable[..., None]]":
    if name is EngineName.DELTALAKE:
        from pipelines.backfill.embedded import rebuild

        yield rebuild
        return
    from pipelines.spark.session import check_local, spark_session

    check_local(tables)
    with spark_session(jars) as session:
        from pipelines.spark.backfill import rebuild as on_spark

        yield partial(on_spark, session)


@contextmanager
def _engine(name: EngineName, tables: str, jars: Path) -> "Iterator[Engine]":
    if name is EngineName.DELTALAKE:
        from pipelines.tables.engine import DeltalakeEngine

        yield DeltalakeEngine()
        return
    from pipelines.spark.session import check_local, spark_session

    check_local(tables)
    with spark_session(jars) as session:
        from pipelines.spark.maintain import SparkEngine

        yield SparkEngine(session)
