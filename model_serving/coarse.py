"""Coarse scores: what a recogniser says of one event, in steps that tell no text from another.

Whoever has the weights can compute the scores of every text that they think of. Seven exact numbers
told which of 10,000 door codes was said; a dozen possible vectors do not (docs/adr/0020).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from model_serving.recogniser import Estimates

STEPS: Final = 5
"""The seven scores share out so many steps."""
_LEAST: Final = 0.05
"""Steps that a score which gets none stands for: fusion takes logarithms."""
_FIRST: Final = 0.1
"""Steps by which the most probable expression is ahead of others that get as many."""
_TIE: Final = 1e-4
"""Scores that differ by less are both the most probable."""
_EDGE: Final = 1e-5
"""How near to an edge a row is judged once more, by itself: other rows of its batch move a score by
less than 5e-7."""


class _Steps(NamedTuple):
    """How the steps are shared out: all of n rows, or of n rows and 7 scores."""

    whole: np.ndarray
    left: np.ndarray
    """What is left of each score beyond its whole steps."""
    order: np.ndarray
    """The scores of a row by what is left of them, the most first."""
    missing: np.ndarray
    """How many steps of each row are left."""
    behind: np.ndarray
    """By how much each score is less than the largest of its row."""

    @classmethod
    def of(cls, scores: np.ndarray) -> "_Steps":
        sought = scores * STEPS
        whole = np.floor(sought)
        left = sought - whole
        order = np.argsort(-left, axis=1, kind="stable")
        missing = np.rint(STEPS - whole.sum(axis=1)).astype(np.int64)
        return cls(whole, left, order, missing, scores.max(axis=1, keepdims=True) - scores)


def round_scores(scores: np.ndarray) -> np.ndarray:
    """Return (n, 7) probabilities in coarse steps, each row with the same winner and the sum 1.

    Each score gets the whole steps in it, and those with the largest remainders what is left. A row
    that cannot be judged is uniform as before.
    """
    return _rounded(_Steps.of(scores))


def near_edge(scores: np.ndarray) -> np.ndarray:
    """Return a mask of the rows that may round to others where scores change by ``_EDGE``."""
    return _near(_Steps.of(scores))


def _rounded(found: _Steps) -> np.ndarray:
    steps = found.whole.copy()
    more = np.arange(steps.shape[1]) < found.missing[:, None]
    np.put_along_axis(steps, found.order, np.take_along_axis(steps, found.order, 1) + more, 1)
    first = found.behind < _TIE
    steps += _LEAST + _FIRST * first
    steps[first.all(axis=1)] = 1.0
    return np.asarray(steps / steps.sum(axis=1, keepdims=True))


def _near(found: _Steps) -> np.ndarray:
    last = np.clip(found.missing, 1, found.left.shape[1] - 1)
    row = np.arange(len(last))
    gap = found.left[row, found.order[row, last - 1]] - found.left[row, found.order[row, last]]
    contested = (gap < 2 * _EDGE * STEPS) & (found.missing > 0)
    tied = (np.abs(found.behind - _TIE) < 2 * _EDGE).any(axis=1)
    return np.asarray((contested | tied) & ~(found.behind < _TIE).all(axis=1))


def coarsen(estimates: Estimates, again: Callable[[int], Estimates]) -> Estimates:
    """Return the estimates with coarse scores; abstention is judged by the exact ones.

    A model's own valence and arousal do not go on, since they would tell more than the scores that
    these follow from. ``again`` estimates one row of the batch by itself: those near an edge are,
    so that they round to the same in whatever company they come.
    """
    scores, spent = estimates.scores, estimates.forward_us
    found = _Steps.of(scores)
    if len(near := np.flatnonzero(_near(found))):
        scores = scores.copy()
        for place in near.tolist():
            alone = again(int(estimates.rows[place]))
            if len(alone.rows):
                scores[place] = alone.scores[0]
            spent += alone.forward_us
        found = _Steps.of(scores)
    return replace(
        estimates,
        scores=_rounded(found),
        forward_us=spent,
        circumplex=None,
        confidence=scores.max(axis=1, initial=0.0),
    )
