"""States of a scenario policy: patterns in what was shown, defined as data.

A state such as ``lonely`` is a name for a pattern of estimates, so long, in such a context. It
never says what somebody feels.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Final

from pydantic import Field, field_validator, model_validator

from schemas.events import CODE, CONTEXT_FIELDS, FIELD_NAME
from schemas.settings import Number
from schemas.strict import Frozen, PlacedError, suggest
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.baseline import USUAL

MOST_WINDOWS: Final = 10_000  # 14 hours of windows of 5 s
MOST_STATES: Final = 500
MOST_DEPTH: Final = 16
"""Longest chain of states of which each is defined by the next: nobody reads a longer one."""

QUANTITIES: Final[Mapping[str, tuple[float, float]]] = {
    "confidence": (0, 1),
    "valence": (-1, 1),
    "arousal": (-1, 1),
    "valence_shift": (-2, 2),
    "arousal_shift": (-2, 2),
    **USUAL,
}
"""What a state may set bounds to → its least and largest value.

``valence`` and ``arousal`` are those of the smoothed scores, as the held expression is; the shifts
are from the mean of the session so far, and USUAL from what is usual for the person.
"""

Problem = tuple[str, tuple[str | int, ...]]
"""What is wrong, and the names that lead to it in the file."""


Bound = Annotated[Number, Field(allow_inf_nan=False)]


class Bounds(Frozen):
    """A quantity is at least, or at most, so much; both bounds count as within."""

    at_least: Bound | None = None
    at_most: Bound | None = None

    @model_validator(mode="after")
    def _bound_something(self) -> "Bounds":
        if self.at_least is None and self.at_most is None:
            message = "there is no bound: write at_least, at_most or both"
            raise ValueError(message)
        if self.low > self.high:
            message = f"at_least {self.at_least} is above at_most {self.at_most}: swap them"
            raise ValueError(message)
        return self

    @property
    def low(self) -> float:
        """The lower bound, minus infinity where there is none."""
        return float("-inf") if self.at_least is None else self.at_least

    @property
    def high(self) -> float:
        """The upper bound, infinity where there is none."""
        return float("inf") if self.at_most is None else self.at_most


class State(Frozen):
    """A pattern in what is shown; all conditions that it has must be met at once.

    ``expressions`` are those of which one is held, ``where`` gives bounds of QUANTITIES,
    ``context`` values of context fields; ``all_of`` and ``any_of`` name other states. The state is
    shown from the window on in which all of that was met for ``windows`` windows in a row.
    ``shows`` says in words what an onlooker would see.
    """

    shows: str = Field(min_length=1)
    expressions: frozenset[str] = frozenset()
    where: Mapping[str, Bounds] = Field(default_factory=dict)
    context: Mapping[str, str] = Field(default_factory=dict)
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    windows: int = Field(default=1, ge=1, le=MOST_WINDOWS)

    @field_validator("windows", mode="before")
    @classmethod
    def _is_a_number(cls, given: Any) -> Any:
        return refuse_boolean(given)

    @field_validator("context", mode="before")
    @classmethod
    def _context_can_be_told(cls, given: Any) -> Any:
        return refuse_unseen_context(given)

    @model_validator(mode="after")
    def _asks_for_what_can_be_shown(self) -> "State":
        for unknown in sorted(self.expressions - set(EXPRESSIONS)):
            message = f"{unknown!r} is no expression: {suggest(unknown, EXPRESSIONS)}"
            raise PlacedError(message, "expressions")
        for name, bounds in self.where.items():
            if name not in QUANTITIES:
                message = f"{name!r} is no quantity: {suggest(name, QUANTITIES)}"
                raise PlacedError(message, "where", name)
            low, high = QUANTITIES[name]
            if bounds.low > high or bounds.high < low:
                message = f"{name} is from {low:g} to {high:g}, so that this is never met"
                raise PlacedError(message, "where", name)
        if not (self.expressions or self.where or self.context or self.all_of or self.any_of):
            message = "it has no condition, so that every window would show it: write one"
            raise ValueError(message)
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """The states that this one is defined by."""
        return (*self.all_of, *self.any_of)


def refuse_boolean(given: Any) -> Any:
    """Return what is given as a number of windows, but no boolean: pydantic takes it for 0 or 1."""
    if isinstance(given, bool):
        message = f"write a number of windows for {given}"
        raise ValueError(message)
    return given


def refuse_unseen_context(given: Any) -> Any:
    """Return context fields and values, of which each can be met: others would never follow."""
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


def find_state_problems(states: Mapping[str, State]) -> Iterator[Problem]:
    """Yield what is wrong with names: one of an expression, an unknown one, a circle of them."""
    for name, state in states.items():
        if name in EXPRESSIONS:
            yield f"{name} is an expression: give the state another name", ("states", name)
        if not re.fullmatch(FIELD_NAME, name):
            yield f"{name!r} is no name of a state: write it as `low_mood_2`", ("states", name)
        for way in ("all_of", "any_of"):
            for unknown in sorted({*getattr(state, way)} - states.keys()):
                known = f"{suggest(unknown, states)}"
                yield (
                    f"the state {name} names the state {unknown!r}, which is not defined: {known}",
                    ("states", name, way),
                )
    if len(states) > MOST_STATES:
        yield f"there are {len(states)} states: at most {MOST_STATES} are read", ("states",)
    yield from _find_graph_problems(states)


def _find_graph_problems(states: Mapping[str, State]) -> Iterator[Problem]:
    """Yield the first circle of definitions, or the first chain of them that is too long."""
    graph = {name: [p for p in state.parts if p in states] for name, state in states.items()}
    try:
        order = [*TopologicalSorter(graph).static_order()]
    except CycleError as error:
        circle = error.args[1][:0:-1]  # each is defined by the next; the last is the first again
        start = circle.index(min(circle, key=list(states).index))
        turned = [*circle[start:], *circle[:start]]
        message = (
            "states are defined by each other in a circle, "
            f"{' → '.join([*turned, turned[0]])}: take one out"
        )
        yield message, ("states", turned[0])
        return
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[part] for part in graph[name]), default=0)
        if depth[name] > MOST_DEPTH:
            message = (
                f"{name} ends a chain of {depth[name]} states that are defined by each other: "
                f"at most {MOST_DEPTH} are read, so define it by what it shows"
            )
            yield message, ("states", name)
            return


def in_order(states: Mapping[str, State], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return these states and all that they are defined by, each behind what defines it."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in found:
            for part in states[name].parts:
                visit(part)
            found[name] = None

    for name in wanted:
        visit(name)
    return tuple(found)


def fields_of_state(states: Mapping[str, State], name: str) -> frozenset[str]:
    """Return the context fields that a state asks for, by the states of its definition too."""
    if name in EXPRESSIONS:
        return frozenset()
    return frozenset(field for part in in_order(states, [name]) for field in states[part].context)
