"""The command ``aggregate``: counts and means with differential privacy."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.app import ConfiguredTables, Settings, console, load_settings
from pipelines.cli.tables import Form
from schemas.errors import AffectstreamError

commands = typer.Typer()


@commands.command()
def aggregate(
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="day, hour, scene_id, scenario, purpose, region or age_band; repeatable.",
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="subjects, windows, valence, arousal, confidence or expressions; repeatable. The "
            "fewer, the more precise. Default: all.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only windows with this value; repeatable."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only windows that start at this time (ISO 8601) or later.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only windows that start before.")] = None,
    max_groups: Annotated[
        int | None,
        typer.Option(help="Groups that a subject counts in: `aggregates.max_groups`."),
    ] = None,
    max_windows: Annotated[
        int | None,
        typer.Option(help="Windows of a subject in each: `aggregates.max_windows`."),
    ] = None,
    audience: Annotated[
        str | None, typer.Option(help="Whose budget pays. Default: the first that is configured.")
    ] = None,
    tables: ConfiguredTables = None,
    config: Settings = None,
    form: Annotated[Form, typer.Option("--format", help="How to write the answer.")] = Form.TABLE,
    out: Annotated[Path | None, typer.Option(help="File instead of standard output.")] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say how the answer was made and what it cost, not its noise alone."
        ),
    ] = False,
    budget: Annotated[
        bool, typer.Option("--budget", help="Say what the audience has left; ask nothing.")
    ] = False,
) -> None:
    """Count and average what groups of subjects showed, with differential privacy.

    Each question spends some of the audience's budget; the same question about the same version of
    the table is answered alike and for free.
    """
    if not (find_spec("dp_accounting") and find_spec("opendp")):
        message = "aggregates need dp-accounting and opendp: pip install affectstream[aggregates]"
        raise AffectstreamError(message)
    from pipelines.aggregate.answer import aggregate as run
    from pipelines.aggregate.ledger import open_ledger
    from pipelines.aggregate.question import parse_question
    from pipelines.aggregate.report import budget_sentence, print_noise, print_report
    from pipelines.tables.results import write_result
    from transforms.gating.policy import read_policy

    bounds = {"max_groups": max_groups, "max_windows": max_windows}
    settings = load_settings(config, tables, aggregates=bounds)
    who = settings.aggregates.audiences[0] if audience is None else audience
    if budget:
        with open_ledger(settings.tables, settings.aggregates, who) as ledger:
            spent = ledger.spent()
        typer.echo(budget_sentence(spent, who, settings.aggregates))
        return
    question = parse_question(
        by=by or [],
        where=where or [],
        since=since,
        until=until,
        measures=measure or [],
        policy=read_policy(settings.policy, settings.scenarios),
    )
    answer = run(settings.tables, question, settings.aggregates, who)
    write_result(answer.table, form.value, out)
    if explain:
        print_report(answer, who, settings.aggregates, console)
    else:
        print_noise(answer, console)
