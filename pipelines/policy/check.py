"""Everything that is wrong with a scenario policy, and which of its rules will never follow."""

from collections.abc import Iterator
from datetime import date
from itertools import product
from pathlib import Path

import yaml
from pydantic import ValidationError

from schemas.errors import AffectstreamError
from schemas.strict import explain_all_invalid, line_of, parse_yaml, read_text, suggest
from transforms.deciding.rules import Rule, find_shadowed
from transforms.deciding.scenarios import ScenarioPolicy, read_scenarios
from transforms.deciding.states import Problem, in_order
from transforms.gating.policy import Policy, read_policy
from transforms.gating.rules import Case


def find_problems(path: Path, gate: Path) -> list[str]:
    """Return what is wrong with a scenario policy, a sentence each, with file and line.

    ``gate`` is the policy table of the purpose gate.
    """
    problems: list[Problem] = []
    try:
        text = read_text(path)
        policy = ScenarioPolicy.model_validate(parse_yaml(text), context=problems)
    except ValidationError as error:
        return [f"{path}: {said}" for said in explain_all_invalid(error, path)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return [_unreadable(path)]
    if not problems:
        try:
            problems.extend(_find_contradictions(policy, read_policy(gate, path)))
        except AffectstreamError as error:
            return [str(error)]
    return [f"{path}: line {line_of(text, place)}: {said}" for said, place in problems]


def find_warnings(path: Path, gate: Path, today: date) -> list[str]:
    """Return what of a sound policy has no effect, a sentence each, with file and line."""
    policy, table = read_scenarios(path), read_policy(gate, path)
    text = read_text(path)
    found = [*_waiting(policy, table), *_dead(policy, table, today), *_unused(policy)]
    return [f"{path}: line {line_of(text, place)}: {said}" for said, place in found]


def _unreadable(path: Path) -> str:
    try:
        read_scenarios(path)
    except AffectstreamError as error:
        return str(error)
    return f"{path} has changed while it was read: check it again"


def _find_contradictions(policy: ScenarioPolicy, gate: Policy) -> Iterator[Problem]:
    """Yield where a policy takes the gate for another one than it is."""
    for rule, place in policy.placed_rules():
        for name in sorted(rule.scenarios - policy.of_high_stakes):
            if (other := gate.judged_as.get(name)) in policy.of_high_stakes:
                message = f"the gate judges {name} as {other}, where the stakes are high: "
                yield message + f"list {name} in `high_stakes`", place
        for name in sorted((rule.purposes or frozenset()) - gate.purposes):
            hint = suggest(name, gate.purposes)
            yield f"the gate knows no purpose {name!r}: {hint}", (*place, "purposes")


def _waiting(policy: ScenarioPolicy, gate: Policy) -> Iterator[Problem]:
    """Yield the scenarios whose rules wait until the gate lets events of them pass."""
    passing = gate.scenarios | gate.judged_as.keys()
    ids: dict[str, list[str]] = {}
    places: dict[str, tuple[str | int, ...]] = {}
    for rule, place in policy.placed_rules():
        for name in sorted(rule.scenarios - passing):
            ids.setdefault(name, []).append(rule.id)
            places.setdefault(name, place)
    for name, waiting in ids.items():
        message = (
            f"the gate refuses every event of {name!r}, which it does not list, so that "
            f"{', '.join(waiting)} wait there: to open it, say in `judged_as` as which of its "
            "scenarios it is judged"
        )
        yield message, places[name]


def _dead(policy: ScenarioPolicy, gate: Policy, today: date) -> Iterator[Problem]:
    """Yield rules that do not follow any more, or never."""
    places = {rule.id: place for rule, place in policy.placed_rules()}
    for rule, first in find_shadowed(policy.all_rules):
        message = f"{rule.id} never follows: {first.id} goes before it wherever it might"
        yield message, places[rule.id]
    for rule, place in policy.placed_rules():
        if rule.until < today:
            yield f"{rule.id} follows no more: its `until` {rule.until} has passed", place
        elif (rule.purposes or rule.age_bands) and _is_refused(rule, gate, today):
            message = f"{rule.id} never follows: the gate refuses whatever it is about"
            yield message, place


def _is_refused(rule: Rule, gate: Policy, today: date) -> bool:
    """Return whether the gate refuses all cases of a rule, of scenarios that it lets pass."""
    scenarios = rule.scenarios & (gate.scenarios | gate.judged_as.keys())
    purposes, bands = rule.purposes or gate.purposes, rule.age_bands or gate.age_bands
    day = max(today, rule.since)
    cases = product(purposes, gate.regions, scenarios, bands, gate.modalities)
    return bool(scenarios) and all(gate.judge(Case(*case, day=day)) for case in cases)


def _unused(policy: ScenarioPolicy) -> Iterator[Problem]:
    asked = in_order(policy.states, [r.state for r in policy.all_rules if r.state in policy.states])
    for name in policy.states.keys() - asked:
        yield f"no rule asks for the state {name}", ("states", name)
    said = {rule.reply for rule in policy.all_rules}
    said |= {reminder.reply for reminder in policy.reminders}
    for reply in sorted((policy.replies or frozenset()) - said):
        yield f"no rule gives the reply {reply}", ("replies",)
