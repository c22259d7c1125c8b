"""Writes the pages of the reference that follow from the code; mkdocs runs it at each build."""

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mkdocs_gen_files
from tabulate import tabulate

from pipelines import config_reference
from pipelines.config import POLICIES
from pipelines.observe.catalogue import API, LIVE
from pipelines.tables.analyst_views import VIEWS, View, tables_of
from pipelines.tables.dictionary import Entry, dictionary, markdown
from schemas.errors import DeadLetterCode, QualityCode, RefusalCode
from schemas.logs.events import LogEvent
from schemas.media.formats import FormatCode
from schemas.table import Table
from schemas.tables import TABLES
from transforms.deciding.actions import action_table
from transforms.deciding.rules import Rule as ScenarioRule
from transforms.deciding.scenarios import read_scenarios
from transforms.deciding.states import State
from transforms.gating.classes import protected_classes
from transforms.gating.policy import read_policy
from transforms.gating.rules import DIMENSIONS, Conditions, Rule

ROOT = Path(__file__).resolve().parent.parent
CARDS = ROOT / "model_serving" / "weights"

Pages = list[tuple[str, str]]
"""Title and place of each page."""

CODES = (
    (DeadLetterCode, "Dead letters", "Records that could not be read, judged or processed."),
    (FormatCode, "Formats", "Dead letters of what is no media that the topic takes."),
    (RefusalCode, "Refusals", "Events that law or consent kept from any inference."),
    (LogEvent, "Log events", "The `event` of a line of the structured log."),
    (QualityCode, "Quality", "What lowered the confidence of an observation (`quality`)."),
)


def tables_page() -> str:
    """Return the dictionary: a section for each Delta table and for each view of them."""
    entries = {entry.name: entry for entry in dictionary()}
    parts = ["# Tables", _TABLES]
    parts += [_section(entries[table.name], _table_facts(table)) for table in TABLES.values()]
    parts += [_section(entries[view.name], _view_facts(view)) for view in VIEWS.values()]
    return "\n\n".join(parts)


_TABLES = (
    "Delta tables, partitioned by `event_date`, and views of them that a [query]"
    "(../how-to/query.md) knows beside the tables. `affectstream describe NAME` prints the same "
    "with examples from your tables. Ranges are what `affectstream check` expects."
)


def _section(entry: Entry, facts: str) -> str:
    description = entry.description[0].upper() + entry.description[1:]
    return "\n\n".join([f"## {entry.name}", f"{description}.", facts, markdown(entry)])


def _table_facts(table: Table) -> str:
    days = table.retention_days
    kept = "kept as proof" if days is None else f"kept for {days} days"
    return (
        f"Row id: `{table.row_id}`. Owner: {table.owner}; {kept} ({table.retention_reason}). "
        f"Schema version {table.version}."
    )


def _view_facts(view: View) -> str:
    return f"A view of {', '.join(f'`{name}`' for name in tables_of(view))}."


def codes_page() -> str:
    """Return every stable code with what it means and what to do about it."""
    parts = ["# Codes", "The codes are stable: dashboards may depend on them."]
    for codes, title, introduction in CODES:
        rows = [[f"`{code}`", code.meaning, code.cure] for code in codes]
        table = _table(rows, ["code", "what it means", "what to do"])
        parts += [f"## {title}", introduction, table]
    return "\n\n".join(parts)


def policy_page() -> str:
    """Return the shipped policy: its rules in order, what it asks of consents, the classes."""
    policy = read_policy(POLICIES / "gate.yaml")
    rules = [
        [str(number), rule.code or "allowed", rule.article, _conditions(rule), _days(rule)]
        for number, rule in enumerate(policy.rules, 1)
    ]
    needs = [[rule.needs, rule.article, _conditions(rule), _days(rule)] for rule in policy.consent]
    classes = [
        [name, f"`{each.scenario}`", ", ".join(each.words), ", ".join(each.parts)]
        for name, each in protected_classes().items()
    ]
    lists = [[name.replace("_", " "), _names(getattr(policy, name))] for name in DIMENSIONS]
    return "\n\n".join(
        [
            "# Policy",
            f"The policy table that ships, `{policy.version}`. Not legal advice. The first rule "
            "that matches decides; what no list names is refused. Days are those of event time, "
            "and of record time, too, where that is more than a minute later.",
            _table(lists, ["dimension", "listed"]),
            "## Rules",
            _table(rules, ["rule", "verdict", "article", "for", "days"]),
            "## Consent",
            "What a grant must be: of a *guardian*, with a notice of its own (*release*), or one "
            "that names purpose and modality themselves (*separate*).",
            _table(needs, ["needs", "article", "for", "days"]),
            "## Classes",
            "What reads as a class by its scenario, purpose or scene is judged as the class's "
            "scenario, too.",
            _table(classes, ["class", "judged as", "whole words", "anywhere in a name"]),
        ]
    )


