"""Rules that can never decide, and refusals that an earlier rule allows away, found exactly."""

import datetime as dt
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from schemas.strict import PlacedError
from transforms.gating.rules import DIMENSIONS, Rule

_Value = TypeVar("_Value")
_Signature = tuple[bool, ...]
"""For each rule, whether it matches a value."""


def check_order(rules: Sequence[Rule], known: Mapping[str, frozenset[str]]) -> None:
    """Check that each rule decides some case, and that no refusal stands behind what allows it.

    ``known`` is what the policy lists in each of DIMENSIONS. All cases are looked at: values that
    the same rules match are one, and so are the days between two dates of rules. The shipped table
    has about 8,000 such cases.

    Raises:
        PlacedError: a rule can never match, or would refuse what an earlier one allows.
    """
    axes = [_signatures(_admitting(rules, name), known[name]) for name in DIMENSIONS]
    axes.append(_signatures(lambda n: tuple(r.noticed in (None, n) for r in rules), (True, False)))
    axes.append(_signatures(lambda d: tuple(r.since <= d <= r.until for r in rules), _days(rules)))
    decided = np.zeros([len(axis) for axis in axes], bool)
    allowed_by = np.full(decided.shape, -1, np.int32)
    for number, rule in enumerate(rules):
        flags = [np.array([signature[number] for signature in axis], bool) for axis in axes]
        cases = functools.reduce(np.logical_and.outer, flags)
        if not (cases & ~decided).any():
            message = (
                f"rule {number + 1} can never match, since the rules before it decide all of its "
                "cases: remove it, or put it before them"
            )
            raise PlacedError(message, "rules", number)
        if rule.verdict == "allow":
            allowed_by[cases & ~decided] = number
        elif (before := allowed_by[cases & (allowed_by >= 0)]).size:
            message = (
                f"rule {number + 1} refuses what rule {before.min() + 1} before it allows: put "
                "what refuses before what allows"
            )
            raise PlacedError(message, "rules", number)
        if not rule.unless:  # with evidence it leaves its cases to the rules behind it
            decided |= cases


def _signatures(
    matching: Callable[[_Value], _Signature], values: Iterable[_Value]
) -> list[_Signature]:
    """Return the distinct signatures of the values of a dimension."""
    return sorted({matching(value) for value in values})


def _admitting(rules: Sequence[Rule], dimension: str) -> Callable[[str], _Signature]:
    return lambda value: tuple(rule.admits(dimension, value) for rule in rules)


def _days(rules: Sequence[Rule]) -> list[dt.date]:
    """Return one day of each span between two dates of rules."""
    after = [rule.until + dt.timedelta(days=1) for rule in rules if rule.until < dt.date.max]
    return sorted({dt.date.min, *(rule.since for rule in rules), *after})
