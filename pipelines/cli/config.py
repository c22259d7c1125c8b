"""The command ``config``: print, explain and check a configuration, or make a key file."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.cli.app import KEYS, TABLES, console
from schemas.errors import AffectstreamError

commands = typer.Typer()


@commands.command("config")
def config_command(
    check: Annotated[
        Path | None, typer.Option(help="Say all that is wrong with this file and what it names.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Explain every setting.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="With --explain: as Markdown.")
    ] = False,
    new_keys: Annotated[Path | None, typer.Option(help="Write a new key file here.")] = None,
) -> None:
    """Print the configuration with all defaults, explain or check it, or make a key file."""
    if (check is not None) + explain + (new_keys is not None) > 1:
        message = "--check, --explain and --new-keys are done one at a time: give one of them"
        raise AffectstreamError(message)
    if new_keys is not None:
        from schemas.keys import write_keys

        write_keys(new_keys)
        console.print(f"new key in {new_keys}: keep it safe, references cannot be made without it")
    elif explain:
        from pipelines import config_reference

        if markdown:
            typer.echo(config_reference.markdown())
        else:
            config_reference.print_settings(Console())
    else:
        if check is not None:
            _check(check)
        _print(check)


def _check(path: Path) -> None:
    from pipelines.config import load_config
    from pipelines.govern.doubts import configuration_doubts
    from pipelines.run.config_check import find_problems

    problems = find_problems(path)
    for problem in problems:
        console.print(f"[bold red]error:[/] {escape(problem)}", highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    for doubt in configuration_doubts(load_config(path), dt.datetime.now(dt.UTC).date()):
        console.print(f"[bold yellow]decide:[/] {escape(doubt)}", highlight=False, soft_wrap=True)


def _print(path: Path | None) -> None:
    import yaml

    from pipelines.config import Config, load_config

    blank = Config(log=Path("LOG"), tables=TABLES, keys=KEYS)
    settings = blank if path is None else load_config(path)
    typer.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).rstrip())
