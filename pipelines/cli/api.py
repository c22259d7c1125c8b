"""Commands of the HTTP API: serve it, and make, show and revoke its tokens."""

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli.app import KEYS, TABLES, ConfiguredTables, Settings, console
from pipelines.show.escapes import safe_text
from schemas.errors import AffectstreamError

commands = typer.Typer()
tokens_app = typer.Typer(no_args_is_help=True, help="The tokens of the HTTP API.")
commands.add_typer(tokens_app, name="tokens")

File = Annotated[Path | None, typer.Option(help="File of tokens; default: `api.tokens`.")]


@commands.command()
def serve(
    tables: ConfiguredTables = None,
    store: Annotated[str | None, typer.Option(help="Online store: `online.store`.")] = None,
    tokens: File = None,
    host: Annotated[str | None, typer.Option(help="Address; default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default: 8765.")] = None,
    config: Settings = None,
) -> None:
    """Answer questions about subjects and decisions over HTTP, to callers with a token."""
    _need_extra()
    from pipelines.serve.api.app import serve as run

    settings = _settings(
        config,
        tables=tables,
        online={"store": store},
        api={"tokens": tokens, "host": host, "port": port},
    )
    run(settings, console)


@tokens_app.command("add")
def tokens_add(
    name: Annotated[str, typer.Argument(help="Whose token it is, for the list.")],
    role: Annotated[str, typer.Option(help="What it is for: a role of `access.roles`.")],
    days: Annotated[float, typer.Option(min=0.001, max=3_650, help="How long it is valid.")] = 90,
    file: File = None,
    config: Settings = None,
) -> None:
    """Make a token and print it, this once; the file holds its hash alone."""
    _need_extra()
    from pipelines.access.roles import read_roles
    from pipelines.serve.api.token_file import add_token

    settings = _settings(config, api={"tokens": file})
    path = settings.api.tokens
    read_roles(settings.access.roles).named(role)
    typer.echo(add_token(path, name, role, timedelta(days=days)))
    console.print(f"a token for {role}, valid for {days:g} days, in {path}; it is not shown again")


@tokens_app.command("list")
def tokens_list(file: File = None, config: Settings = None) -> None:
    """List the tokens by id, name, role and end."""
    _need_extra()
    from pipelines.serve.api.token_file import read_tokens

    grid = Table("id", "name", "role", "expires", box=None, padding=(0, 2, 0, 0))
    for token in read_tokens(_settings(config, api={"tokens": file}).api.tokens):
        grid.add_row(
            token.id, safe_text(token.name), token.role, f"{token.expires:%Y-%m-%d %H:%M} UTC"
        )
    Console().print(grid)


@tokens_app.command("revoke")
def tokens_revoke(
    identity: Annotated[str, typer.Argument(help="Id of the token, as `list` shows it.")],
    file: File = None,
    config: Settings = None,
) -> None:
    """Remove a token; a running server refuses it within a second."""
    _need_extra()
    from pipelines.serve.api.token_file import revoke_token

    path = _settings(config, api={"tokens": file}).api.tokens
    token = revoke_token(path, identity)
    console.print(safe_text(f"{token.name}'s token {identity} is no longer in {path}"))


def _need_extra() -> None:
    if not (find_spec("fastapi") and find_spec("uvicorn")):
        message = "the HTTP API needs fastapi and uvicorn: pip install affectstream[api]"
        raise AffectstreamError(message)


def _settings(path: Path | None, **flags: Any) -> Any:
    """Return the configuration; what the API does not need of it may be missing."""
    from pipelines.config import load_config, read_settings

    given = read_settings(path)
    for name, default in (("tables", TABLES), ("keys", KEYS)):
        if given.get(name) is None and flags.get(name) is None:
            flags[name] = default
    return load_config(path, **flags)
