"""Rules of a scenario policy: what follows where a state is shown, and what is wrong with rules."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import combinations
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from schemas.strict import Frozen, PlacedError, suggest
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.actions import action_kinds, read_as
from transforms.deciding.states import (
    MOST_WINDOWS,
    Problem,
    State,
    envelope,
    refuse_boolean,
    refuse_unseen_context,
)
from transforms.decoding.aliases import aliases, known_name

CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADULTS: Final = frozenset({"adult"})


class Consequence(Frozen):
    """What follows where something was shown for ``after`` windows in a row.

    ``at_once`` names context fields and values with which it follows in the first window, such as
    ``{game_result: lost}``; all of them must be there. Of rules that may follow in one window the
    one with the greatest ``priority`` does. With ``needs_person`` nobody may act before a person
    has looked; where it is not said, that is so in high-stakes scenarios.
    """

    action: str
    after: int = Field(ge=1, le=MOST_WINDOWS)
    reply: str | None = None
    at_once: Mapping[str, str] = Field(default_factory=dict)
    priority: int | None = Field(default=None, ge=0, le=1000)
    needs_person: bool | None = None

    @field_validator("after", "priority", mode="before")
    @classmethod
    def _is_a_number(cls, given: Any) -> Any:
        return refuse_boolean(given)

    @field_validator("action", "reply")
    @classmethod
    def _is_a_code(cls, given: str | None) -> str | None:
        if given is not None and not CODE.fullmatch(given):
            message = f"{given!r} is no code: write a letter or digit, then also `_`, `.` or `-`"
            raise ValueError(message)
        return given

    @field_validator("at_once", mode="before")
    @classmethod
    def _rules_see_what_is_asked_for(cls, given: Any) -> Any:
        return refuse_unseen_context(given)


class ShortRule(Consequence):
    """The rule of one scenario for one held expression; its id is ``scenario.expression``."""

    @model_validator(mode="before")
    @classmethod
    def _explain_old_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and "at_once_after" in given:
            message = f"write at_once: {{game_result: {given['at_once_after']}}} for at_once_after"
            raise ValueError(message)
        return given


class Rule(Consequence):
    """What follows in some scenarios where a state, or a held expression, is shown.

    ``context`` are values of context fields that must be told; where one is not told the rule does
    not follow, and the decision says so. It follows from the day ``since`` to the day ``until`` of
    event time, both included, and only for the purposes and age bands that it names, if any.
    """

    id: str
    scenarios: frozenset[str] = Field(min_length=1)
    state: str
    after: int = Field(default=1, ge=1, le=MOST_WINDOWS)
    context: Mapping[str, str] = Field(default_factory=dict)
    purposes: frozenset[str] | None = Field(default=None, min_length=1)
    age_bands: frozenset[str] | None = Field(default=None, min_length=1)
    since: date = date.min
    until: date = date.max

    @model_validator(mode="before")
    @classmethod
    def _answer_is_said(cls, given: Any) -> Any:
        if isinstance(given, dict) and "reply" not in given:
            message = "the reply is missing: name one of `replies`, or write `reply: null` for none"
            raise ValueError(message)
        return given

    @field_validator("id")
    @classmethod
    def _is_an_id(cls, given: str) -> str:
        if not _ID.fullmatch(given):
            message = f"{given!r} is no id: write up to 64 letters, digits, `_`, `.` or `-`"
            raise ValueError(message)
        return given

    @field_validator("context", mode="before")
    @classmethod
    def _context_can_be_told(cls, given: Any) -> Any:
        return refuse_unseen_context(given)

    @model_validator(mode="after")
    def _can_follow(self) -> "Rule":
        if self.since > self.until:
            message = f"since {self.since} is after until {self.until}: swap or correct them"
            raise PlacedError(message, "since")
        bands = set(aliases("ageband").values())
        for unknown in sorted((self.age_bands or frozenset()) - bands):
            message = f"age_bands lists {unknown!r}, which is none: {suggest(unknown, bands)}"
            raise PlacedError(message, "age_bands")
        for name in sorted(self.purposes or ()):
            if (read_as_other := known_name("purpose", name)) not in (None, name):
                message = f"events of {name!r} are read as {read_as_other}: write it so"
                raise PlacedError(message, "purposes")
        return self

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last day on which it follows, counted from 1970."""
        first = date(1970, 1, 1)
        return (self.since - first).days, (self.until - first).days


