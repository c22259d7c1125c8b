"""Commands that hand on what the tables hold."""

from enum import StrEnum
from typing import Annotated

import typer

from pipelines.cli.app import Bootstrap, ConfiguredTables, Keys, Settings, console

commands = typer.Typer()


class Start(StrEnum):
    """Where a feed starts in place of its position."""

    LATEST = "latest"
    SNAPSHOT = "snapshot"


@commands.command()
def feed(
    tables: ConfiguredTables = None,
    keys: Keys = None,
    config: Settings = None,
    kafka: Bootstrap = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(help="kafka, online or webhook; repeatable. Default: `feed.sinks`."),
    ] = None,
    start: Annotated[
        Start | None,
        typer.Option(
            "--from",
            help="Leave the position: go on from what comes now, or from what has not expired.",
        ),
    ] = None,
    until_end: Annotated[
        bool, typer.Option(help="Stop when all that stands in the tables was handed on.")
    ] = False,
) -> None:
    """Follow the tables: decisions to Kafka and a webhook, the latest rows to the online store."""
    from pipelines.config import load_config
    from pipelines.serve.feed import feed as run

    settings = load_config(
        config,
        tables=tables,
        keys=keys,
        kafka={"bootstrap": kafka},
        feed={"sinks": sink},
    )
    run(settings, console, start=start.value if start else None, until_end=until_end)
