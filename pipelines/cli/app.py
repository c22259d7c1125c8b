"""The application that all commands join, its console, and the options that commands share."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Expression estimates from the event logs of virtual worlds: lawful, exactly once.",
)
console = Console(stderr=True)
"""Messages and progress; results go to standard output."""

TABLES = "build/tables"
KEYS = Path("keys.yaml")

_TABLES = typer.Option(help="Folder or s3:// URI of the Delta tables.")

Log = Annotated[Path | None, typer.Argument(help="Recorded log: a folder of Parquet files.")]
Tables = Annotated[str, _TABLES]
ConfiguredTables = Annotated[str | None, _TABLES]
Truth = Annotated[Path | None, typer.Option(help="Ground truth of the log (truth.parquet).")]
Settings = Annotated[Path | None, typer.Option("--config", help="YAML configuration.")]
Keys = Annotated[Path | None, typer.Option(help="Key file of the pseudonyms.")]
TruthKeys = Annotated[Path, typer.Option("--keys", help="With --truth: key file of the run.")]
Bootstrap = Annotated[str | None, typer.Option(help="Kafka broker, host:port.")]
Data = Annotated[Path, typer.Option(help="Folder of labelled corpora.")]
