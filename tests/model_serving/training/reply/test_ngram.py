"""The n-gram model against its formula, counted by hand, and as a distribution."""

import numpy as np
import pytest

from model_serving.training.reply.ngram import KneserNey

TOKENS = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2])


def by_formula(context: int, token: int, discount: float = 0.75) -> float:
    """Return the probability that bigrams give, by plain counting."""
    pairs = list(zip(TOKENS[:-1].tolist(), TOKENS[1:].tolist(), strict=True))
    kinds = set(pairs)
    before = len({a for a, b in kinds if b == token})
    single = max(before - discount, 0) / len(kinds)
    single += discount * len({b for _, b in kinds}) / len(kinds) / 5
    total = sum(a == context for a, _ in pairs)
    if not total:
        return single
    own = max(pairs.count((context, token)) - discount, 0) / total
    return own + discount * len({b for a, b in kinds if a == context}) / total * single


@pytest.mark.parametrize("context", range(5))
@pytest.mark.parametrize("token", range(5))
def test_bigrams_are_those_of_the_formula(context: int, token: int) -> None:
    found = KneserNey(TOKENS, 5, order=2).log_probabilities(np.array([context, token]))
    assert np.exp(found[1]) == pytest.approx(by_formula(context, token))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_chances_of_all_tokens_sum_to_one(order: int) -> None:
    model = KneserNey(np.random.default_rng(1).integers(0, 6, 400), 7, order=order)
    for context in ([], [1], [1, 2], [5, 5, 5, 5], [6, 0, 1, 2, 3]):
        chances = [
            np.exp(model.log_probabilities(np.array([*context, token]))[-1]) for token in range(7)
        ]
        assert sum(chances) == pytest.approx(1)


def test_a_longer_context_tells_more_of_what_repeats() -> None:
    tokens = np.tile([0, 1, 0, 2], 50)
    held = np.tile([0, 1, 0, 2], 5)
    costs = [-KneserNey(tokens, 3, order).log_probabilities(held)[4:].mean() for order in (1, 2, 3)]
    assert costs[0] > costs[1] > costs[2]
