"""Calibration finds a known temperature, and its error is zero where confidence is honest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_serving.calibration import (
    abstention_threshold,
    apply_calibration,
    calibrate,
    fit_temperature,
    softmax,
)
from model_serving.card import Calibration
from model_serving.metrics import confidence_and_hits, expected_calibration_error


def honest(count: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from exactly the probabilities that they stand for."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (count, 7))
    chances = softmax(logits).cumsum(axis=1)
    labels = (rng.random(count)[:, None] > chances).sum(axis=1).clip(max=6)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(temperature: float) -> None:
    logits, labels = honest(20_000, 2.0)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_lowers_the_error_of_an_overconfident_model() -> None:
    logits, labels = honest(10_000, 2.0)
    before = expected_calibration_error(*confidence_and_hits(softmax(logits * 4), labels))
    found = calibrate(logits * 4, labels)
    assert before > 0.15
    assert found.ece is not None
    assert found.ece < 0.02


@given(
    st.lists(st.floats(0.15, 1.0), min_size=1, max_size=200),
    st.floats(0.0, 1.0),
)
def test_threshold_covers_at_least_what_was_asked(values: list[float], coverage: float) -> None:
    confidence = np.array(values)
    threshold = abstention_threshold(confidence, coverage)
    assert (confidence >= threshold).mean() >= coverage - 1e-9
    assert threshold in confidence


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=7), st.floats(0.05, 20))
def test_softmax_is_a_distribution(row: list[float], temperature: float) -> None:
    found = softmax(np.array([row]), temperature)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()


def test_the_bias_of_a_card_mends_shares_that_are_wrong() -> None:
    logits, _ = honest(1_000, 1.0)
    shift = np.array([2.0, 0, 0, 0, 0, 0, -1.0])
    card = Calibration(temperature=2.0, bias=tuple(-shift))
    chances = apply_calibration(card, 2 * (logits + shift))
    assert chances == pytest.approx(softmax(logits))


def test_threshold_is_reached_by_the_stated_coverage() -> None:
    logits, labels = honest(5_000, 1.5)
    found = calibrate(logits, labels, 0.7)
    assert found.coverage == 0.7
    reached = apply_calibration(found, logits).max(axis=1) >= found.threshold
    assert reached.mean() == pytest.approx(0.7, abs=0.01)
