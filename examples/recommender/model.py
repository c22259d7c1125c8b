"""A recommender: taste by matrix factorisation, re-ranked by what the shown expression lifts."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares

from schemas.vocabularies import EXPRESSIONS

FACTORS, PENALTY, ITERATIONS = 32, 0.05, 12
PRIOR = 20
"""Choices that an expression is taken to have had before any was seen, spread as all choices."""


@dataclass(frozen=True, slots=True)
class Taste:
    """Factors of people (p, 32) and items (i, 32)."""

    people: np.ndarray
    items: np.ndarray

    def scores(self, people: np.ndarray, offers: np.ndarray) -> np.ndarray:
        """Return how much these people (n,) like what they are offered (n, k): (n, k)."""
        return np.einsum("nf,nkf->nk", self.people[people], self.items[offers])


def fit_taste(people: np.ndarray, items: np.ndarray, shape: tuple[int, int]) -> Taste:
    """Factorise who (n,) chose what (n,); ``shape`` is the number of people and of items."""
    chosen = sp.csr_matrix((np.ones(len(people), np.float32), (people, items)), shape=shape)
    model = AlternatingLeastSquares(
        factors=FACTORS,
        regularization=PENALTY,
        iterations=ITERATIONS,
        random_state=1,
        num_threads=1,  # with several the sums differ from run to run
    )
    model.fit(chosen, show_progress=False)
    return Taste(model.user_factors, model.item_factors)


def fit_lift(
    expressions: np.ndarray, confidences: np.ndarray, genres: np.ndarray, count: int
) -> np.ndarray:
    """Return what each expression lifts: log of a genre's share under it against its share at all.

    ``expressions`` (n,) are indices, -1 where none is known; ``genres`` (n,) those of the chosen
    items. A choice counts by the confidence (n,) in its expression. The result is (7, genres).
    """
    known = expressions >= 0
    counts = np.zeros((len(EXPRESSIONS), count))
    np.add.at(counts, (expressions[known], genres[known]), confidences[known])
    overall = np.bincount(genres, minlength=count) / len(genres)
    shares = (counts + PRIOR * overall) / (counts.sum(axis=1, keepdims=True) + PRIOR)
    return np.log(shares / overall)


def lifts(
    lift: np.ndarray, expressions: np.ndarray, confidences: np.ndarray, genres: np.ndarray
) -> np.ndarray:
    """Return what to add to the scores of offers of these genres (n, k), before it is weighted.

    It shrinks with the confidence, and is zero where no expression is known.
    """
    known = expressions >= 0
    return np.where(known, confidences, 0)[:, None] * lift[expressions[:, None], genres]
