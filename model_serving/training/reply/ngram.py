"""A 5-gram language model with interpolated Kneser-Ney smoothing: what a net has to beat."""

from dataclasses import dataclass

import numpy as np

_ABSENT = -1


@dataclass(frozen=True, slots=True)
class _Order:
    """The n-grams of one length: each a key of its context's number and its last token.

    ``keys`` are sorted. ``counts`` are how often one occurs, or, below the highest order, after how
    many different tokens. ``totals`` and ``kinds`` are sums of counts, and numbers of n-grams, by
    the number of the context.
    """

    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    kinds: np.ndarray


class KneserNey:
    """Probabilities of a token after the ``order - 1`` before it (Chen and Goodman, 1999).

    Every order takes the same ``discount`` off each count and gives it to the order below; the
    lowest gives its part to all of the vocabulary alike.
    """

    def __init__(
        self, tokens: np.ndarray, vocabulary: int, order: int = 5, discount: float = 0.75
    ) -> None:
        self._vocabulary, self._discount = vocabulary, discount
        self._known: list[np.ndarray] = []
        numbers = [np.zeros(len(tokens), np.int64)]  # of the n-gram that ends at each token
        for length in range(1, order + 1):
            keys = self._keys(numbers[-1], tokens, length)
            known = np.unique(keys[keys != _ABSENT])
            self._known.append(known)
            numbers.append(_find(known, keys))
        self._orders = [
            self._order(length, numbers, highest=length == order) for length in range(1, order + 1)
        ]

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Return the log-probability of each token after those before it, (n,)."""
        found = np.full(len(tokens), 1 / self._vocabulary)
        context = np.zeros(len(tokens), np.int64)
        for length, order in enumerate(self._orders, 1):
            keys = self._keys(context, tokens, length)
            place = _find(order.keys, keys)
            before = _shift(context) if length > 1 else context
            seen = before != _ABSENT
            total = np.where(seen, order.totals[before], 0)
            count = np.where(place != _ABSENT, order.counts[place], 0)
            own = np.maximum(count - self._discount, 0) / np.maximum(total, 1)
            below = self._discount * order.kinds[before] / np.maximum(total, 1)
            found = np.where(total > 0, own + below * found, found)
            context = place
        return np.log(found)

    def _keys(self, context: np.ndarray, tokens: np.ndarray, length: int) -> np.ndarray:
        """Return the key of the n-gram of this length that ends at each token, or _ABSENT."""
        before = context if length == 1 else _shift(context)
        return np.where(before == _ABSENT, _ABSENT, before * self._vocabulary + tokens)

    def _order(self, length: int, numbers: list[np.ndarray], *, highest: bool) -> _Order:
        own, known = numbers[length], self._known[length - 1]
        if highest:
            counts = np.bincount(own[own != _ABSENT], minlength=len(known))
        else:
            longer = numbers[length + 1]
            there = np.flatnonzero(longer != _ABSENT)
            _, first = np.unique(longer[there], return_index=True)
            counts = np.bincount(own[there[first]], minlength=len(known))
        context = known // self._vocabulary
        size = 1 if length == 1 else len(self._known[length - 2])
        return _Order(
            keys=known,
            counts=counts,
            totals=np.bincount(context, counts, minlength=size),
            kinds=np.bincount(context, counts > 0, minlength=size),
        )


def _shift(numbers: np.ndarray) -> np.ndarray:
    """Return for each place the number at the place before."""
    return np.concatenate([[_ABSENT], numbers[:-1]])


def _find(known: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the place of each key among the known ones, which are sorted, or _ABSENT."""
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[place] == keys, place, _ABSENT)
