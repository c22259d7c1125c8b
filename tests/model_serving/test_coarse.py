"""Scores go on in coarse steps, which depend on nothing but the event."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_serving.coarse import STEPS, coarsen, near_edge, round_scores
from model_serving.recogniser import Estimates
from schemas.vocabularies import EXPRESSIONS

LABELS = len(EXPRESSIONS)
WEIGHTS = st.lists(st.floats(0.001, 1), min_size=LABELS, max_size=LABELS)


def normal(weights: list[float]) -> np.ndarray:
    return np.array([weights]) / sum(weights)


@given(WEIGHTS)
def test_coarse_scores_are_probabilities_with_the_same_winner(weights: list[float]) -> None:
    scores = normal(weights)
    coarse = round_scores(scores)
    assert coarse.sum() == pytest.approx(1)
    assert (coarse > 0).all()
    assert np.abs(coarse - scores).max() < 1.5 / STEPS
    if not near_edge(scores)[0]:
        assert coarse.argmax() == scores.argmax()


@given(WEIGHTS, st.lists(st.floats(-1e-6, 1e-6), min_size=LABELS, max_size=LABELS))
def test_a_small_change_moves_nothing_but_near_an_edge(
    weights: list[float], noise: list[float]
) -> None:
    scores = normal(weights)
    if not near_edge(scores)[0]:
        assert np.array_equal(round_scores(scores), round_scores(scores + np.array([noise])))


def test_what_cannot_be_judged_stays_uniform() -> None:
    flat = np.full((2, LABELS), 1 / LABELS)
    assert round_scores(flat) == pytest.approx(flat, abs=1e-9)
    assert not near_edge(flat).any()


def test_the_largest_remainders_get_the_steps_that_are_left() -> None:
    scores = np.array([[0.4, 0.18, 0.14, 0.12, 0.1, 0.06, 0.0], [0.94, 0.06, *[0.0] * 5]])
    steps = np.rint(round_scores(scores) * (STEPS + 0.45) - 0.1)
    assert steps.tolist() == [[2, 1, 1, 1, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0]]
    assert round_scores(scores)[0, 0] == pytest.approx(0.4, abs=0.02), "no step is lost"


def test_a_row_near_an_edge_is_judged_by_itself() -> None:
    """What the batch adds to a score must not decide who gets the last step."""
    alone = np.array([[0.44, 0.28 - 1e-7, 0.28 + 1e-7, 0.0, 0.0, 0.0, 0.0]])
    company = alone[:, [0, 2, 1, 3, 4, 5, 6]]
    assert not np.array_equal(round_scores(alone), round_scores(company)), "noise would decide"
    asked: list[int] = []

    def given_scores(scores: np.ndarray) -> Estimates:
        return Estimates(np.array([4]), scores, np.zeros((1, 32)), forward_us=10)

    def again(row: int) -> Estimates:
        asked.append(row)
        return replace(given_scores(alone), rows=np.array([0]))

    for scores in (alone, company):
        found = coarsen(given_scores(scores), again)
        assert np.array_equal(found.scores, round_scores(alone))
        assert found.confidence.tolist() == [0.44], "by which abstention is judged"
        assert found.forward_us == 20
    assert asked == [4, 4]


def test_valence_and_arousal_of_a_model_do_not_go_on() -> None:
    scores = normal([1, 2, 3, 4, 5, 6, 9])
    exact = Estimates(np.array([0]), scores, np.zeros((1, 32)), circumplex=np.array([[0.1, 0.2]]))
    assert coarsen(exact, lambda _: exact).circumplex is None
