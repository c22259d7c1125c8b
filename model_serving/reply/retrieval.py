"""Replies by search: what was answered to the most similar words, for a language without a model.

Texts are compared by their pairs of characters, which need no dictionary of Chinese.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from model_serving.reply.candidates import is_presentable
from model_serving.reply.prompt import Cue, Turn

_MOST_PROPOSED = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """What a person said, and what was replied."""

    said: str
    reply: str


class RetrievedReplies:
    """Proposes the replies to the most similar words; it is silent where nothing was said."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        counts = [Counter(_bigrams(pair.said)) for pair in pairs]
        frequency = Counter(term for count in counts for term in count)
        self._weight = {term: math.log(len(pairs) / n) + 1 for term, n in frequency.items()}
        self._postings: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, count in enumerate(counts):
            for term, value in self._vector(count).items():
                self._postings[term].append((number, value))

    def propose(
        self, cue: Cue, dialogue: Sequence[Turn], *, seed: int, within_s: float
    ) -> list[str]:
        """Return the replies to what is most like the person's last words, the best first."""
        del seed, within_s  # the same words get the same replies, in milliseconds
        if not dialogue or not dialogue[-1].by_person:
            return []
        found = self.similar(dialogue[-1].text)[:_MOST_PROPOSED]
        replies = (self._pairs[number].reply for number, _ in found)
        return [reply for reply in replies if is_presentable(reply, cue)]

    def similar(self, text: str) -> list[tuple[int, float]]:
        """Return numbers of pairs and the cosines of what was said to a text, the best first."""
        scores: defaultdict[int, float] = defaultdict(float)
        for term, value in self._vector(Counter(_bigrams(text))).items():
            for number, weight in self._postings.get(term, ()):
                scores[number] += value * weight
        return sorted(scores.items(), key=lambda item: (-item[1], item[0]))

    def fits(self, text: str, replies: Sequence[str]) -> list[float]:
        """Return how well each reply fits a text: how like it is to what similar words got.

        Of the ten most similar words, each counts as its own cosine; the text itself counts too.
        """
        own = self._vector(Counter(_bigrams(text)))
        near = [
            (cosine, self._vector(Counter(_bigrams(self._pairs[number].reply))))
            for number, cosine in self.similar(text)[:_MOST_PROPOSED]
        ]
        total = max(sum(cosine for cosine, _ in near), 1e-9)
        vectors = [self._vector(Counter(_bigrams(reply))) for reply in replies]
        return [
            _dot(vector, own) + sum(cosine * _dot(vector, other) for cosine, other in near) / total
            for vector in vectors
        ]

    def _vector(self, count: Counter[str]) -> dict[str, float]:
        """Return the terms that are known, by weight, at length 1."""
        found = {
            term: (1 + math.log(n)) * self._weight[term]
            for term, n in count.items()
            if term in self._weight
        }
        length = math.sqrt(sum(value * value for value in found.values())) or 1.0
        return {term: value / length for term, value in found.items()}


def _bigrams(text: str) -> list[str]:
    letters = [letter for letter in text.casefold() if letter.isalnum()]
    return [a + b for a, b in pairwise(letters)]


def _dot(one: dict[str, float], other: dict[str, float]) -> float:
    return sum(value * other[term] for term, value in one.items() if term in other)
