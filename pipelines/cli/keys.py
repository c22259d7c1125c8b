"""Commands that make, rotate, check and shred the keys of the pseudonyms."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.cli.app import KEYS, TABLES, ConfiguredTables, Tables, console
from schemas.errors import AffectstreamError

commands = typer.Typer()
keys_app = typer.Typer(no_args_is_help=True, help="The keys of the pseudonyms.")
commands.add_typer(keys_app, name="keys")

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
KeyFile = Annotated[Path, typer.Argument(help="The key file.")]


@keys_app.command("create")
def keys_create(
    path: KeyFile = KEYS,
    region: Annotated[
        list[str] | None,
        typer.Option(help="A region with keys of its own, several times for several."),
    ] = None,
) -> None:
    """Write a new key file: a key for each region named, and one for all others."""
    from schemas.keys import write_keys
    from transforms.decoding.aliases import known_name

    write_keys(path, [known_name("region", name) or name for name in region or ()])
    _say(f"new keys in {path}: keep them safe, references cannot be made without them")


@keys_app.command("rotate")
def keys_rotate(
    path: KeyFile = KEYS,
    since: Annotated[
        datetime | None,
        typer.Option(
            help="Event time from which the new keys hold, UTC; default: next midnight.",
            formats=_FORMATS,
        ),
    ] = None,
    tables: ConfiguredTables = None,
) -> None:
    """Add a period with new keys; a live job takes them from the file within a second."""
    from pipelines.govern.key_file import rotate

    begin = rotate(path, tables, None if since is None else _utc(since))
    _say(f"{path} has new keys for what happens since {begin.isoformat()}; those before stay")


@keys_app.command("check")
def keys_check(path: KeyFile = KEYS, tables: Tables = TABLES) -> None:
    """Print what a key file holds, and whether the tables were made under it."""
    from pipelines.govern.key_report import print_keys
    from schemas.keys import read_keys

    print_keys(path, read_keys(path), tables, Console())


@keys_app.command("shred")
def keys_shred(
    until: Annotated[
        datetime,
        typer.Option(help="Keys of periods that had ended by then go, UTC.", formats=_FORMATS),
    ],
    path: KeyFile = KEYS,
    tables: ConfiguredTables = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    yes_lose_links: Annotated[
        bool,
        typer.Option(
            "--yes-lose-links",
            help="Also where rows stand that no erasure will find any more.",
        ),
    ] = False,
) -> None:
    """Remove old keys for good: what was written under them can be tied to nobody any more."""
    from pipelines.govern.key_file import plan_shredding, shred
    from schemas.keys import read_keys

    time = _utc(until)
    plan = plan_shredding(read_keys(path), tables, time, lose_links=yes_lose_links)
    _say(
        f"the keys of {len(plan.removed)} periods that ended by {plan.end.isoformat()} will be "
        "removed: an erasure finds no row that was written under them, and their events cannot be "
        "replayed; copies of the file are yours to destroy"
    )
    if not yes and not typer.confirm("Remove them for good?", err=True):
        message = "nothing was removed: answer y, or give --yes"
        raise AffectstreamError(message)
    done = shred(path, tables, time, lose_links=yes_lose_links)
    for period in done.left:
        _say(
            f"the key since {period.since.isoformat()} stays: it is that of persons, too, since "
            "the file is older than rotations"
        )
    _say(f"removed the keys of {len(done.removed)} periods from {path}")


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)
