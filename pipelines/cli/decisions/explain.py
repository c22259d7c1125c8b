"""The command ``explain``: why a decision was made."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.app import ConfiguredTables, Keys, Settings, load_settings

commands = typer.Typer()


class Form(StrEnum):
    """How an explanation is written."""

    TEXT = "text"
    JSON = "json"


@commands.command()
def explain(
    decision_id: Annotated[
        str, typer.Argument(help="`decision_id` of a row of expression_decisions.")
    ],
    log: Annotated[
        Path | None,
        typer.Option(help="Recorded log that holds its events: say what in them moved it."),
    ] = None,
    tables: ConfiguredTables = None,
    keys: Keys = None,
    form: Annotated[
        Form, typer.Option("--format", help="How to write the explanation.")
    ] = Form.TEXT,
    role: Annotated[
        str | None,
        typer.Option(help="Read as this role of `access.roles` does; the reading is logged."),
    ] = None,
    config: Settings = None,
) -> None:
    """Say why a decision was made: gate, observations, weights, rule, reviews.

    With --log the words, moments, regions of faces and blendshapes that moved it are named, by the
    models that are configured. They are printed, and written nowhere.
    """
    from pipelines.explain.explanation import explain as run
    from pipelines.explain.explanation import to_json
    from pipelines.explain.report import WIDTH, print_explanation

    found = run(load_settings(config, tables, keys), decision_id, log=log, role=role)
    if form is Form.JSON:
        typer.echo(to_json(found))
        return
    console = Console()
    print_explanation(found, Console(width=min(WIDTH, console.width), highlight=False))
