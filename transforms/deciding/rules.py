"""Rules of a scenario policy: what follows where a state is shown, and what is wrong with rules."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import combinations
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from schemas.strict import Day, Frozen, PlacedError, suggest
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.actions import (
    MIRRORS,
    Code,
    Kind,
    action_table,
    effect_of,
    explain_action,
    read_as,
)
from transforms.deciding.envelopes import Envelope, explain_never, narrow
from transforms.deciding.states import (
    MOST_WINDOWS,
    Problem,
    State,
    refuse_boolean,
    refuse_unseen_context,
)
from transforms.decoding.aliases import aliases, known_name

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADULTS: Final = frozenset({"adult"})
_MIRRORING: Final = "avatar_mirroring"
MOST_RULES: Final = 1_000


class Consequence(Frozen):
    """What follows where something was shown for ``after`` windows in a row.

    ``at_once`` names context fields and values with which it follows in the first window, such as
    ``{game_result: lost}``; all of them must be there. Of rules that may follow in one window the
    one with the greatest ``priority`` does. With ``needs_person`` nobody may act before a person
    has looked; where it is not said, that is so in high-stakes scenarios.
    """

    action: Code
    after: int = Field(ge=1, le=MOST_WINDOWS)
    reply: Code | None = None
    at_once: Mapping[str, str] = Field(default_factory=dict)
    priority: int | None = Field(default=None, ge=0, le=1000)
    needs_person: bool | None = None

    @field_validator("after", "priority", mode="before")
    @classmethod
    def _is_a_number(cls, given: Any) -> Any:
        return refuse_boolean(given)

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
    since: Day = date.min
    until: Day = date.max

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
    declared: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield what is wrong with rules by themselves; ``replies`` are None where none are listed.

    ``high_stakes`` are the scenarios in which a person looks first, ``declared`` the effects of the
    actions that the policy adds to those that ship.
    """
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
        if problem := explain_unlisted_reply(rule.id, rule.reply, listed):
            yield problem, (*place, "reply")
        if stakes := sorted(rule.scenarios & high_stakes) if rule.needs_person is False else []:
            message = (
                f"{rule.id} acts alone in {stakes[0]}, where the stakes are high: leave out "
                "`needs_person: false`"
            )
            yield message, (*place, "needs_person")
        adults = rule.age_bands is not None and rule.age_bands <= _ADULTS
        for said, name in find_act_problems(rule.id, rule.action, rule.reply, declared, adults):
            yield said, (*place, name)
        effect = action_table().actions.get(rule.action)
        if effect == MIRRORS and rule.purposes and _MIRRORING not in rule.purposes:
            message = (
                f"{rule.id} would mirror for other purposes than {_MIRRORING}, for which nobody "
                f"opts in: leave out `purposes`, or ask for another action"
            )
            yield message, (*place, "action")


def explain_unlisted_reply(
    who: str, reply: str | None, listed: frozenset[str] | None
) -> str | None:
    """Say that ``replies`` does not list a reply, None where it does or there is none."""
    if reply is None or listed is None or reply in listed:
        return None
    near = suggest(reply, listed) if listed else "list it"
    return f"{who} gives the reply {reply!r}, which `replies` does not list: {near}"


def find_act_problems(
    who: str, action: str, reply: str | None, declared: Mapping[str, str], adults: bool
) -> Iterator[tuple[str, str]]:
    """Yield why a rule or reminder may not do or say this, each with the field that is wrong.

    ``adults`` says that it is for adults alone.
    """
    refused: tuple[Kind, ...] = ("forbidden", "revealing") if adults else tuple(_WORDS)
    if problem := explain_action(action, declared):
        said = next(filter(None, (_explain_words(who, "asks for", action, k) for k in _WORDS)), "")
        yield said or f"{who} asks for {problem}", "action"
    elif effect_of(action, declared).adults_only and not adults:
        message = (
            f"{who} may nudge a minor: {action} {effect_of(action, declared).does}, and that "
            f"{_WORDS['nudging'].why}: {_WORDS['nudging'].cure}"
        )
        yield message, "action"
    for kind in refused:
        if reply is not None and (problem := _explain_words(who, "gives the reply", reply, kind)):
            yield problem, "reply"


_WORDS: Final = action_table().words


def _explain_words(who: str, does: str, name: str, kind: Kind) -> str | None:
    found = read_as(name, kind)
    if not found:
        return None
    return (
        f"{who} {does} {name}, whose `{found}` says that it {_WORDS[kind].why}: {_WORDS[kind].cure}"
    )


def find_dead_rules(rules: Sequence[Placed], known: Mapping[str, Envelope]) -> Iterator[Problem]:
    """Yield the rules that no window can ever be within, though their states may be shown."""
    for rule, place in rules:
        if explain_never(known[rule.state]):
            continue  # the state itself is said to be wrong
        asked = narrow(known[rule.state], rule.context)
        if why := explain_never(asked):
            yield f"{rule.id} can never follow, since {why} with its state", (*place, "context")
        elif explain_never(narrow(asked, rule.at_once)):
            message = (
                f"{rule.id} never follows at once: `at_once` contradicts what else it asks for"
            )
            yield message, (*place, "at_once")


def find_overlaps(rules: Sequence[Placed], known: Mapping[str, Envelope]) -> Iterator[Problem]:
    """Yield which rules may follow in one window without saying which of them does.

    ``known`` are the envelopes of states and expressions by name.
    """
    asked = [narrow(known[rule.state], rule.context) for rule, _ in rules]
    for ((one, _), own), ((other, place), others) in combinations(
        zip(rules, asked, strict=True), 2
    ):
        apart = one.priority is not None and other.priority is not None
        if apart and one.priority != other.priority:
            continue
        if _share_cases(one, other) and own.meets(others):
            where = ", ".join(sorted(one.scenarios & other.scenarios))
            message = (
                f"{one.id} and {other.id} may both follow in {where}: give each a `priority` of "
                "its own, the greater one to the rule that goes before"
            )
            yield message, place


def find_shadowed(rules: Sequence[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Yield rules that never follow, each with the one that always follows in its place.

    ``rules`` stand in the order in which they go before each other.
    """
    for number, rule in enumerate(rules):
        if first := next((each for each in rules[:number] if _covers(each, rule)), None):
            yield rule, first


def _covers(first: Rule, other: Rule) -> bool:
    """Return whether one rule follows wherever the other might."""
    ripe = other.after if not other.at_once else 1
    return (
        first.state == other.state
        and first.after <= ripe
        and other.scenarios <= first.scenarios
        and _is_within(other.purposes, first.purposes)
        and _is_within(other.age_bands, first.age_bands)
        and first.since <= other.since
        and other.until <= first.until
        and first.context.items() <= other.context.items()
    )


def _is_within(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return other is None or (one is not None and one <= other)


def _share_cases(one: Rule, other: Rule) -> bool:
    """Return whether some window may be of both rules, whatever it shows."""
    return (
        bool(one.scenarios & other.scenarios)
        and _meet(one.purposes, other.purposes)
        and _meet(one.age_bands, other.age_bands)
        and max(one.since, other.since) <= min(one.until, other.until)
    )


def _meet(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return one is None or other is None or bool(one & other)
