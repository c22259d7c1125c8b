"""Shares of labels from answers: found where only they differ, held back where that is unsure."""

import numpy as np
import pytest

from pipelines.models.adapt.priors import BETWEEN_SUBJECTS, MOST_RATIO, find_priors

SHARES = np.array([0.5, 0.3, 0.2])
TABLE = np.full((3, 9), 0.03)
TABLE[[0, 1, 2], [2, 5, 8]] = 0.56
TABLE[[0, 1, 2], [1, 4, 7]] = 0.23
COUNTS = np.rint(5_000 * SHARES[:, None] * TABLE / TABLE.sum(axis=1, keepdims=True)).astype(int)


def draw(shares: list[float], count: int, table: np.ndarray = TABLE) -> np.ndarray:
    """Answers to events of these shares."""
    rng = np.random.default_rng(5)
    chances = np.array(shares) @ (table / table.sum(axis=1, keepdims=True))
    return rng.choice(len(chances), count, p=chances)


def test_other_shares_are_found_and_explain_the_answers() -> None:
    shares = [0.2, 0.3, 0.5]
    found = find_priors(draw(shares, 5_000), np.arange(5_000), COUNTS)
    assert found.trained == pytest.approx(SHARES, abs=0.01)
    assert found.shares == pytest.approx(shares, abs=0.03)
    assert found.explained > 0.9
    assert found.differs > 10 * found.by_chance
    assert found.bias[2] > 0 > found.bias[0]


def test_the_same_shares_differ_by_chance_alone() -> None:
    found = find_priors(draw(SHARES.tolist(), 2_000), np.arange(2_000), COUNTS)
    assert found.differs < 2 * found.by_chance
    assert found.shares == pytest.approx(SHARES, abs=0.03)


def test_answers_that_no_shares_explain_move_the_bias_little() -> None:
    elsewhere = np.roll(TABLE, -1, axis=1)  # all is answered with less confidence
    found = find_priors(draw([0.2, 0.3, 0.5], 5_000, elsewhere), np.arange(5_000), COUNTS)
    honest = find_priors(draw([0.2, 0.3, 0.5], 5_000), np.arange(5_000), COUNTS)
    assert found.differs > honest.differs
    assert found.explained < 0.5
    assert np.abs(found.bias).max() < np.abs(honest.bias).max()


def test_few_events_and_few_subjects_stay_near_the_training() -> None:
    answers = draw([0.2, 0.3, 0.5], 2_000)

    def third(rows: int, subjects: int) -> float:
        return float(find_priors(answers[:rows], np.arange(rows) % subjects, COUNTS).shares[2])

    assert SHARES[2] < third(50, 50) < third(500, 500) < third(2_000, 2_000)
    assert third(2_000, 10) < third(2_000, 200)


def test_a_talkative_subject_counts_for_twenty_events_at_most() -> None:
    quiet, loud = draw(SHARES.tolist(), 400), np.full(10_000, 8)
    answers = np.concatenate([quiet, loud])
    subjects = np.concatenate([np.arange(400), np.full(10_000, 400)])
    found = find_priors(answers, subjects, COUNTS)
    most = 1 / BETWEEN_SUBJECTS / (400 + 1 / BETWEEN_SUBJECTS + 100)
    assert found.shares[2] < SHARES[2] + most + 0.03


def test_no_share_runs_away() -> None:
    found = find_priors(np.full(50_000, 8), np.arange(50_000), COUNTS)
    ratios = found.shares / found.trained
    assert ratios.max() / ratios.min() <= MOST_RATIO**2 * (1 + 1e-9)
    assert found.shares.sum() == pytest.approx(1)


def test_order_changes_nothing_but_rounding() -> None:
    answers, subjects = draw([0.2, 0.3, 0.5], 900), np.arange(900) // 7
    back = find_priors(answers[::-1], subjects[::-1], COUNTS)
    assert back.shares == pytest.approx(find_priors(answers, subjects, COUNTS).shares)