def lengthen(scenario: str, expression: str, short: ShortRule) -> Rule:
    """Return a short rule as one that says everything."""
    given = {name: getattr(short, name) for name in Consequence.model_fields}
    return Rule.model_construct(
        id=f"{'-'.join(scenario.split())}.{expression}",
        scenarios=frozenset([scenario]),
        state=expression,
        **given,
    )


Placed = tuple[Rule, tuple[str | int, ...]]
"""A rule, and the names that lead to it in the file."""


def find_rule_problems(
    rules: Sequence[Placed],
    states: Mapping[str, State],
    replies: frozenset[str] | None,
    high_stakes: frozenset[str],
) -> Iterator[Problem]:
    """Yield what is wrong with rules by themselves; ``replies`` are None where none are listed."""
    seen: set[str] = set()
    for rule, place in rules:
        if rule.id in seen:
            yield f"the id {rule.id} stands twice: give each rule its own", (*place, "id")
        seen.add(rule.id)
        known = {*EXPRESSIONS, *states}
        if rule.state not in known:
            message = f"{rule.id} waits for the state {rule.state!r}, which is not defined: "
            yield message + suggest(rule.state, known), (*place, "state")
        listed = frozenset() if replies is None and place[0] == "rules" else replies
        if rule.reply is not None and listed is not None and rule.reply not in listed:
            message = f"{rule.id} gives the reply {rule.reply!r}, which `replies` does not list: "
            near = suggest(rule.reply, listed) if listed else "list it"
            yield message + near, (*place, "reply")
        if stakes := sorted(rule.scenarios & high_stakes) if rule.needs_person is False else []:
            message = (
                f"{rule.id} acts alone in {stakes[0]}, where the stakes are high: leave out "
                "`needs_person: false`"
            )
            yield message, (*place, "needs_person")
        yield from ((said, (*place, "action")) for said in _action_problems(rule))


def _action_problems(rule: Rule) -> Iterator[str]:
    kinds = action_kinds()
    for kind in ("forbidden", "revealing"):
        if word := read_as(rule.action, kind):
            yield (
                f"{rule.id} asks for {rule.action}, whose `{word}` says that it {kinds[kind].why}: "
                f"{kinds[kind].cure}"
            )
    word = read_as(rule.action, "nudging")
    if word and (rule.age_bands is None or not rule.age_bands <= _ADULTS):
        yield (
            f"{rule.id} may nudge a minor: the `{word}` of {rule.action} says that it "
            f"{kinds['nudging'].why}: {kinds['nudging'].cure}"
        )


def find_overlaps(rules: Sequence[Placed], states: Mapping[str, State]) -> Iterator[Problem]:
    """Yield which rules may follow in one window without saying which of them does."""
    envelopes = {rule.state: envelope(states, rule.state) for rule, _ in rules}
    for (one, _), (other, place) in combinations(rules, 2):
        apart = one.priority is not None and other.priority is not None
        if apart and one.priority != other.priority:
            continue
        if _share_cases(one, other) and envelopes[one.state].meets(envelopes[other.state]):
            where = ", ".join(sorted(one.scenarios & other.scenarios))
            message = (
                f"{one.id} and {other.id} may both follow in {where}: give each a `priority` of "
                "its own, the greater one to the rule that goes before"
            )
            yield message, place


def _share_cases(one: Rule, other: Rule) -> bool:
    """Return whether some window may be of both rules, whatever it shows."""
    shared = one.context.keys() & other.context.keys()
    return (
        bool(one.scenarios & other.scenarios)
        and _meet(one.purposes, other.purposes)
        and _meet(one.age_bands, other.age_bands)
        and max(one.since, other.since) <= min(one.until, other.until)
        and all(one.context[name] == other.context[name] for name in shared)
    )


def _meet(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return one is None or other is None or bool(one & other)
