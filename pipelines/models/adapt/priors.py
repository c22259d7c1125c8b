"""Class priors of a deployment without labels: EM on posteriors, held back where it is unsure.

Expectation maximisation after Saerens, Latinne and Decaestecker, "Adjusting the outputs of a
classifier to new a priori probabilities" (2002). It takes for granted that only the shares of the
expressions differ from training and that the posteriors are calibrated; where neither holds it runs
away. So subjects with many events count little more than others, a Dirichlet prior at the training
shares holds few events back, no ratio leaves ``MOST_RATIO``, and how far to go is what suits people
best who were left out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from model_serving.calibration import softmax

BETWEEN_SUBJECTS: Final = 0.05
"""Correlation of two events of one subject: a subject counts for 20 events at most."""

HELD_BACK_BY: Final = 100.0
"""Events that the training shares count for."""

MOST_RATIO: Final = 4.0
"""How many times its training share an expression may have, and how small a part of it."""

FOLDS: Final = 5
_STEPS: Final = tuple(step / 10 for step in range(11))
_ROUNDS: Final = 200
_SETTLED: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Priors:
    """Shares (k,) of the labels in a deployment, and how sure they are.

    ``strength`` in [0, 1] is how far the shares went from those of training, on a log scale.
    ``gain`` is the mean log-likelihood by which they suit events of people left out better than the
    training shares do, ``error`` its standard error over subjects, and ``counted`` the number of
    independent events that those of all subjects amount to.
    """

    shares: np.ndarray
    strength: float
    gain: float
    error: float
    counted: float


def find_priors(logits: np.ndarray, subjects: np.ndarray, trained: np.ndarray) -> Priors:
    """Return the priors for calibrated logits (n, k) of events of these subjects (n,).

    The logits are those of posteriors under the ``trained`` (k,) shares, without a bias.
    """
    chances = softmax(logits)
    _, own = np.unique(subjects, return_inverse=True)
    weights = _weigh(own)
    folds = own % FOLDS
    gains = np.zeros((len(_STEPS), len(logits)))
    for fold in range(FOLDS):
        held = folds == fold
        if held.all() or not held.any():
            continue
        found = _maximise(chances[~held], weights[~held], trained)
        for step, strength in enumerate(_STEPS):
            ratio = _move(found, trained, strength) / trained
            gains[step, held] = np.log(chances[held] @ ratio)
    means = gains @ weights / weights.sum()
    best = int(means.argmax())
    summed = np.bincount(own, weights * (gains[best] - means[best]))
    return Priors(
        _move(_maximise(chances, weights, trained), trained, _STEPS[best]),
        _STEPS[best],
        float(means[best]),
        float(np.sqrt((summed**2).sum()) / weights.sum()),
        float(weights.sum()),
    )


def _weigh(own: np.ndarray) -> np.ndarray:
    """Return the weight of each event (n,): one, less what its subject's others say already."""
    counts = np.bincount(own)[own]
    return np.asarray(1 / (1 + (counts - 1) * BETWEEN_SUBJECTS))


def _maximise(chances: np.ndarray, weights: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Return the shares (k,) of the highest posterior density, with bounded ratios."""
    shares = trained
    for _ in range(_ROUNDS):
        moved = chances * (shares / trained)
        moved /= moved.sum(axis=1, keepdims=True)
        found = (weights @ moved + HELD_BACK_BY * trained) / (weights.sum() + HELD_BACK_BY)
        found = np.clip(found / trained, 1 / MOST_RATIO, MOST_RATIO) * trained
        found /= found.sum()
        if np.abs(found - shares).max() < _SETTLED:
            return np.asarray(found)
        shares = found
    return np.asarray(shares)


def _move(found: np.ndarray, trained: np.ndarray, strength: float) -> np.ndarray:
    shares = trained * (found / trained) ** strength
    return np.asarray(shares / shares.sum())
