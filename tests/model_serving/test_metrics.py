"""The figures are those by hand and scikit-learn's, and those of the literature for calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from model_serving.metrics import (
    BINS,
    accuracy_of_surest,
    bootstrap,
    confidence_and_hits,
    confusion_matrix,
    expected_calibration_error,
    label_thresholds,
    least_calibration_error,
    micro_f1,
    multi_label_f1,
    pearson,
    reliability,
    scores_of,
)
from tests.support.properties import examples


def error_of(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return expected_calibration_error(*confidence_and_hits(probabilities, labels))


def test_figures_by_hand() -> None:
    chances = np.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.8, 0.2]])
    found = scores_of(chances, np.array([0, 0, 1, 1]))
    assert found["accuracy"] == 0.75
    assert found["uar"] == 0.75
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["ece"] == pytest.approx((abs(2.4 - 2) + abs(0.6 - 1)) / 4, abs=1e-6)


def test_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(7), 500)
    labels = rng.choice([0, 1, 2, 3, 5], 500)
    found, guess, seen = scores_of(chances, labels), chances.argmax(axis=1), np.unique(labels)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, guess))
    for name, average in (("macro_f1", "macro"), ("weighted_f1", "weighted")):
        expected = metrics.f1_score(labels, guess, labels=seen, average=average)
        assert found[name] == pytest.approx(expected)
    expected = metrics.recall_score(labels, guess, labels=seen, average="macro")
    assert found["uar"] == pytest.approx(expected)


def test_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    # Two rows of confidence 0.9, both right; two of 0.6, one right.
    error = error_of(probabilities, np.array([0, 0, 0, 1]))
    assert error == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    assert error_of(np.array([[1.0, 0.0]]), np.array([0])) == 0


@examples(60)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_reliability_is_scikit_learn_s_and_the_error_its_weighted_gap(
    rows: list[tuple[float, bool]],
) -> None:
    sure, hits = (np.array(column) for column in zip(*rows, strict=True))
    # scikit-learn puts an edge into the bin below, so edges are moved off it for the comparison.
    sure = np.where(np.isin(sure, np.linspace(0, 1, BINS + 1)), 0.99 * sure + 0.001, sure)
    right, mean = calibration_curve(hits, sure, n_bins=BINS, strategy="uniform", pos_label=True)
    found = reliability(sure, hits)
    assert found[:, 0] == pytest.approx(mean)
    assert found[:, 1] == pytest.approx(right)
    assert found[:, 2].sum() == len(rows)
    expected = (np.abs(mean - right) * found[:, 2]).sum() / len(rows)
    assert expected_calibration_error(sure, hits) == pytest.approx(expected, abs=1e-12)


def test_micro_f1_is_scikit_learn_s_over_the_classes_asked_for() -> None:
    rng = np.random.default_rng(0)
    labels, guess = rng.integers(0, 4, (2, 400))
    found = micro_f1(confusion_matrix(labels, guess, 4), np.arange(3))
    expected = metrics.f1_score(labels, guess, labels=[0, 1, 2], average="micro")
    assert found == pytest.approx(expected)
    assert micro_f1(confusion_matrix(np.array([3]), np.array([3]), 4), np.arange(3)) == 0


def test_accuracy_of_the_surest_by_hand() -> None:
    sure, hits = np.array([0.2, 0.9, 0.5, 0.7]), np.array([False, True, True, False])
    found = accuracy_of_surest(sure, hits, np.array([1, 2, 3, 4]))
    assert found == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4])


def test_least_error_is_what_an_honest_model_has_on_so_many_rows() -> None:
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.4, 1.0, 300)
    honest = [expected_calibration_error(sure, rng.random(300) < sure) for _ in range(100)]
    assert least_calibration_error(sure) == pytest.approx(np.mean(honest), rel=0.1)
    assert least_calibration_error(np.repeat(sure, 20)) < least_calibration_error(sure) / 3


def test_multi_label_f1_by_hand_and_thresholds_that_maximise_it() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    marked = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], bool)
    assert multi_label_f1(marked, truth) == pytest.approx((2 / 3 + 0.8) / 2)
    rng = np.random.default_rng(0)
    truth = (rng.random((3000, 2)) < [0.1, 0.5]).astype(int)
    chances = np.clip(0.2 * truth + rng.random((3000, 2)) * [0.3, 0.8], 0, 1)
    cuts = label_thresholds(chances, truth)
    alike = [multi_label_f1(chances >= cut, truth) for cut in np.arange(0.1, 0.9, 0.05)]
    assert multi_label_f1(chances >= cuts, truth) >= max(alike) - 1e-9
    assert len(set(label_thresholds(chances[:200], truth[:200]))) == 1


def test_interval_holds_the_mean_it_was_drawn_from() -> None:
    values = np.random.default_rng(0).normal(1.0, 1.0, 400)
    low, high = bootstrap(lambda rows: float(values[rows].mean()), 400)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.25)


def test_correlation() -> None:
    ramp = np.arange(10.0)
    assert pearson(ramp, 2 * ramp + 1) == pytest.approx(1)
    assert pearson(ramp, np.ones(10)) == 0
