"""The governance report: what the stream is allowed to do, did, refused and keeps, on one page."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from model_serving.card import Figure, ModelCard, read_card
from model_serving.gaps import KINDS, exception_for, explain_gaps, largest_gaps
from pipelines.access.audit import verify
from pipelines.access.roles import read_roles
from pipelines.config import Config
from pipelines.govern.doubts import configuration_doubts
from pipelines.show.escapes import escape_controls
from pipelines.show.markdown import markdown_table
from pipelines.tables.query import open_tables, query, standing
from pipelines.tables.schedule import dues
from schemas.errors import AffectstreamError
from transforms.gating.policy import Policy, read_policy
from transforms.gating.rules import Rule

LEAST: int = 20
"""People below which no number of them is shown for a group."""

Now = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, sentences, and a table."""

    title: str
    notes: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def governance(config: Config, now: Now = lambda: dt.datetime.now(dt.UTC)) -> list[Section]:
    """Return the sections of the report, of the tables that stand and the files that are there.

    Raises:
        AffectstreamError: policy, roles or a card cannot be read.
    """
    tables = open_tables(config.tables) if standing(config.tables) else {}
    today = now().date()
    return [
        _policy(config, today),
        _refusals(config, tables),
        _consents(config, tables),
        _erasures(config, tables),
        _retention(config, tables, today),
        _budget(config),
        _models(config, today),
        _roles(config),
        _audit(config),
    ]


def print_governance(sections: Sequence[Section], console: Console) -> None:
    """Print the report on a terminal."""
    for section in sections:
        console.print(Text(section.title), style="bold")
        for note in section.notes:
            console.print(Text(escape_controls(note)))
        if section.rows:
            grid = Grid(*section.head, box=SIMPLE_HEAD, pad_edge=False)
            for row in section.rows:
                grid.add_row(*(Text(escape_controls(cell), overflow="fold") for cell in row))
            console.print(grid)
        console.print()


def write_governance(sections: Sequence[Section], out: Path, day: dt.date) -> Path:
    """Write the report as one page of Markdown.

    Raises:
        AffectstreamError: it cannot be written.
    """
    parts = [f"# Governance report, {day}"]
    for section in sections:
        parts += [f"## {section.title}", *map(escape_controls, section.notes)]
        if section.rows:
            cells = [[escape_controls(c).replace("|", "\\|") for c in row] for row in section.rows]
            parts.append(markdown_table(section.head, cells))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    except OSError as error:
        message = f"cannot write {out} ({error.strerror}): name another file as --out"
        raise AffectstreamError(message) from error
    return out


def _policy(config: Config, today: dt.date) -> Section:
    policy = read_policy(config.policy, config.scenarios, config.evidence)
    rows = [
        [
            _evidence_state(rule, policy, today) or _state(rule.since, rule.until, today),
            rule.verdict,
            rule.article,
            "–" if rule.since == dt.date.min else str(rule.since),
            "–" if rule.until == dt.date.max else str(rule.until),
        ]
        for rule in policy.rules
    ]
    ahead = sorted(
        {day for rule in policy.rules for day in (rule.since, rule.until) if today < day}
        - {dt.date.max}
    )
    following = ", ".join(map(str, ahead)) or "none is known"
    note = f"{policy.version}: {sum(row[0] == 'in force' for row in rows)} of {len(rows)} rows are "
    notes = [
        f"{note}in force on {today}. Next changes: {following}. What no row allows is refused.",
        *(
            f"On record as {name}, from {given.since} until {given.until}: {given.reference}."
            for name, given in sorted(policy.evidence.items())
        ),
        *(f"Decide on this: {doubt}." for doubt in configuration_doubts(config, today)),
    ]
    return Section("Policy", notes, ["state", "verdict", "article", "since", "until"], rows)


def _evidence_state(rule: Rule, policy: Policy, today: dt.date) -> str | None:
    """Say whether a rule in force does not hold today, since all evidence for it is on record."""
    given = [policy.evidence.get(name) for name in rule.unless]
    there = bool(given) and all(each and each.since <= today <= each.until for each in given)
    in_force = _state(rule.since, rule.until, today) == "in force"
    return "lifted by evidence" if there and in_force else None


def _state(since: dt.date, until: dt.date, today: dt.date) -> str:
    if today < since:
        return "to come"
    return "in force" if today <= until else "over"


def _refusals(config: Config, tables: dict[str, DeltaTable]) -> Section:
    found = _rows(
        config,
        tables,
        "refusals",
        "SELECT article, code, count(*) AS n, min(event_date) AS first, max(event_date) AS last "
        "FROM refusals GROUP BY 1, 2 ORDER BY n DESC, 1, 2",
    )
    rows = [[r["article"] or "–", r["code"], f"{r['n']:,}", *_days(r)] for r in found]
    return _counted("Refusals by article", "refusals", tables, rows,
                    ["article", "code", "events", "first", "last"])  # fmt: skip


def _consents(config: Config, tables: dict[str, DeltaTable]) -> Section:
    known = {field.name for field in tables["consent_ledger"].schema().fields} if (
        "consent_ledger" in tables) else set()  # fmt: skip
    guardian = "count(DISTINCT CASE WHEN given_by = 'guardian' THEN person_ref END)"
    found = _rows(
        config,
        tables,
        "consent_ledger",
        "SELECT purpose, action, count(DISTINCT person_ref) AS people, "
        f"{guardian if 'given_by' in known else '0'} AS guardian, "
        "min(event_date) AS first, max(event_date) AS last "
        "FROM consent_ledger GROUP BY 1, 2 ORDER BY 1, 2",
    )
    rows = [
        [r["purpose"], r["action"], _people(r["people"]), _people(r["guardian"]), *_days(r)]
        for r in found
    ]
    head = ["purpose", "said", "people", "by a guardian", "first", "last"]
    section = _counted("Consents", "consent_ledger", tables, rows, head)
    note = f"People who ever said so; a number under {LEAST} is not shown."
    return Section(section.title, [*section.notes, note], section.head, section.rows)


