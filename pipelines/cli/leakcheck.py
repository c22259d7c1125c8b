"""The command ``leakcheck``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.app import Settings

commands = typer.Typer()


@commands.command()
def leakcheck(
    out: Annotated[Path, typer.Argument(help="New folder, which it fills and searches.")] = Path(
        "build/leakcheck"
    ),
    config: Settings = None,
) -> None:
    """Send unique tokens through every field, and search all that is written for them.

    Exit status 1 where one is found that no schema allows to land.
    """
    from pipelines.govern.leakcheck.check import check_leaks, print_leaks

    found = check_leaks(out, config)
    print_leaks(found, Console())
    if found.leaked or not found.landed:
        raise typer.Exit(1)
