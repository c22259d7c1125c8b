"""Everything that is wrong with a scenario policy, and whether the gate lets its scenarios pass."""

from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from schemas.errors import AffectstreamError
from schemas.strict import explain_all_invalid, line_of, parse_yaml, read_text, suggest
from transforms.deciding.scenarios import ScenarioPolicy, read_scenarios
from transforms.deciding.states import Problem
from transforms.gating.policy import Policy, read_policy


def find_problems(path: Path, gate: Path) -> list[str]:
    """Return what is wrong with a scenario policy, a sentence each, with the lines of the file.

    ``gate`` is the policy table of the purpose gate: a rule for what the gate refuses never
    follows.
    """
    problems: list[Problem] = []
    try:
        text = read_text(path)
        policy = ScenarioPolicy.model_validate(parse_yaml(text), context=problems)
    except ValidationError as error:
        return list(explain_all_invalid(error, path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return [_unreadable(path)]
    if not problems:
        try:
            problems.extend(_unreachable(policy, read_policy(gate, path)))
        except AffectstreamError as error:
            return [str(error)]
    return [f"line {line_of(text, place)}: {said}" for said, place in problems]


def _unreadable(path: Path) -> str:
    try:
        read_scenarios(path)
    except AffectstreamError as error:
        return str(error)
    return f"{path} has changed while it was read: check it again"


def _unreachable(policy: ScenarioPolicy, gate: Policy) -> Iterator[Problem]:
    """Yield the scenarios and purposes of rules that no event has which passes the gate."""
    passing = gate.scenarios | gate.judged_as.keys()
    for name in policy.scenarios:
        if name not in passing:
            yield _refused(name), ("scenarios", name)
    for number, rule in enumerate(policy.rules):
        for name in sorted(rule.scenarios - passing):
            yield _refused(name), ("rules", number, "scenarios")
        for name in sorted((rule.purposes or frozenset()) - gate.purposes):
            hint = suggest(name, gate.purposes)
            yield f"the gate knows no purpose {name!r}: {hint}", ("rules", number, "purposes")


def _refused(name: str) -> str:
    return (
        f"the gate refuses every event of {name!r}, which it does not list: say in "
        "`judged_as` as which of its scenarios it is judged"
    )