def scenarios_page() -> str:
    """Return the shipped scenario policy: its states, its rules by scenario, what it refuses."""
    policy = read_scenarios(POLICIES / "scenarios.yaml")
    states = [
        [f"`{name}`", state.shows, _pattern(state), str(state.windows)]
        for name, state in policy.states.items()
    ]
    rules = [
        [
            name,
            f"`{rule.id}`",
            f"`{rule.state}`",
            str(rule.after),
            _also(rule),
            f"`{rule.action}`",
            f"`{rule.reply}`" if rule.reply else "",
            str(rule.priority or ""),
        ]
        for name in sorted({name for rule in policy.all_rules for name in rule.scenarios})
        for rule in policy.all_rules
        if name in rule.scenarios
    ]
    table = action_table()
    effects = [
        [
            f"`{name}`",
            effect.does,
            effect.seen_by,
            "adults alone" if effect.adults_only else "everybody",
            "yes" if effect.declarable else "no",
            _names(frozenset(action for action, its in table.actions.items() if its == name)),
        ]
        for name, effect in table.effects.items()
    ]
    kinds = [[name, kind.why, kind.cure] for name, kind in table.words.items()]
    heads = ["scenario", "rule", "shown", "windows", "only", "action", "reply", "priority"]
    return "\n\n".join(
        [
            "# Scenario policy",
            f"The scenario policy that ships, `{policy.version}`; [how to write one](../how-to/"
            "scenario.md). A person looks before anybody acts in "
            f"{_names(policy.of_high_stakes)}.",
            "## States",
            "Patterns in what was shown: none of them says what anybody feels.",
            _table(states, ["state", "what is shown", "the pattern", "windows in a row"]),
            "## Rules",
            _table(rules, heads),
            "## Actions",
            "An action is one of these, or is declared with one of the effects that may be.",
            _table(effects, ["effect", "what it does", "seen by", "for", "declarable", "actions"]),
            "The names of declared actions and of replies are read, too; refused is what says that "
            "it does one of these.",
            _table(kinds, ["kind", "what it does", "what to do"]),
        ]
    )


def _pattern(state: State) -> str:
    parts = [_names(state.expressions)] if state.expressions else []
    for name, bounds in state.where.items():
        low = "" if bounds.at_least is None else f"{bounds.at_least:g} ≤ "
        high = "" if bounds.at_most is None else f" ≤ {bounds.at_most:g}"
        parts.append(f"{low}{name}{high}")
    parts += [f"{name}: {value}" for name, value in state.context.items()]
    parts += [f"all of {', '.join(state.all_of)}"] if state.all_of else []
    parts += [f"any of {', '.join(state.any_of)}"] if state.any_of else []
    return "; ".join(parts)


def _also(rule: ScenarioRule) -> str:
    """Return what else has to be so: context, people, purposes, days."""
    parts = [f"{name}: {value}" for name, value in rule.context.items()]
    parts += [f"or at once {name}: {value}" for name, value in rule.at_once.items()]
    parts += [_names(names) for names in (rule.age_bands, rule.purposes) if names]
    days = f"{rule.since} to {rule.until}"
    return "; ".join([*parts, *([days] if rule.until < dt.date.max else [])])


def _conditions(rule: Conditions) -> str:
    named = {name.replace("_", " "): getattr(rule, name) for name in DIMENSIONS}
    named |= {"purposes but": rule.not_purposes}
    told = [f"{name}: {_names(values)}" for name, values in named.items() if values]
    told += ["biometric"] if rule.biometric else []
    if isinstance(rule, Rule):
        told += ["without a notice"] if rule.noticed is False else []
        told += [f"unless on record: {_names(rule.unless)}"] if rule.unless else []
    return "; ".join(told) or "everything"


