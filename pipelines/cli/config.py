"""Commands on what a run is configured by: ``config``, and ``policy`` for scenario policies."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.cli.app import (
    KEYS,
    TABLES,
    ConfiguredTables,
    Settings,
    console,
    find_tables,
    load_settings,
)
from pipelines.cli.tables import Form
from pipelines.show.escapes import escape_controls
from schemas.errors import AffectstreamError

commands = typer.Typer()
policy_app = typer.Typer(no_args_is_help=True, help="Scenario policies: what follows when.")
commands.add_typer(policy_app, name="policy")


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


PolicyFile = Annotated[Path, typer.Argument(help="A scenario policy, such as my-scenarios.yaml.")]


@policy_app.command("check")
def policy_check(file: PolicyFile, config: Settings = None) -> None:
    """Say all that is wrong with a scenario policy, with the lines of the file."""
    from pipelines.config import POLICIES
    from pipelines.policy.check import find_problems, find_warnings
    from transforms.deciding.scenarios import read_scenarios

    gate = load_settings(config, TABLES, KEYS).policy if config else POLICIES / "gate.yaml"
    problems = find_problems(file, gate)
    for problem in problems:
        _print_finding("[bold red]error:[/]", problem)
    if problems:
        raise typer.Exit(1)
    for warning in find_warnings(file, gate, dt.datetime.now(dt.UTC).date()):
        _print_finding("[bold yellow]warning:[/]", warning)
    policy = read_scenarios(file)
    typer.echo(f"{policy.version}: rules: {len(policy.all_rules)}, states: {len(policy.states)}")


def _print_finding(kind: str, said: str) -> None:
    console.print(f"{kind} {escape(escape_controls(said))}", highlight=False, soft_wrap=True)


@policy_app.command("simulate")
def policy_simulate(
    file: PolicyFile,
    tables: ConfiguredTables = None,
    days: Annotated[
        str | None,
        typer.Option(help="Days, UTC: 2026-11-01..2026-11-07, or one. Default: all that landed."),
    ] = None,
    config: Settings = None,
    form: Annotated[Form, typer.Option("--format", help="How to write the result.")] = Form.TABLE,
    out: Annotated[Path | None, typer.Option(help="File instead of standard output.")] = None,
) -> None:
    """Show what a scenario policy would have decided otherwise on landed windows; write nothing."""
    from pipelines.backfill.days import parse_days
    from pipelines.policy.simulate import simulate
    from pipelines.tables.results import write_result

    settings = load_settings(config, find_tables(config, tables), KEYS)  # no keys are needed
    done = simulate(settings, file, parse_days(days) if days else None)
    if done.without_column:
        fields = ", ".join(done.without_column)
        console.print(
            f"no table holds {escape(fields)}: rules that ask for it do not follow here",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"{done.differing} of {done.windows} decisions would differ", highlight=False)
    write_result(done.differences, form.value, out)
