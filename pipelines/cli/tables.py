"""Commands that read the tables: a query, their dictionary, an overview, a screen, a check."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines.cli.app import (
    KEYS,
    TABLES,
    ConfiguredTables,
    Settings,
    Tables,
    Truth,
    TruthKeys,
    console,
    find_tables,
    load_settings,
)

commands = typer.Typer()


class Form(StrEnum):
    """How a query's result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class DictionaryForm(StrEnum):
    """How the dictionary is written."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"


AsOf = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VERSION|TIME|TABLE=…",
        help="Read tables as they stood at a version or time (ISO 8601, UTC if it has no zone).",
    ),
]
ChangesSince = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VERSION|TABLE=VERSION",
        help="Read the changes that a table had after this version, with _change_type and "
        "_commit_version, in place of the table.",
    ),
]


@commands.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables and views.")],
    tables: ConfiguredTables = None,
    form: Annotated[Form, typer.Option("--format", help="How to write the result.")] = Form.TABLE,
    out: Annotated[Path | None, typer.Option(help="File instead of standard output.")] = None,
    as_of: AsOf = None,
    changes_since: ChangesSince = None,
    timeout: Annotated[
        int,
        typer.Option(min=0, max=604_800, help="Seconds that it may take; 0 for any time."),
    ] = 60,
    role: Annotated[
        str | None,
        typer.Option(help="Read as this role of `access.roles` does; the reading is logged."),
    ] = None,
    config: Settings = None,
) -> None:
    """Run SQL over the tables and the views of them that `describe` lists.

    Each table counts its own versions, so a VERSION alone is for one table.

    Where a statement reads several, write TABLE=VERSION, once for each.

    A TIME holds for all: each is read as its last commit until then left it.
    """
    from pipelines.tables.query import query as run
    from pipelines.tables.results import write_result
    from pipelines.tables.statement import parse_asked, parse_moment, parse_version

    moments = parse_asked("--as-of", as_of or [], parse_moment)
    versions = parse_asked("--changes-since", changes_since or [], parse_version)
    limits: dict[str, Any] = {"as_of": moments, "changes_since": versions}
    limits["timeout_s"] = timeout or None
    tables = find_tables(config, tables)
    if role is None:
        found = run(tables, sql, **limits)
    else:
        from pipelines.access.logged_query import query_as
        from pipelines.config import load_access

        found = query_as(load_access(config), role, tables, sql, **limits)
    write_result(found, form.value, out)


@commands.command()
def describe(
    name: Annotated[
        str | None, typer.Argument(help="Table or view; all of them if left out.")
    ] = None,
    tables: Tables = TABLES,
    form: Annotated[
        DictionaryForm, typer.Option("--format", help="How to write the dictionary.")
    ] = DictionaryForm.TABLE,
) -> None:
    """Print what the columns of a table or view mean: unit, range, type and an example.

    Examples are from rows of the tables where there are some.
    """
    from pipelines.tables.dictionary import describe as run
    from pipelines.tables.dictionary import write_dictionary
    from pipelines.tables.results import open_console

    write_dictionary(run(name, tables), form.value, open_console())


@commands.command("tables")
def list_tables(tables: Tables = TABLES) -> None:
    """Print each table's rows, size, versions, and what keeps this program from writing to it."""
    from pipelines.tables.overview import print_tables, standing_tables

    print_tables(standing_tables(tables), Console())


@commands.command()
def show(tables: Tables = TABLES, truth: Truth = None, keys: TruthKeys = KEYS) -> None:
    """Print what the tables hold: estimates, decisions, dead letters, refusals, time."""
    from pipelines.show.accuracy import GroundTruth
    from pipelines.show.screen import show as run

    run(tables, Console(), GroundTruth(truth, keys) if truth else None)


class Report(StrEnum):
    """What a report is about."""

    SESSION = "session"
    GOVERNANCE = "governance"


@commands.command()
def report(
    of: Annotated[
        Report, typer.Argument(help="The tables' rows in pictures, or how they are governed.")
    ] = Report.SESSION,
    tables: ConfiguredTables = None,
    truth: Truth = None,
    keys: TruthKeys = KEYS,
    out: Annotated[
        Path | None, typer.Option(help="The file; default: build/report.html, or governance.md.")
    ] = None,
    config: Settings = None,
) -> None:
    """Write one page: pictures of what the tables hold (HTML), or their governance (Markdown).

    Governance is also printed: policy, refusals, consents, erasures, retention, models, roles and
    the head of the audit log.
    """
    if of is Report.GOVERNANCE:
        _report_governance(config, tables, out or Path("build/governance.md"))
        return
    from pipelines.show.accuracy import GroundTruth
    from pipelines.show.report import write_report

    known = GroundTruth(truth, keys) if truth else None
    place = write_report(tables or TABLES, out or Path("build/report.html"), known)
    console.print(f"report: {place}")


def _report_governance(config: Path | None, tables: str | None, out: Path) -> None:
    from datetime import UTC, datetime

    from pipelines.show.governance import governance, print_governance, write_governance

    sections = governance(load_settings(config, tables))
    print_governance(sections, Console())
    place = write_governance(sections, out, datetime.now(UTC).date())
    console.print(f"report: {place}")


@commands.command()
def check(
    tables: Tables = TABLES,
    docs: Annotated[Path, typer.Option(help="Folder of the data docs.")] = Path("build/data_docs"),
) -> None:
    """Check the landed tables against their expectations and write the data docs."""
    from pipelines.tables.check import check_tables, print_verdicts

    verdicts = check_tables(tables, docs)
    print_verdicts(verdicts, Console())
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)
