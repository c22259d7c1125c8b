"""The application that all commands join, its console, and the options that commands share."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from schemas.errors import AffectstreamError

if TYPE_CHECKING:
    from pipelines.config import Config

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Expression estimates from the event logs of virtual worlds: lawful, exactly once.",
)
console = Console(stderr=True)
"""Messages and progress; results go to standard output."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"affectstream {version('affectstream')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _usable_tables(tables: str | None) -> str | None:
    """Return the place of the tables with the home folder in place of ``~``."""
    from schemas.settings import check_text, expand_path

    if tables is None:
        return None
    try:
        check_text(tables)
        return expand_path(tables)
    except ValueError as error:
        message = f"--tables: {error}"
        raise AffectstreamError(message) from error


TABLES = "build/tables"
KEYS = Path("keys.yaml")

_TABLES = typer.Option(help="Folder or s3:// URI of the Delta tables.", callback=_usable_tables)

Log = Annotated[Path | None, typer.Argument(help="Recorded log: a folder of Parquet files.")]
Tables = Annotated[str, _TABLES]
ConfiguredTables = Annotated[
    str | None,
    typer.Option(
        help="Folder or s3:// URI of the Delta tables. Default: `tables` of --config, or "
        f"{TABLES}.",
        callback=_usable_tables,
    ),
]
Truth = Annotated[Path | None, typer.Option(help="Ground truth of the log (truth.parquet).")]
Settings = Annotated[Path | None, typer.Option("--config", help="YAML configuration.")]
Keys = Annotated[Path | None, typer.Option(help="Key file of the pseudonyms.")]
TruthKeys = Annotated[Path, typer.Option("--keys", help="With --truth: key file of the run.")]
Bootstrap = Annotated[str | None, typer.Option(help="Kafka broker, host:port.")]
Data = Annotated[Path, typer.Option(help="Folder of labelled corpora.")]


def find_tables(config: Path | None, tables: str | None) -> str:
    """Return the tables that a flag names, or else a file, or the usual place."""
    from pipelines.config import read_settings

    given = None if tables else read_settings(config).get("tables")
    return tables or _usable_tables(None if given is None else str(given)) or TABLES


def load_settings(
    config: Path | None, tables: str | None = None, keys: Path | None = None, **flags: Any
) -> "Config":
    """Load a configuration with these flags; without a file, tables and keys have usual places."""
    from pipelines.config import load_config

    if config is None:
        tables, keys = tables or TABLES, keys or KEYS
    return load_config(config, tables=tables, keys=keys, **flags)
