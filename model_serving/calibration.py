"""Calibration: temperature scaling, its error, and the confidence under which a model abstains."""

import numpy as np

from model_serving.card import Calibration

BINS = 15  # as in Guo et al., "On Calibration of Modern Neural Networks" (2017)


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


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, confidence, bins) - np.bincount(place, right.astype(float), bins)
    return float(np.abs(gaps).sum() / len(labels))


def abstention_threshold(confidence: np.ndarray, coverage: float = 0.9) -> float:
    """Return the confidence that this share of the rows reaches, the rest being abstained on."""
    return float(np.quantile(confidence, 1.0 - coverage, method="lower"))


def calibrate(logits: np.ndarray, labels: np.ndarray, coverage: float = 0.9) -> Calibration:
    """Fit temperature and threshold on the rows of a dev split; ``ece`` is theirs as well."""
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits, temperature)
    return Calibration(
        temperature=round(temperature, 4),
        threshold=round(abstention_threshold(probabilities.max(axis=1), coverage), 4),
        ece=round(expected_calibration_error(probabilities, labels), 4),
    )
