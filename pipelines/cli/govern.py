"""Commands of a privacy officer: erasure with its certificate, and the sealed archive."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipelines.cli.app import ConfiguredTables, Keys, Settings, console, load_settings
from schemas.errors import AffectstreamError

_NAMED = 5

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.config import Config
    from pipelines.govern.archive import Vault
    from pipelines.govern.erasure.erase import Request

commands = typer.Typer()


@commands.command()
def erase(
    subject: Annotated[
        list[str] | None, typer.Argument(help="Subject id as events name it; several for several.")
    ] = None,
    subjects: Annotated[
        typer.FileText | None,
        typer.Option(encoding="utf-8", help="File with an id on each line, - for standard input."),
    ] = None,
    requests: Annotated[
        bool, typer.Option("--requests", help="All open requests of governance.erasure.")
    ] = False,
    withdrawn: Annotated[
        bool,
        typer.Option("--withdrawn", help="Only what passed after a withdrawal, of everybody."),
    ] = False,
    tables: ConfiguredTables = None,
    keys: Keys = None,
    config: Settings = None,
    certificate: Annotated[
        Path | None, typer.Option(help="HTML file to print, a sheet for each person.")
    ] = None,
    given_up: Annotated[
        list[str] | None,
        typer.Option(help="A sink that is no longer fed: kafka, online or webhook."),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0, max=86_400, help="Seconds to wait for feeds and for replays.")
    ] = 60,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Leave other spellings of the ids: they are somebody else's."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase persons from tables, logs, feeds and stores, and prove that nothing is left."""
    from pipelines.govern.erasure.certificate import write_certificate
    from pipelines.govern.erasure.erase import How, Request, erase_withdrawn
    from pipelines.govern.erasure.erase import erase as run
    from pipelines.govern.erasure.report import print_proofs
    from pipelines.govern.erasure.requests import open_requests
    from pipelines.govern.erasure.spellings import other_spellings
    from schemas.keys import read_keys

    settings = load_settings(config, tables, keys)
    how = How(given_up=given_up or (), patience_s=patience)
    if withdrawn:
        gone = erase_withdrawn(settings, console, how)
        console.print(f"{gone.total():,} rows from after a withdrawal deleted", highlight=False)
        return
    secret = read_keys(settings.keys)
    lines = subjects.read().splitlines() if subjects else []
    named = [*(subject or []), *(line for line in lines if line.strip())]
    wanted = [Request(each) for each in dict.fromkeys(named)]
    if requests:
        wanted += open_requests(settings, secret)
    if not wanted:
        if requests:
            console.print("no request is open")
            return
        message = "name a subject, or give --subjects FILE or --requests"
        raise AffectstreamError(message)
    if not exact:
        others = other_spellings(settings, secret, [each.subject for each in wanted])
        until = {each.subject: each.until for each in wanted}
        for named_as, spellings in others.items():
            console.print(
                f"{named_as!r} is also spelt {', '.join(map(repr, spellings))}: erased with it",
                highlight=False,
                markup=False,
            )
            wanted += [Request(each, until[named_as]) for each in spellings]
    if not yes:
        typer.confirm(
            f"Erase {_some(wanted)} from {settings.tables}? This cannot be undone.",
            abort=True,
            err=True,
        )
    proofs = run(settings, secret, wanted, console, how)
    print_proofs(proofs, Console())
    if certificate:
        write_certificate(certificate, proofs)
        console.print(f"certificate: {certificate}")


def _some(wanted: "Sequence[Request]") -> str:
    names = [repr(each.subject) for each in wanted]
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names):,} persons"


archive = typer.Typer(no_args_is_help=True, help="Past days, sealed under a key of each person.")
commands.add_typer(archive, name="archive")

VaultFile = Annotated[Path | None, typer.Option(help="File of the keys; `archive.vault`.")]


@archive.command("seal")
def seal(
    table: Annotated[str, typer.Argument(help="A table of persons.")],
    days: Annotated[str, typer.Option(help="Days, UTC: 2026-11-01..2026-11-07, or one.")],
    out: Annotated[Path, typer.Option(help="Folder of the archive.")],
    vault: VaultFile = None,
    tables: ConfiguredTables = None,
    keys: Keys = None,
    config: Settings = None,
) -> None:
    """Write a table's rows of these days as sealed files, a file for each day."""
    from pipelines.backfill.days import parse_days
    from pipelines.govern.archive import archive_days

    settings = load_settings(config, tables, keys)
    with _vault(settings, vault) as opened:
        rows = archive_days(settings.tables, table, parse_days(days), opened, out)
    console.print(f"{rows:,} rows sealed in {out / table}")


@archive.command("open")
def open_sealed(
    folder: Annotated[Path, typer.Argument(help="Folder of one archived table.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write the rows to.")],
    vault: VaultFile = None,
    keys: Keys = None,
    config: Settings = None,
) -> None:
    """Write the rows whose keys are still there to a file."""
    import pyarrow.parquet as pq

    from pipelines.govern.archive import open_archive
    from schemas.strict import replace_file

    with _vault(load_settings(config, keys=keys), vault) as opened:
        found = open_archive(folder, opened)
    try:
        with replace_file(out) as file:
            pq.write_table(found.rows, file)
    except OSError as error:
        message = f"cannot write {out}: {error.strerror}; give a file in a folder that exists"
        raise AffectstreamError(message) from error
    console.print(f"{found.rows.num_rows:,} rows in {out}; {found.shredded_rows:,} were erased")


@contextmanager
def _vault(settings: "Config", path: Path | None) -> "Iterator[Vault]":
    from pipelines.govern.archive import Vault
    from schemas.keys import read_keys

    place = path or settings.archive.vault
    if place is None:
        message = "no vault is named: give --vault FILE, and `archive.vault` for erasures to reach"
        raise AffectstreamError(message)
    with closing(Vault(place, read_keys(settings.keys).tombstone)) as opened:
        yield opened
