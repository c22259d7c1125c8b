"""Commands of a privacy officer: erasure, with its certificate."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.app import KEYS, TABLES, ConfiguredTables, Keys, Settings, console
from schemas.errors import AffectstreamError

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
        float, typer.Option(min=0, max=86_400, help="Seconds to wait for feeds.")
    ] = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase persons from tables, logs, feeds and stores, and prove that nothing is left."""
    from pipelines.config import load_config
    from pipelines.govern.erasure.certificate import write_certificate
    from pipelines.govern.erasure.erase import How, Request
    from pipelines.govern.erasure.erase import erase as run
    from pipelines.govern.erasure.report import print_proofs
    from pipelines.govern.erasure.requests import open_requests
    from schemas.keys import read_keys

    flags = {"tables": tables, "keys": keys}
    settings = load_config(
        config, **flags if config else {"tables": tables or TABLES, "keys": keys or KEYS}
    )
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
    if not yes:
        typer.confirm(
            f"Erase {len(wanted)} from {settings.tables}? This cannot be undone.",
            abort=True,
            err=True,
        )
    how = How(given_up=given_up or (), patience_s=patience)
    proofs = run(settings, secret, wanted, console, how)
    print_proofs(proofs, Console())
    if certificate:
        write_certificate(certificate, proofs)
        console.print(f"certificate: {certificate}")