def _names(names: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _days(rule: Conditions) -> str:
    since = f"from {rule.since}" if rule.since > dt.date.min else ""
    until = f"to {rule.until}" if rule.until < dt.date.max else ""
    return f"{since} {until}".strip() or "all"


def metrics_page() -> str:
    """Return every metric by its name in Prometheus, with labels and meaning."""
    parts = ["# Metrics", "Their names and labels are stable: dashboards may depend on them."]
    for metrics, title in ((LIVE, "Of a live job"), (API, "Of the HTTP API")):
        rows = [
            [f"`{m.exported}`", m.kind, ", ".join(f"`{name}`" for name in m.labels), m.description]
            for m in metrics
        ]
        parts += [f"## {title}", _table(rows, ["metric", "kind", "labels", "what it says"])]
    return "\n\n".join(parts)


def commands_page() -> str:
    """Return what typer itself writes about the command line."""
    command = [sys.executable, "-m", "typer", "pipelines.cli.main", "utils", "docs"]
    done = subprocess.run(
        [*command, "--name", "affectstream"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.replace("# `affectstream`", "# Commands", 1)


def configuration_page() -> str:
    """Return every setting by its dotted name, with type, default, allowed values and meaning."""
    introduction = (
        "A YAML file that is given as `--config`; what it does not name has its default. "
        "`affectstream config` prints the whole of it, `--explain` says what this page says, and "
        "`affectstream config --check FILE` says what is wrong with a file and what it names."
    )
    return "\n\n".join(["# Configuration", introduction, config_reference.markdown()])


def cards_page() -> str:
    """Return the cards of all shipped models, one below the other."""
    paths = sorted(CARDS.glob("*/CARD.md"))
    cards = [path.read_text(encoding="utf-8").replace("\n#", "\n##") for path in paths]
    return "\n\n".join(["# Model cards", *(f"#{card}" for card in cards)])


def list_page(title: str, folder: str, introduction: str) -> str:
    """Return links to all pages of a folder, each by its first heading, the newest name last."""
    pages = sorted((ROOT / "docs" / folder).glob("[0-9]*.md"))
    links = [f"- [{_heading(page)}]({page.name})" for page in pages]
    return "\n\n".join([f"# {title}", introduction, "\n".join(links)])


def _heading(page: Path) -> str:
    return page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def llms_txt(written: dict[str, str]) -> str:
    """Return the list of all pages for language models, as https://llmstxt.org describes it."""
    parts = ["# affectstream", f"> {_first_paragraph(written['index.md'])}"]
    for title, pages in _sections(mkdocs_gen_files.config["nav"]):
        lines = [
            f"- [{name}]({place.removesuffix('.md')}.html): {_first_paragraph(written[place])}"
            for name, place in pages
        ]
        parts.append("\n".join([f"## {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _sections(nav: list[dict[str, str | list[dict[str, str]]]]) -> Iterator[tuple[str, Pages]]:
    """Yield the sections of the navigation; pages that stand alone come first, as one."""
    entries = [item for entry in nav for item in entry.items()]
    yield "Pages", [(name, place) for name, place in entries if isinstance(place, str)]
    for name, below in entries:
        if not isinstance(below, str):
            yield name, [item for entry in below for item in entry.items()]


def _first_paragraph(page: str) -> str:
    """Return the first paragraph of text in one line."""
    for part in page.split("\n\n"):
        if part[:1].isalpha():
            return " ".join(part.split())
    return ""


def _table(rows: list[list[str]], headers: list[str]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(escaped, headers, tablefmt="github", disable_numparse=True)


def pages() -> dict[str, str]:
    """Return each generated page by its place in the site."""
    return {
        "reference/tables.md": tables_page(),
        "reference/codes.md": codes_page(),
        "reference/policy.md": policy_page(),
        "reference/scenarios.md": scenarios_page(),
        "reference/metrics.md": metrics_page(),
        "reference/commands.md": commands_page(),
        "reference/configuration.md": configuration_page(),
        "models/cards.md": cards_page(),
        "benchmarks/index.md": list_page(
            "Figures",
            "benchmarks",
            "Each page says when, on which machine and by which command it was measured. The "
            "newest figures also stand as JSON in `docs/benchmarks/latest`.",
        ),
        "adr/index.md": list_page(
            "Decisions", "adr", "One record for each choice that would be hard to undo."
        ),
    }


def _write() -> None:
    made = pages()
    by_hand = sorted((ROOT / "docs").rglob("*.md"))
    written = {str(p.relative_to(ROOT / "docs")): p.read_text(encoding="utf-8") for p in by_hand}
    written |= made
    made["llms.txt"] = llms_txt(written)
    made["llms-full.txt"] = "\n\n".join(written.values())
    for place, text in made.items():
        with mkdocs_gen_files.open(place, "w") as file:
            file.write(text)


_write()