def _people(count: int) -> str:
    """Return how many people a group has, unless they are so few that they could be known."""
    return f"{count:,}" if count == 0 or count >= LEAST else f"under {LEAST}"


def _erasures(config: Config, tables: dict[str, DeltaTable]) -> Section:
    found = _rows(
        config,
        tables,
        "erasures",
        "SELECT requested_at, completed_at FROM erasures ORDER BY requested_at DESC",
    )
    rows = [
        [
            f"{row['requested_at']:%Y-%m-%d %H:%M:%S}",
            "open" if row["completed_at"] is None else f"{row['completed_at']:%Y-%m-%d %H:%M:%S}",
            "–" if row["completed_at"] is None else str(row["completed_at"] - row["requested_at"]),
        ]
        for row in found
    ]
    return _counted("Erasures", "erasures", tables, rows, ["requested", "completed", "took"])


def _retention(config: Config, tables: dict[str, DeltaTable], today: dt.date) -> Section:
    rows = []
    for due in dues(tables, config.retention):
        limit = due.limit
        days = "as proof" if limit.days is None else f"{limit.days} days"
        late = "" if due.delete_on is None or due.delete_on > today else ", due now"
        rows.append(
            [
                limit.table,
                limit.modality or "all",
                days,
                limit.reason,
                str(due.oldest or "–"),
                f"{due.delete_on or '–'}{late}",
            ]
        )
    note = "`affectstream maintain` deletes what is due; its days also stand in the tables."
    head = ["table", "modality", "kept", "why", "oldest row", "next deletion"]
    return Section("Retention", [note], head, rows)


def _budget(config: Config) -> Section:
    """Say where the budget of aggregates stands, which has a file of its own."""
    title = "Privacy budget"
    try:
        file = config.aggregates.ledger_file(config.tables)
    except AffectstreamError as error:
        return Section(title, [str(error)])
    if not file.is_file():
        note = f"No aggregate has been asked for: there is no {file}, so no budget is spent."
        return Section(title, [note])
    notes = [f"Aggregates were asked for: {file} has every question and what it cost."]
    if find_spec("dp_accounting") and find_spec("opendp"):
        from pipelines.aggregate.budget import budget_sentences  # noqa: PLC0415

        notes += budget_sentences(config.tables, config.aggregates)
    else:
        notes.append("What is left needs affectstream[aggregates] to be computed.")
    return Section(title, notes)


def _models(config: Config, today: dt.date) -> Section:
    cards = {name: read_card(path) for name, path in config.models.cards().items()}
    rows = [_model_row(config, name, card, today) for name, card in cards.items()]
    constant = sorted({"text", "voice", "face", "motion"} - cards.keys())
    notes = [
        f"A gap between groups of people over {config.models.max_gap:g}, or none on the card, "
        "refuses a model unless an exception holds. Figures are the largest on the card, with "
        "their 95 % interval."
    ]
    notes += [f"{name} has no model: `constant` answers without looking." for name in constant]
    for name, card in cards.items():
        if found := exception_for(card, config.models.gaps):
            notes.append(
                f"Exception for {name}, until {found.until}, by {found.by}: {found.reason}"
            )
    head = ["part", "model", "licence", *(f"gap in {what}" for what in KINDS.values()), "runs"]
    return Section("Models", notes, head, rows)


def _model_row(config: Config, name: str, card: ModelCard, today: dt.date) -> list[str]:
    gaps = largest_gaps(card)
    refused = explain_gaps(card, config.models.gaps, lambda: today)
    excepted = exception_for(card, config.models.gaps)
    runs = "no" if refused else f"by exception until {excepted.until}" if excepted else "yes"
    return [name, card.model_id, card.licence, *(_gap(gaps.get(m)) for m in KINDS), runs]


def _gap(figure: Figure | None) -> str:
    if figure is None:
        return "not measured"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}), {figure.split}"


def _roles(config: Config) -> Section:
    roles = read_roles(config.access.roles)
    rows = [
        [
            name,
            role.description,
            ", ".join(role.tables) or "–",
            ", ".join(sorted(role.api)) or "–",
            ", ".join(sorted(role.page)) or "–",
        ]
        for name, role in roles.roles.items()
    ]
    head = ["role", "what for", "tables and views", "pages of the API", "views of the page"]
    return Section("Roles", [f"{roles.version}; what is not listed is refused."], head, rows)


def _audit(config: Config) -> Section:
    folder = config.access.audit_folder(config.tables)
    found = verify(folder)
    if not found.lines:
        return Section("Audit", [f"No reading stands in {folder}."])
    sound = "the chain is whole" if not found.problems else "; ".join(found.problems)
    head = f"Head: line {found.head.number}, {found.head.hash}. Note it elsewhere."
    return Section("Audit", [f"{found.lines:,} lines in {folder}: {sound}.", head])


def _rows(
    config: Config, tables: dict[str, DeltaTable], table: str, sql: str
) -> list[dict[str, Any]]:
    return query(config.tables, sql).to_pylist() if table in tables else []


def _counted(
    title: str,
    table: str,
    tables: dict[str, DeltaTable],
    rows: Sequence[Sequence[str]],
    head: Sequence[str],
) -> Section:
    if table not in tables:
        return Section(title, [f"No table {table} stands here."])
    return Section(title, [] if rows else [f"The table {table} is empty."], head, rows)


def _days(row: dict[str, Any]) -> Iterator[str]:
    return (str(row[name]) for name in ("first", "last"))
