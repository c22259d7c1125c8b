"""The command ``review``: the queue, what reviewers say of it, and their labels for training."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.app import (
    ConfiguredTables,
    Keys,
    Settings,
    console,
    find_tables,
    load_settings,
)
from pipelines.cli.tables import Form

commands = typer.Typer()
review_app = typer.Typer(
    no_args_is_help=True, help="What a person should look at, and what reviewers said of it."
)
commands.add_typer(review_app, name="review")

Role = Annotated[
    str | None,
    typer.Option(help="Act as this role of `access.roles` may; it is logged."),
]


class Order(StrEnum):
    """What comes first."""

    UNCERTAINTY = "uncertainty"
    DIVERSITY = "diversity"
    TIME = "time"


@review_app.command("list")
def list_queue(
    by: Annotated[
        Order,
        typer.Option(help="The newest first, the least sure, or what differs most from the rest."),
    ] = Order.TIME,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 20,
    scenario: Annotated[str | None, typer.Option(help="Only of this scenario.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only low_confidence, high_stakes or disagreement.")
    ] = None,
    decided: Annotated[
        bool, typer.Option("--decided", help="Those that reviewers have decided.")
    ] = False,
    tables: ConfiguredTables = None,
    form: Annotated[Form, typer.Option("--format", help="How to write the result.")] = Form.TABLE,
    out: Annotated[Path | None, typer.Option(help="File instead of standard output.")] = None,
    role: Role = None,
    config: Settings = None,
) -> None:
    """Print the reviews that are open."""
    from pipelines.config import load_access
    from pipelines.review.queue import Asked, list_reviews
    from pipelines.tables.results import write_result

    found = list_reviews(
        find_tables(config, tables),
        Asked(decided, scenario, reason),
        order=by.value,
        limit=limit,
        role=role,
        access=load_access(config),
    )
    write_result(found, form.value, out)


@review_app.command()
def label(
    review_id: Annotated[str, typer.Argument(help="`review_id` as `review list` prints it.")],
    decision: Annotated[str, typer.Argument(help="confirmed, unclear, or what was shown instead.")],
    tables: ConfiguredTables = None,
    reviewer: Annotated[
        str | None, typer.Option(help="Name that the review is stored under. Default: the user.")
    ] = None,
    role: Role = None,
    config: Settings = None,
) -> None:
    """Store what a reviewer says of a decision; to say the same again changes nothing."""
    from pipelines.access.actions import check_action, log_action
    from pipelines.access.audit import user_name
    from pipelines.config import load_access
    from pipelines.review.label import check_said, find_review, store_review

    name = user_name() if reviewer is None else reviewer
    access, tables = load_access(config), find_tables(config, tables)
    check_action(access, tables, role, "label")
    check_said(decision, name)
    found = find_review(tables, review_id)
    what = f"{review_id} as {decision}, by {name}"
    with log_action(access, tables, role, "label", what, [found.subject_ref], 1):
        shown = store_review(tables, review_id, found.day, decision, name)
    said = decision if shown in (None, decision) else f"{decision} ({shown})"
    console.print(f"stored: {said}, by {name}", highlight=False, markup=False)


@review_app.command()
def export(
    out: Annotated[Path, typer.Option(help="Parquet file that its owner alone may read.")],
    tables: ConfiguredTables = None,
    keys: Keys = None,
    role: Role = None,
    config: Settings = None,
) -> None:
    """Write the labels of people who consented to training, and say how many were left out, why."""
    from pipelines.review.export import export_labels

    done = export_labels(load_settings(config, tables, keys), out, role=role)
    typer.echo(f"{done.labels:,} labels in {out}")
    for code, count in sorted(done.left_out.items()):
        typer.echo(f"{count:,} left out: {code}")
