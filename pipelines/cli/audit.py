"""Commands of the audit log: show who read what, and check that nothing was removed or changed."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.cli.app import TABLES, ConfiguredTables, Keys, Settings, console, load_settings

commands = typer.Typer()
audit_app = typer.Typer(no_args_is_help=True, help="The log of who read what.")
commands.add_typer(audit_app, name="audit")

Folder = Annotated[
    Path | None,
    typer.Option(help="Folder of the log; default: `access.audit`, or beside the tables."),
]
_COLUMNS = ("at", "who", "role", "via", "what", "subjects", "rows", "outcome")


@audit_app.command("verify")
def verify(
    head: Annotated[
        str | None, typer.Option(help="Hash that was noted earlier: its line must still stand.")
    ] = None,
    folder: Folder = None,
    config: Settings = None,
) -> None:
    """Check the whole log and print its head; status 1 where something was removed or changed."""
    from pipelines.access.audit import verify as run
    from schemas.errors import AffectstreamError

    if head is not None and not re.fullmatch(r"[0-9a-f]{64}", head):
        message = (
            f"{head!r} is no hash: give the 64 digits that `affectstream audit verify` printed"
        )
        raise AffectstreamError(message)
    found = run(_folder(folder, config), head)
    for problem in found.problems:
        console.print(Text(problem), style="red", soft_wrap=True)
    typer.echo(f"{found.lines:,} lines, head {found.head.number} {found.head.hash}")
    if found.problems:
        raise typer.Exit(1)


@audit_app.command("show")
def show(
    subject: Annotated[
        str | None, typer.Option(help="Only readings that asked for this pseudonym, or showed it.")
    ] = None,
    subject_id: Annotated[
        str | None,
        typer.Option("--id", help="Only those about this id as events have it, by the key file."),
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="How many, the newest.")] = 50,
    folder: Folder = None,
    tables: ConfiguredTables = None,
    keys: Keys = None,
    config: Settings = None,
) -> None:
    """Print who read what, the newest last."""
    from collections import deque

    from pipelines.access.audit import hash_of, read_entries
    from pipelines.show.escapes import escape_controls
    from schemas.errors import AffectstreamError

    log = _folder(folder, config, tables)
    if not log.is_dir():
        message = f"no log of readings is in {log}: name it by --folder, --tables or --config"
        raise AffectstreamError(message)
    asked = {subject.lower()} if subject is not None else set()
    if subject_id is not None:
        asked |= _references(subject_id, config, tables, keys)
    hashes = {hash_of(each) for each in asked}
    newest = deque(
        (
            entry
            for entry in read_entries(log)
            if not asked or not hashes.isdisjoint(entry["subjects"])
        ),
        last,
    )
    if not newest:
        whose = "about that person " if asked else ""
        typer.echo(f"no reading {whose}is in {log}")
        return
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for name in _COLUMNS:
        grid.add_column(name, overflow="fold")
    for entry in newest:
        entry["at"] = re.sub(r"\.\d+", "", entry["at"])
        if "statement" in entry:
            entry["what"] += ": " + entry["statement"]
        cells = (entry[name] for name in _COLUMNS)
        texts = (", ".join(cell) if isinstance(cell, list) else str(cell) for cell in cells)
        grid.add_row(*(Text(escape_controls(text)) for text in texts))
    Console().print(grid)


def _references(
    subject_id: str, config: Path | None, tables: str | None, keys: Path | None
) -> frozenset[str]:
    """Return every pseudonym of an id, under any key and in any region."""
    from pipelines.govern.erasure.people import find_people
    from schemas.keys import read_keys

    settings = load_settings(config, tables, keys)
    return find_people(settings, read_keys(settings.keys), [subject_id])[subject_id].marks


def _folder(folder: Path | None, config: Path | None, tables: str | None = None) -> Path:
    from pipelines.config import load_access, read_settings

    if folder is not None:
        return folder
    root = tables or read_settings(config).get("tables", TABLES)
    return load_access(config).audit_folder(root)
