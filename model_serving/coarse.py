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
"""A score is rounded to a multiple of one over this; then the seven are made to sum to 1 again."""
_LEAST: Final = 0.06
"""Steps that a score of zero stands for: fusion takes logarithms."""
_FIRST: Final = 0.1
"""Steps by which the most probable expression is ahead of others that were rounded to the same."""
_TIE: Final = 1e-4
"""Scores that differ by less are both the most probable."""
_EDGE: Final = 1e-5
"""How near to an edge a score is judged once more, by itself: other rows of its batch move it by
less than this."""


def round_scores(scores: np.ndarray) -> np.ndarray:
    """Return (n, 7) probabilities in coarse steps, each row with the same winner and the sum 1.

    Equal scores stay equal, so a row that cannot be judged is uniform as before.
    """
    steps = np.rint(scores * STEPS) + _LEAST + _FIRST * (_behind(scores) < _TIE)
    return np.asarray(steps / steps.sum(axis=1, keepdims=True))


def near_edge(scores: np.ndarray) -> np.ndarray:
    """Return a mask of the rows that may round to others where scores change by ``_EDGE``."""
    to_step = np.abs(np.mod(scores * STEPS, 1.0) - 0.5) / STEPS
    to_tie = np.abs(_behind(scores) - _TIE) / 2
    return np.asarray((np.minimum(to_step, to_tie) < _EDGE).any(axis=1))


def coarsen(estimates: Estimates, again: Callable[[int], Estimates]) -> Estimates:
    """Return the estimates with coarse scores.

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
    return replace(estimates, scores=round_scores(scores), forward_us=spent, circumplex=None)


def _behind(scores: np.ndarray) -> np.ndarray:
    """Return by how much each score is less than the largest of its row."""
    return np.asarray(scores.max(axis=1, keepdims=True, initial=0.0) - scores)
