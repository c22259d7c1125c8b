"""Scenario policy: what follows when an expression is held in a scenario."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from schemas.errors import AffectstreamError
from schemas.strict import Frozen, read_yaml
from schemas.vocabularies import EXPRESSIONS


class Rule(Frozen):
    """What follows when an expression was held for ``after`` windows in a row.

    ``at_once`` names context fields and values with which it follows in the first window, such as
    ``{game_result: lost}``; all of them must be there.
    """

    action: str
    after: int
    reply: str | None = None
    at_once: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _explain_old_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and "at_once_after" in given:
            message = f"write at_once: {{game_result: {given['at_once_after']}}} for at_once_after"
            raise ValueError(message)
        return given


class ScenarioPolicy(Frozen):
    """Scenario → expression → rule; in high-stakes scenarios a person looks at weak estimates.

    ``judged_as`` says for a scenario that the purpose gate does not list as which of those that it
    lists the gate judges it: a new scenario needs no other file.
    """

    version: str
    high_stakes: frozenset[str]
    scenarios: dict[str, dict[str, Rule]]
    judged_as: Mapping[str, str] = Field(default_factory=dict)


def read_scenarios(path: Path) -> ScenarioPolicy:
    """Read and check a scenario policy."""
    policy = read_yaml(path, ScenarioPolicy, "a scenario policy")
    unknown = {e for rules in policy.scenarios.values() for e in rules} - set(EXPRESSIONS)
    if unknown:
        message = f"{path} has rules for {sorted(unknown)}, which are no expressions"
        raise AffectstreamError(message)
    return policy
