"""Scenario policy: what follows when an expression is held in a scenario."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from schemas.events import CODE, CONTEXT_FIELDS, FIELD_NAME
from schemas.strict import Frozen, PlacedError, read_yaml, suggest
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.reminders import Reminder
from transforms.decoding.aliases import aliases, known_name

MOST_WINDOWS: Final = 10_000  # 14 hours of windows of 5 s
_ACTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Rule(Frozen):
    """What follows when an expression was held for ``after`` windows in a row.

    ``at_once`` names context fields and values with which it follows in the first window, such as
    ``{game_result: lost}``; all of them must be there.
    """

    action: str
    after: int = Field(ge=1, le=MOST_WINDOWS)
    reply: str | None = None
    at_once: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _explain_old_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and "at_once_after" in given:
            message = f"write at_once: {{game_result: {given['at_once_after']}}} for at_once_after"
            raise ValueError(message)
        return given

    @field_validator("after", mode="before")
    @classmethod
    def _after_is_a_number(cls, given: Any) -> Any:
        if isinstance(given, bool):  # pydantic would take it for 0 or 1
            message = f"write a number of windows for {given}"
            raise ValueError(message)
        return given

    @field_validator("action", "reply")
    @classmethod
    def _is_a_code(cls, given: str | None) -> str | None:
        if given is not None and not _ACTION.fullmatch(given):
            message = f"{given!r} is no code: write a letter or digit, then also `_`, `.` or `-`"
            raise ValueError(message)
        return given

    @field_validator("at_once", mode="before")
    @classmethod
    def _rules_see_what_is_asked_for(cls, given: Any) -> Any:
        """A rule that asks for what never reaches it would never follow at once."""
        for name, value in given.items() if isinstance(given, dict) else ():
            if problem := _explain_unseen(name, value):
                raise ValueError(problem)
        return given


def _explain_unseen(name: Any, value: Any) -> str | None:
    """Say why no window can have this value of a context field, None where one can."""
    if name == "scene":
        return f"rules do not see `scene`: ask for {', '.join(CONTEXT_FIELDS)} or a field of yours"
    if not re.fullmatch(FIELD_NAME, str(name)):
        return f"{name!r} is no name of a context field: write it as `door_2`"
    if isinstance(value, bool):
        return f'YAML reads the value of {name} as {value}: quote what events say, such as "true"'
    if isinstance(value, str) and not re.fullmatch(CODE, value):
        return f"{name} is never {value!r}: write a value that fits {CODE}"
    return None


class ScenarioPolicy(Frozen):
    """Scenario → expression → rule; in high-stakes scenarios a person looks at weak estimates.

    ``judged_as`` says for a scenario that the purpose gate does not list as which of those that it
    lists the gate judges it: a new scenario needs no other file. ``reminders`` are of use, in
    whatever scenario.
    """

    version: str
    high_stakes: frozenset[str]
    scenarios: dict[str, dict[str, Rule]]
    judged_as: Mapping[str, str] = Field(default_factory=dict)
    reminders: tuple[Reminder, ...] = ()

    @model_validator(mode="after")
    def _names_are_those_of_events(self) -> "ScenarioPolicy":
        """A misspelt name would have no effect: what is weighty would go to nobody."""
        for part in ("scenarios", "judged_as"):
            for name in getattr(self, part):
                if problem := explain_scenario_name(name):
                    raise PlacedError(problem, part, name)
        known = {*self.scenarios, *self.judged_as, *aliases("scenario").values()}
        for unknown in sorted(self.high_stakes - known):
            hint = suggest(unknown, known)
            message = f"high_stakes names {unknown!r}, which scenarios does not list: {hint}"
            raise PlacedError(message, "high_stakes")
        return self

    @model_validator(mode="after")
    def _rules_are_for_expressions(self) -> "ScenarioPolicy":
        if not self.scenarios:
            message = "there is no scenario: write one with its rules"
            raise PlacedError(message, "scenarios")
        for name, rules in self.scenarios.items():
            if not rules:
                message = f"{name} has no rule: write one, or leave the scenario out"
                raise PlacedError(message, "scenarios", name)
            for unknown in sorted(rules.keys() - set(EXPRESSIONS)):
                message = f"{name} has a rule for {unknown!r}, which is no expression: "
                raise PlacedError(
                    message + suggest(unknown, EXPRESSIONS), "scenarios", name, unknown
                )
        return self


def explain_scenario_name(name: str) -> str | None:
    """Say why no event has this scenario once other spellings were read; None where one can."""
    if not name.strip():
        return "a scenario has an empty name: write the name that events give"
    if (read_as := known_name("scenario", name)) not in (None, name):
        return f"events of {name!r} are read as {read_as}: write `{read_as}`"
    return None


def read_scenarios(path: Path) -> ScenarioPolicy:
    """Read and check a scenario policy."""
    return read_yaml(path, ScenarioPolicy, "a scenario policy")
