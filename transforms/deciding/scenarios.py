"""Scenario policy: what follows when a state is shown, or an expression held, in a scenario."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationInfo, model_validator

from schemas.strict import Frozen, PlacedError, read_yaml, suggest
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.actions import (
    SPEAKS,
    Code,
    action_table,
    explain_action,
    find_declaration_problems,
)
from transforms.deciding.envelopes import envelopes, explain_never
from transforms.deciding.reminders import Reminder
from transforms.deciding.rules import (
    MOST_RULES,
    Placed,
    Rule,
    ShortRule,
    explain_unlisted_reply,
    find_act_problems,
    find_dead_rules,
    find_overlaps,
    find_rule_problems,
    lengthen,
)
from transforms.deciding.states import (
    Problem,
    State,
    fields_of_state,
    find_state_problems,
    in_order,
)
from transforms.decoding.aliases import aliases, known_name
from transforms.gating.classes import (
    explain_judged_as,
    high_stakes,
    read_as_latin,
    weighty_classes_of,
)
from transforms.gating.legible import explain_illegible


class ScenarioPolicy(Frozen):
    """States that may be shown, and rules on what follows from them in which scenarios.

    ``scenarios`` are short rules: scenario → expression → rule. In high-stakes scenarios a person
    looks at weak estimates, and before anybody acts by a rule. ``replies`` lists the ids of
    templates that rules may name; ``actions`` gives the effect of actions that do not ship.
    ``judged_as`` says for a scenario that the purpose gate does not list as which of those that it
    lists the gate judges it: a new scenario needs no other file. ``reminders`` are of use, in
    whatever scenario.
    """

    version: str
    high_stakes: frozenset[str]
    scenarios: dict[str, dict[str, ShortRule]] = Field(default_factory=dict)
    states: dict[str, State] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    replies: frozenset[Code] | None = None
    actions: Mapping[Code, str] = Field(default_factory=dict)
    judged_as: Mapping[str, str] = Field(default_factory=dict)
    reminders: tuple[Reminder, ...] = ()

    @model_validator(mode="after")
    def _is_sound(self, info: ValidationInfo) -> "ScenarioPolicy":
        """Raise PlacedError for the first problem; a list given as context gets all instead."""
        problems = self._find_problems()
        if isinstance(info.context, list):
            info.context.extend(problems)
        elif first := next(problems, None):
            raise PlacedError(first[0], *first[1])
        return self

    def _find_problems(self) -> Iterator[Problem]:
        yield from self._name_problems()
        yield from self._action_problems()
        placed = list(self.placed_rules())
        if len(placed) > MOST_RULES:
            yield f"there are {len(placed)} rules: at most {MOST_RULES} are read", ("rules",)
            return
        unsound = list(self._short_rule_problems()) + list(find_state_problems(self.states))
        yield from unsound
        if unsound:
            return  # rules on top of these would be said to be wrong for the same reason
        yield from find_rule_problems(
            placed, self.states, self.replies, self.of_high_stakes, self.actions
        )
        known = envelopes(self.states)
        for name in self.states:
            if why := explain_never(known[name]):
                yield f"the state {name} can never be shown, since {why}", ("states", name)
        defined = [each for each in placed if each[0].state in known]
        yield from find_dead_rules(defined, known)
        yield from find_overlaps(defined, known)

    def _action_problems(self) -> Iterator[Problem]:
        """Yield what is wrong with declared actions, with listed replies, and with reminders."""
        for said, name in find_declaration_problems(self.actions):
            yield said, ("actions", name)
        for number, reminder in enumerate(self.reminders):
            who, place = f"reminder {number + 1}", ("reminders", number)
            if problem := explain_unlisted_reply(who, reminder.reply, self.replies):
                yield problem, (*place, "reply")
            act = find_act_problems(who, reminder.action, reminder.reply, self.actions, False)
            yield from ((said, (*place, name)) for said, name in act)
            effects = {**action_table().actions, **self.actions}
            if not explain_action(reminder.action, self.actions) and (
                effects[reminder.action] != SPEAKS
            ):
                message = (
                    f"{who} asks for {reminder.action}, which does more than speak: a reminder "
                )
                yield message + "speaks to the person alone", (*place, "action")

    def _name_problems(self) -> Iterator[Problem]:
        """Yield names that no event has: what is weighty would go to nobody."""
        if problem := explain_illegible(self.version):
            message = f"{problem}, and each decision names it: write a version such as rooms-2"
            yield f"version {self.version!r}: {message}", ("version",)
        named = [("scenarios", name) for name in self.scenarios]
        named += [("judged_as", name) for name in self.judged_as]
        for place in named:
            if problem := explain_scenario_name(place[1]):
                yield problem, place
        for number, rule in enumerate(self.rules):
            for name in sorted(rule.scenarios):
                if problem := explain_scenario_name(name):
                    yield problem, ("rules", number, "scenarios")
        for name, other in self.judged_as.items():
            if problem := explain_judged_as(name, other):
                yield problem, ("judged_as", name)
        ruled = {name for rule in self.rules for name in rule.scenarios}
        known = {*self.scenarios, *self.judged_as, *ruled, *aliases("scenario").values()}
        known |= high_stakes().scenarios
        for unknown in sorted(self.high_stakes - known):
            hint = suggest(unknown, known)
            message = f"high_stakes names {unknown!r}, which scenarios does not list: {hint}"
            yield message, ("high_stakes",)
        if self.replies is not None and not self.replies:
            yield "replies is empty: list the ids of your templates, or leave it out", ("replies",)

    def _short_rule_problems(self) -> Iterator[Problem]:
        if not self.scenarios and not self.rules:
            yield "there is no scenario: write one with its rules", ("scenarios",)
        for name, rules in self.scenarios.items():
            if not rules:
                message = f"{name} has no rule: write one, or leave the scenario out"
                yield message, ("scenarios", name)
            for unknown in sorted(rules.keys() - set(EXPRESSIONS)):
                message = f"{name} has a rule for {unknown!r}, which is no expression: "
                hint = suggest(unknown, EXPRESSIONS)
                if unknown in self.states:
                    hint = f"a rule for a state stands below `rules:`, with `state: {unknown}`"
                yield message + hint, ("scenarios", name, unknown)

    def placed_rules(self) -> Iterator[Placed]:
        """Yield every rule, short ones too, with the names that lead to it in the file."""
        for name, rules in self.scenarios.items():
            for expression, short in rules.items():
                yield lengthen(name, expression, short), ("scenarios", name, expression)
        for number, rule in enumerate(self.rules):
            yield rule, ("rules", number)

    @cached_property
    def all_rules(self) -> tuple[Rule, ...]:
        """Every rule, short ones too: the one with the greatest priority first."""
        rules = [rule for rule, _ in self.placed_rules()]
        return tuple(sorted(rules, key=lambda rule: -(rule.priority or 0)))

    @cached_property
    def of_high_stakes(self) -> frozenset[str]:
        """The scenarios that it names in which the stakes are high, listed or not."""
        listed = self.high_stakes | high_stakes().scenarios
        named = {*self.scenarios, *self.judged_as, *listed}
        named = named.union(*(rule.scenarios for rule in self.rules))
        return frozenset(
            name
            for name in named
            if not listed.isdisjoint({name, self.judged_as.get(name)}) or weighty_classes_of(name)
        )

    @cached_property
    def scenarios_of(self) -> Mapping[str, frozenset[str]]:
        """Each state → the scenarios in which a rule asks for it, by other states too."""
        found: dict[str, frozenset[str]] = dict.fromkeys(self.states, frozenset())
        for rule in self.all_rules:
            if rule.state in self.states:
                for name in in_order(self.states, [rule.state]):
                    found[name] |= rule.scenarios
        return found

    @cached_property
    def context_fields(self) -> frozenset[str]:
        """The context fields that any rule looks at, by its state too."""
        fields = (
            frozenset(rule.at_once) | frozenset(rule.context)
            | fields_of_state(self.states, rule.state)
            for rule in self.all_rules
        )  # fmt: skip
        return frozenset().union(*fields)


def explain_scenario_name(name: str) -> str | None:
    """Say why no event has this scenario once other spellings were read; None where one can."""
    if not name.strip():
        return "a scenario has an empty name: write the name that events give"
    if (read_as := known_name("scenario", name)) not in (None, name):
        return f"events of {name!r} are read as {read_as}: write `{read_as}`"
    if problem := explain_illegible(name):
        return f"the scenario {name!r} cannot be read: {problem}"
    if read_as is None and (alike := known_name("scenario", read_as_latin(name))):
        return f"the scenario {name!r} only looks like {alike}: write `{alike}`, or another name"
    return None


def read_scenarios(path: Path) -> ScenarioPolicy:
    """Read and check a scenario policy."""
    return read_yaml(path, ScenarioPolicy, "a scenario policy")
