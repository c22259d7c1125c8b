"""Envelopes of states: what may be the case where one is shown, and which can never be shown."""

from collections.abc import Mapping
from functools import reduce
from math import ceil, floor
from typing import Final, NamedTuple

from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.states import QUANTITIES, State, in_order

ROUNDING: Final = 1e-6
"""A value so near a bound is within: the scores are in steps, so that many stand on one."""
_ALL: Final = frozenset(EXPRESSIONS)
_SHARES: Final = tuple(f"share_{name}" for name in EXPRESSIONS)
_WHOLE_NUMBERS: Final = ("days_seen", "low_days")


class Envelope(NamedTuple):
    """What may be the case where a state is shown: expressions, bounds, values of context fields.

    It is never too narrow; a window within it need not show the state.
    """

    expressions: frozenset[str]
    bounds: Mapping[str, tuple[float, float]]
    context: Mapping[str, frozenset[str]]

    def meets(self, other: "Envelope") -> bool:
        """Return whether both may be the case at once."""
        return explain_never(_both(self, other)) is None


def explain_never(envelope: Envelope) -> str | None:
    """Say why no window can be within an envelope, None where one may be."""
    if not envelope.expressions:
        return "it asks for two expressions at once"
    for name, values in envelope.context.items():
        if not values:
            return f"it asks for two values of the context field {name} at once"
    for name, bounds in envelope.bounds.items():
        least, most = QUANTITIES[name]
        low, high = max(bounds[0], least) - ROUNDING, min(bounds[1], most) + ROUNDING
        if low > high or (name in _WHOLE_NUMBERS and ceil(low) > floor(high)):
            return f"no value of {name} is within all of its bounds"
    shares = [envelope.bounds.get(name, (0.0, 1.0)) for name in _SHARES]
    if sum(max(low, 0.0) for low, _ in shares) > 1 + len(shares) * ROUNDING:
        return "its shares are more than 1 together"
    if sum(min(high, 1.0) for _, high in shares) < 1 - len(shares) * ROUNDING:
        return "its shares are less than 1 together"
    return None


def envelopes(states: Mapping[str, State]) -> dict[str, Envelope]:
    """Return the envelope of each state and of each expression that is held, by name."""
    found = {name: Envelope(frozenset([name]), {}, {}) for name in EXPRESSIONS}
    for name in in_order(states, [*states]):
        state = states[name]
        own = Envelope(
            state.expressions or _ALL,
            {quantity: (bounds.low, bounds.high) for quantity, bounds in state.where.items()},
            {field: frozenset([value]) for field, value in state.context.items()},
        )
        parts = [found[part] for part in state.all_of]
        if state.any_of:
            parts.append(reduce(_either, (found[part] for part in state.any_of)))
        found[name] = reduce(_both, parts, own)
    return found


def narrow(envelope: Envelope, context: Mapping[str, str]) -> Envelope:
    """Return an envelope within which the context fields have these values, too."""
    asked = {field: frozenset([value]) for field, value in context.items()}
    return _both(envelope, Envelope(_ALL, {}, asked))


def _both(one: Envelope, other: Envelope) -> Envelope:
    bounds, context = {**one.bounds}, {**one.context}
    for name, (low, high) in other.bounds.items():
        known = bounds.get(name, (low, high))
        bounds[name] = max(low, known[0]), min(high, known[1])
    for name, values in other.context.items():
        context[name] = values & context.get(name, values)
    return Envelope(one.expressions & other.expressions, bounds, context)


def _either(one: Envelope, other: Envelope) -> Envelope:
    bounds = {
        n: (min(one.bounds[n][0], other.bounds[n][0]), max(one.bounds[n][1], other.bounds[n][1]))
        for n in one.bounds.keys() & other.bounds.keys()
    }
    context = {n: one.context[n] | other.context[n] for n in one.context.keys() & other.context}
    return Envelope(one.expressions | other.expressions, bounds, context)
