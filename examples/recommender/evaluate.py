"""Whether an expression makes a ranking better, and by how much at least and at most."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from examples.recommender.expressions import ShownExpressions
from examples.recommender.model import Taste, fit_lift, fit_taste, lifts
from examples.recommender.sessions import ITEMS, PEOPLE, Visits, subject
from schemas.vocabularies import EXPRESSIONS

TRAINED, VALIDATED = 0.7, 0.85
"""Visits up to here train, and up to there choose the weight; the others, all later, test."""
WEIGHTS = np.linspace(0, 1, 21)
ROUNDS, LEVEL = 2_000, 0.95


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the feed said of each visit.

    ``expressions`` (n,) are indices of ``EXPRESSIONS``, -1 for nothing; ``confidences`` (n,) go
    from 0 to 1.
    """

    expressions: np.ndarray
    confidences: np.ndarray

    def shuffled(self, seed: int = 0) -> "Estimates":
        """Return the same estimates, each beside another visit."""
        order = np.random.default_rng(seed).permutation(len(self.expressions))
        return Estimates(self.expressions[order], self.confidences[order])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean NDCG@20 over the test visits by taste alone and with the expression, and the gain.

    ``low`` and ``high`` bound the gain at 95 %; ``weight`` is what the expression was given.
    """

    alone: float
    together: float
    low: float
    high: float
    weight: float

    @property
    def gain(self) -> float:
        """How much the expression adds."""
        return self.together - self.alone


def look_up(visits: Visits, shown: ShownExpressions, begin: datetime) -> Estimates:
    """Return what is known of each visit's person at the time of the visit."""
    found = [
        shown.at(subject(int(person), begin), time)
        for person, time in zip(visits.people, visits.times(begin), strict=True)
    ]
    names = [one.expression if one and one.expression else None for one in found]
    return Estimates(
        np.array([-1 if name is None else EXPRESSIONS.index(name) for name in names]),
        np.array([one.confidence if one else 0.0 for one in found]),
    )


def compare(visits: Visits, estimates: Estimates) -> Comparison:
    """Train on the first visits, weigh on the next and compare on the last."""
    count = len(visits.people)
    train = slice(0, round(TRAINED * count))
    weigh = slice(train.stop, round(VALIDATED * count))
    test = slice(weigh.stop, count)
    chosen = visits.chosen[train]
    taste = fit_taste(visits.people[train], chosen, (PEOPLE, ITEMS))
    lift = fit_lift(
        estimates.expressions[train],
        estimates.confidences[train],
        visits.genres[chosen],
        visits.genres.max() + 1,
    )

    def scored(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        return _parts(visits, estimates, rows, taste, lift)

    liked, lifted = scored(weigh)
    goodness = [ndcg(liked + w * lifted, visits.choices[weigh]).mean() for w in WEIGHTS]
    weight = float(WEIGHTS[int(np.argmax(goodness))])
    liked, lifted = scored(test)
    alone = ndcg(liked, visits.choices[test])
    together = ndcg(liked + weight * lifted, visits.choices[test])
    low, high = interval(together - alone, visits.people[test])
    return Comparison(float(alone.mean()), float(together.mean()), low, high, weight)


def _parts(
    visits: Visits, estimates: Estimates, rows: slice, taste: Taste, lift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (n, 20) that taste gives, and what the expression lifts."""
    offers = visits.offers[rows]
    shown, sure = estimates.expressions[rows], estimates.confidences[rows]
    return taste.scores(visits.people[rows], offers), lifts(
        lift, shown, sure, visits.genres[offers]
    )


def ndcg(scores: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Return the NDCG of each visit (n,), of which one of the offers (n, k) was chosen.

    Offers with the same score share their ranks, so that a model that knows nothing gains nothing.
    """
    own = scores[np.arange(len(choices)), choices][:, None]
    rank = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
    return 1 / np.log2(rank + 2)


def interval(gains: np.ndarray, people: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean gain, by bootstrap over people.

    Visits of one person are alike: drawing visits would make it too narrow.
    """
    _, who = np.unique(people, return_inverse=True)
    sums, counts = np.bincount(who, gains), np.bincount(who)
    draws = np.random.default_rng(seed).integers(0, len(sums), (ROUNDS, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
