"""Coarse scores: what a recogniser says of one event, in steps that tell no text from another.

Whoever has the weights can compute the scores of every text that they think of. Seven exact numbers
told which of 10,000 door codes was said; a dozen possible vectors do not (docs/adr/0020).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

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


def round_scores(scores: np.ndarray) -> np.ndarray:
    """Return (n, 7) probabilities in coarse steps, each row with the same winner and the sum 1.

    Each score gets the whole steps in it, and those with the largest remainders what is left. A row
    that cannot be judged is uniform as before.
    """
    steps, left, missing = _whole_steps(scores)
    steps += np.argsort(np.argsort(-left, axis=1, kind="stable"), axis=1) < missing[:, None]
    first = _behind(scores) < _TIE
    steps += _LEAST + _FIRST * first
    steps[first.all(axis=1)] = 1.0
    return np.asarray(steps / steps.sum(axis=1, keepdims=True))


def near_edge(scores: np.ndarray) -> np.ndarray:
    """Return a mask of the rows that may round to others where scores change by ``_EDGE``."""
    _, left, missing = _whole_steps(scores)
    order = -np.sort(-left, axis=1)
    last = np.clip(missing, 1, left.shape[1] - 1)[:, None]
    gap = np.take_along_axis(order, last - 1, axis=1) - np.take_along_axis(order, last, axis=1)
    contested = (gap[:, 0] < 2 * _EDGE * STEPS) & (missing > 0)
    behind = _behind(scores)
    tied = (np.abs(behind - _TIE) < 2 * _EDGE).any(axis=1)
    return np.asarray((contested | tied) & ~(behind < _TIE).all(axis=1))


def _whole_steps(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the whole steps in each score, what is left of it, and how many steps of a row are."""
    sought = scores * STEPS
    whole = np.floor(sought)
    return whole, sought - whole, np.rint(STEPS - whole.sum(axis=1)).astype(np.int64)


def coarsen(estimates: Estimates, again: Callable[[int], Estimates]) -> Estimates:
    """Return the estimates with coarse scores; abstention is judged by the exact ones.

    A model's own valence and arousal do not go on, since they would tell more than the scores that
    these follow from. ``again`` estimates one row of the batch by itself: those near an edge are,
    so that they round to the same in whatever company they come.
    """
    scores, spent = estimates.scores.copy(), estimates.forward_us
    for place in np.flatnonzero(near_edge(scores)).tolist():
        alone = again(int(estimates.rows[place]))
        if len(alone.rows):
            scores[place] = alone.scores[0]
        spent += alone.forward_us
    return replace(
        estimates,
        scores=round_scores(scores),
        forward_us=spent,
        circumplex=None,
        confidence=scores.max(axis=1, initial=0.0),
    )


def _behind(scores: np.ndarray) -> np.ndarray:
    """Return by how much each score is less than the largest of its row."""
    return np.asarray(scores.max(axis=1, keepdims=True, initial=0.0) - scores)
