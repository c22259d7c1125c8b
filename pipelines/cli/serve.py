"""Commands that hand on what the tables hold."""

from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated

import typer

from pipelines.cli.app import (
    KEYS,
    TABLES,
    Bootstrap,
    ConfiguredTables,
    Keys,
    Settings,
    console,
    find_tables,
)
from schemas.errors import AffectstreamError

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
        tables=tables or (None if config else TABLES),
        keys=keys or (None if config else KEYS),
        kafka={"bootstrap": kafka},
        feed={"sinks": sink},
    )
    run(settings, console, start=start.value if start else None, until_end=until_end)


@commands.command()
def dashboard(
    tables: ConfiguredTables = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65_535)] = 8501,
    metrics: Annotated[
        str, typer.Option(help="Where the supervisor of a live job answers with metrics.")
    ] = "http://127.0.0.1:9464/metrics",
    reviewer: Annotated[
        str | None, typer.Option(help="Name that reviews are stored under. Default: the user.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="Role that sees the page; default: `access.page_role`.")
    ] = None,
    config: Settings = None,
) -> None:
    """Serve a page over the tables: live expressions, health, reviews, explanations, erasures."""
    if find_spec("streamlit") is None:
        message = "the page needs Streamlit: pip install affectstream[dashboard]"
        raise AffectstreamError(message)
    from pipelines.access.audit import user_name
    from pipelines.config import load_access
    from pipelines.serve.dashboard.server import serve_page

    console.print(f"the page: http://127.0.0.1:{port} (Ctrl-C ends it)", highlight=False)
    name = user_name() if reviewer is None else reviewer
    access = load_access(config, page_role=role)
    serve_page(
        find_tables(config, tables), port=port, metrics_url=metrics, reviewer=name, access=access
    )
