"""Shares of the expressions in a deployment, without labels, from how a model answers its events.

How often each label gets each answer is known from dev rows, so the answers to a log tell how often
each label occurs there, if nothing else differs: expectation maximisation after Saerens, Latinne
and Decaestecker (2002) on the confusion matrix of Lipton, Wang and Smola (2018), in which an answer
is the likeliest label in three grades of confidence. Saerens' own, on the posteriors, needs them to
be calibrated abroad, where they are not.

It is held back where it is unsure: subjects with many events count little more than others, a
Dirichlet prior at the shares of the training draws few events back, and ratios are bounded. What is
different about the answers beyond the shares shows how far another corpus is from that of training:
the estimate goes as far as it explains the answers to people who were left out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

BETWEEN_SUBJECTS: Final = 0.05
"""Correlation of two events of one subject, assumed: a subject counts for 20 events at most."""

HELD_BACK_BY: Final = 100.0
"""Events that the shares of the training count for."""

MOST_RATIO: Final = 4.0
"""How many times its share in training a label may have, and how small a part of it."""

SMOOTHED_BY: Final = 20.0
"""Rows of all labels together that each label's answers are mixed with: rare ones have but few."""

FOLDS: Final = 5
_ROUNDS: Final = 500
_SETTLED: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Priors:
    """Shares (k,) of the labels in training and in a deployment, and how sure the latter are.

    ``explained``, at most 1, is how much of the difference between the answers to the deployment
    and those to be expected from training the shares explain, measured on subjects left out as
    log-likelihood; ``differs`` is that difference for each event, and ``by_chance`` what sampling
    alone makes of it.
    """

    trained: np.ndarray
    shares: np.ndarray
    explained: float
    differs: float
    by_chance: float

    @property
    def bias(self) -> np.ndarray:
        """What to add to the logits (k,): as much of the change of the shares as they explain."""
        return np.asarray(max(self.explained, 0.0) * np.log(self.shares / self.trained))


def find_priors(answers: np.ndarray, subjects: np.ndarray, counts: np.ndarray) -> Priors:
    """Return the priors by the answers (n,) to events of these subjects (n,).

    ``counts`` (k, answers) are those of dev rows (``calibration.answers`` of a card).
    """
    _, own = np.unique(subjects, return_inverse=True)
    per_subject = np.bincount(own)[own]
    weights = 1 / (1 + (per_subject - 1) * BETWEEN_SUBJECTS)
    trained = (counts.sum(axis=1) + 1) / (counts.sum() + len(counts))
    common = counts.sum(axis=0) + 1 / len(counts)
    table = counts + SMOOTHED_BY * common / common.sum()
    table /= table.sum(axis=1, keepdims=True)

    def seen(rows: np.ndarray) -> np.ndarray:
        return np.bincount(answers[rows], weights[rows], minlength=table.shape[1])

    gain = 0.0
    for fold in range(FOLDS):
        held = own % FOLDS == fold
        shares = _maximise(seen(~held), table, trained)
        gain += float(seen(held) @ np.log(shares @ table / (trained @ table)))
    every = seen(np.ones(len(answers), bool))
    total = every.sum()
    there = every > 0
    spread = every[there] @ np.log(every[there] / total / (trained @ table)[there])
    return Priors(
        trained,
        _maximise(every, table, trained),
        gain / spread if spread else 0.0,
        float(spread / total),
        float((table.shape[1] - 1) / (2 * total)),
    )


def _maximise(seen: np.ndarray, table: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Return the likeliest shares (k,) under the Dirichlet prior, with bounded ratios."""
    shares = trained
    for _ in range(_ROUNDS):
        joint = shares[:, None] * table
        joint /= joint.sum(axis=0)
        found = (joint @ seen + HELD_BACK_BY * trained) / (seen.sum() + HELD_BACK_BY)
        found = np.clip(found / trained, 1 / MOST_RATIO, MOST_RATIO) * trained
        found /= found.sum()
        if np.abs(found - shares).max() < _SETTLED:
            return np.asarray(found)
        shares = found
    return np.asarray(shares)
