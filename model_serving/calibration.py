"""Calibration: temperature, bias, and the confidence under which a model abstains."""

import numpy as np

from model_serving.card import Calibration
from model_serving.metrics import (
    accuracy,
    confidence_and_hits,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
)

ANSWERS_EACH = 3
"""Answers that are told apart for each label: unsure, likely and sure."""

_LIKELY, _SURE = 0.5, 0.8
_STRENGTHS = tuple(step / 20 for step in range(21))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the (n, k) probabilities of these logits divided by the temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in [0.05, 20] with the least negative log-likelihood on these rows.

    The loss has one minimum, so a coarse grid and a fine one around its best find it to 0.4 %.
    """
    rows = np.arange(len(labels))

    def best_of(grid: np.ndarray) -> int:
        right = [softmax(logits, float(temperature))[rows, labels] for temperature in grid]
        return int(np.argmin([-np.log(np.maximum(chances, 1e-12)).mean() for chances in right]))

    coarse = np.geomspace(0.05, 20.0, 61)
    at = best_of(coarse)
    fine = np.geomspace(coarse[max(at - 1, 0)], coarse[min(at + 1, len(coarse) - 1)], 61)
    return float(fine[best_of(fine)])


def abstention_threshold(confidence: np.ndarray, coverage: float = 0.9) -> float:
    """Return the confidence that this share of the rows reaches, the rest being abstained on."""
    return float(np.quantile(confidence, 1.0 - coverage, method="lower"))


def apply_calibration(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    """Return the calibrated (n, k) probabilities of these logits of the mapped labels."""
    return softmax(scale_logits(calibration, logits))


def scale_logits(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    """Return the (n, k) logits over the temperature, with the bias."""
    shift = np.asarray(calibration.bias) if calibration.bias else 0.0
    return np.asarray(logits, np.float64) / calibration.temperature + shift


def answer_of(chances: np.ndarray) -> np.ndarray:
    """Return the answer (n,) to each row of (n, k): its likeliest label, in three grades."""
    grade = np.digitize(chances.max(axis=1), (_LIKELY, _SURE))
    return np.asarray(chances.argmax(axis=1) * ANSWERS_EACH + grade)


def count_answers(
    calibration: Calibration, logits: np.ndarray, labels: np.ndarray
) -> tuple[tuple[int, ...], ...]:
    """Return how many rows of each label (k) the calibrated logits give each answer (3 k)."""
    size = logits.shape[1]
    found = np.zeros((size, size * ANSWERS_EACH), np.int64)
    np.add.at(found, (labels, answer_of(apply_calibration(calibration, logits))), 1)
    return tuple(tuple(row) for row in found.tolist())


def fit_prior(logits: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> tuple[float, ...]:
    """Return what to add to the logits (n, k) so that rare labels are found as well as common ones.

    That is minus the logarithm of the labels' ``shares`` (k,) of the training rows, times the
    strength in [0, 1] that gives these rows the best macro-F1 while their accuracy falls by no more
    than its standard error, which luck alone moves it by (logit adjustment, Menon et al., 2021).
    """
    rare = -np.log(shares)
    rare -= rare.mean()
    found = [(logits + strength * rare).argmax(axis=1) for strength in _STRENGTHS]
    right = [accuracy(labels, predicted) for predicted in found]
    least = right[0] - np.sqrt(right[0] * (1 - right[0]) / len(labels))
    balance = [
        macro_f1(confusion_matrix(labels, predicted, len(shares))) if hits >= least else 0.0
        for predicted, hits in zip(found, right, strict=True)
    ]
    strength = _STRENGTHS[int(np.argmax(balance))]
    return tuple(float(value) for value in strength * rare) if strength else ()


def calibrate(
    logits: np.ndarray,
    labels: np.ndarray,
    coverage: float = 0.9,
    shares: np.ndarray | None = None,
    temperature: float | None = None,
) -> Calibration:
    """Fit temperature, unless one is given, and threshold on dev rows; ``ece`` is theirs too.

    With the labels' ``shares`` (k,) of the training rows also the bias of ``fit_prior``.
    """
    shift = fit_prior(logits, labels, shares) if shares is not None else ()
    if temperature is None:
        temperature = fit_temperature(logits + np.array(shift or 0.0), labels)
    temperature = round(temperature, 4)
    bias = tuple(round(value / temperature, 4) for value in shift)
    found = Calibration(temperature=temperature, bias=bias, coverage=coverage)
    probabilities = apply_calibration(found, logits)
    threshold = abstention_threshold(probabilities.max(axis=1), coverage)
    error = expected_calibration_error(*confidence_and_hits(probabilities, labels))
    return found.model_copy(update={"threshold": round(threshold, 4), "ece": round(error, 4)})
