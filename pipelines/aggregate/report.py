"""What a privacy officer reads of an answer: bounds, noise, groups, cost, and what is left."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.aggregate.answer import Answer
from pipelines.aggregate.bound import GRID, MIDDLE_AND_REACH
from pipelines.aggregate.ledger import Spent
from pipelines.aggregate.noise import Plan
from pipelines.aggregate.question import COUNTS, TABLE, Question
from pipelines.aggregate.settings import Aggregates
from pipelines.show.escapes import escape_controls

_95_PERCENT = 1.96
"""Standard deviations that 95 of 100 draws of the noise stay within."""
_EXAMPLE = 500
"""Subjects of the group by which the precision of means is told."""


def print_noise(answer: Answer, console: Console) -> None:
    """Print within what the answer's noise stays, as a sentence."""
    text = " ".join(("noise:", *_noise(answer.plan)))
    console.print(Text(text), highlight=False, soft_wrap=True)


def print_report(answer: Answer, audience: str, settings: Aggregates, console: Console) -> None:
    """Print how an answer was made, a paragraph for each heading."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(overflow="fold")
    for heading, sentences in explain(answer, audience, settings).items():
        grid.add_row(heading, Text(escape_controls(sentences)))
    console.print(grid)


def explain(answer: Answer, audience: str, settings: Aggregates) -> dict[str, str]:
    """Return headings and the sentences below them.

    They tell nothing of the tables that the answer itself does not: neither how many groups were
    left out, which one subject could change, nor how many windows were read.
    """
    paid = "Nothing: it was paid for when this version of the table was first asked."
    if not answer.paid_before:
        paid = (
            f"By itself ε {settings.epsilon:g}, δ {settings.delta:g}; all questions together cost "
            "less than the sum."
        )
    return {
        "asked": " ".join(_asked(answer.question, answer.version, audience)),
        "bounds": " ".join(_bounds(answer.question, settings)),
        "noise": " ".join(_noise(answer.plan)),
        "groups": " ".join(_groups(answer.plan, settings)),
        "this cost": paid,
        "budget": budget_sentence(answer.spent, audience, settings),
    }


def budget_sentence(spent: Spent, audience: str, settings: Aggregates) -> str:
    """Return what an audience has spent and has left."""
    left = max(settings.budget_epsilon - spent.epsilon, 0)
    return (
        f"Of ε {settings.budget_epsilon:g} for {audience} {left:.3g} is left. Questions so far: "
        f"{spent.questions}; they cost {spent.epsilon:.3g} together, at δ "
        f"{settings.budget_delta:g}, of which {spent.delta:.2g} is for groups that appear through "
        "one subject."
    )


def _asked(question: Question, version: int, audience: str) -> Iterator[str]:
    yield f"By {audience}: {', '.join(question.measures)}"
    yield f"by {', '.join(question.by)}" if question.by else "of all windows together"
    for column, values in question.where:
        yield f"where {column} is {' or '.join(values)},"
    if question.since:
        yield f"from {question.since}"
    if question.until:
        yield f"before {question.until}"
    yield f"in version {version} of {TABLE}."


def _bounds(question: Question, settings: Aggregates) -> Iterator[str]:
    if question.by:
        yield f"Of a subject's groups at most {settings.max_groups} count, and in each"
    yield f"at most {settings.max_windows} of their windows; which ones is chosen at random."
    if set(question.measures) - set(COUNTS):
        yield "Means are over subjects, each of whom counts by the mean of their windows."
    for name, (middle, reach) in MIDDLE_AND_REACH.items():
        if name in question.measures:
            yield f"{name} is clipped to {middle - reach:g} to {middle + reach:g}."


def _noise(plan: Plan) -> Iterator[str]:
    yield "Discrete Gaussian, drawn exactly from the system's randomness (OpenDP); in 95 of 100"
    within = {name: _95_PERCENT * scale for name, scale in plan.scales.items()}
    counts = [f"{name} ±{within[name]:,.0f}" for name in COUNTS if name in within]
    yield f"groups {', '.join(counts)}"
    means = [
        f"{name} ±{within[name] * reach / GRID / _EXAMPLE:.3f}"
        for name, reach in [(n, r) for n, (_, r) in MIDDLE_AND_REACH.items()] + [("expressions", 1)]
        if name in within
    ]
    if means:
        yield f"and in a group of {_EXAMPLE} subjects {', '.join(means)}, twice that for half as"
        yield "many subjects."


def _groups(plan: Plan, settings: Aggregates) -> Iterator[str]:
    yield f"A group of fewer than {settings.min_subjects} subjects is never shown;"
    yield f"others where the noised number of subjects is {plan.threshold} or more."
    yield "Whether groups were left out is not said: it could depend on one subject."
