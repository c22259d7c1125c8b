"""The figures of estimates against labels: each is calculated here, and nowhere else.

Training, evaluation, the screen and the report call these functions. They need numpy alone:
scikit-learn comes with the extra ``train`` only, and takes ten times as long, which tells where an
interval asks 200 times. The tests compare the two.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

BINS: Final = 15
"""Bins of equal width of every calibration error and reliability curve.

As in Guo et al., "On Calibration of Modern Neural Networks" (2017), whose figures others compare
with. With fewer, gaps to both sides of the diagonal cancel within a bin: on the same rows ten bins
gave .039 where fifteen gave .066.
"""

_SMALL = 1000  # rows of dev below which all labels share a threshold: for each it would be chance
_GRID = np.arange(0.05, 0.95, 0.01)


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of predictions (n,) that are the labels (n,); n > 0."""
    return float((labels == predicted).mean())


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the (classes, classes) counts of rows, label by prediction."""
    cells = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)


def macro_f1(confusion: np.ndarray) -> float:
    """Return the mean F1 over the classes that occur as labels, as ``uar`` takes them too."""
    return float(_f1_by_class(confusion)[confusion.sum(axis=1) > 0].mean())


def weighted_f1(confusion: np.ndarray) -> float:
    """Return the mean F1 over the classes, each weighted by the rows that it labels."""
    return float(np.average(_f1_by_class(confusion), weights=confusion.sum(axis=1)))


def uar(confusion: np.ndarray) -> float:
    """Return the unweighted average recall: the mean over the classes that occur as labels."""
    rows = confusion.sum(axis=1)
    return float((confusion.diagonal()[rows > 0] / rows[rows > 0]).mean())


def micro_f1(confusion: np.ndarray, classes: np.ndarray) -> float:
    """Return the F1 of all rows labelled or predicted as one of these classes together."""
    either = confusion[classes].sum() + confusion[:, classes].sum()
    return float(_f1(confusion.diagonal()[classes].sum(), either))


def _f1_by_class(confusion: np.ndarray) -> np.ndarray:
    return _f1(confusion.diagonal(), confusion.sum(axis=0) + confusion.sum(axis=1))


def _f1(hits: np.ndarray, either: np.ndarray) -> np.ndarray:
    """Return the F1 of so many hits among rows labelled plus rows predicted; 0 where none is."""
    return np.asarray(2 * hits / np.maximum(either, 1))


def confidence_and_hits(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the top probability of each row (n,), and whether its class is the label (n,)."""
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def reliability(confidence: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Return a row for each of the ``BINS`` that is filled: mean confidence, accuracy, rows."""
    place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    rows = np.bincount(place, minlength=BINS)
    filled = rows > 0
    sums = [np.bincount(place, of, BINS)[filled] for of in (confidence, hits.astype(float))]
    return np.column_stack([*[total / rows[filled] for total in sums], rows[filled]])


def expected_calibration_error(confidence: np.ndarray, hits: np.ndarray) -> float:
    """Return the mean gap between confidence (n,) and accuracy over the bins, weighted by rows."""
    sure, right, rows = reliability(confidence, hits).T
    return float(np.average(np.abs(sure - right), weights=rows))


def least_calibration_error(confidence: np.ndarray, draws: int = 100) -> float:
    """Return the mean ECE of a model that is right exactly as often as these confidences say.

    It is what chance alone gives: about .07 for 240 rows and .015 for 5,000. No model can be asked
    for less.
    """
    rng = np.random.default_rng(0)
    drawn = (rng.random(len(confidence)) < confidence for _ in range(draws))
    return float(np.mean([expected_calibration_error(confidence, hits) for hits in drawn]))


def accuracy_of_surest(confidence: np.ndarray, hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the accuracy of the ``counts`` (k,) most confident rows: the risk-coverage curve."""
    order = np.argsort(-confidence, kind="stable")
    return np.asarray(np.cumsum(hits[order])[counts - 1] / counts)


def scores_of(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return accuracy, macro-F1, weighted F1, UAR and ECE of (n, k) probabilities."""
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, probabilities.shape[1])
    return {
        "accuracy": accuracy(labels, predicted),
        "macro_f1": macro_f1(confusion),
        "weighted_f1": weighted_f1(confusion),
        "uar": uar(confusion),
        "ece": expected_calibration_error(*confidence_and_hits(probabilities, labels)),
    }


def multi_label_f1(marked: np.ndarray, labels: np.ndarray) -> float:
    """Return macro-F1 over the labels (columns) of (n, k) marks against (n, k) truth."""
    hits = (marked & (labels > 0)).sum(axis=0)
    either = marked.sum(axis=0) + (labels > 0).sum(axis=0)
    return float(_f1(hits, either).mean())


def label_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (k,) thresholds with the best F1 on these dev rows; one for all on a small dev set."""
    count = labels.shape[1]
    if len(labels) < _SMALL:
        found = [multi_label_f1(probabilities >= cut, labels) for cut in _GRID]
        return np.full(count, _GRID[int(np.argmax(found))])
    best = []
    for column in range(count):
        chance, truth = probabilities[:, [column]], labels[:, [column]]
        found = [multi_label_f1(chance >= cut, truth) for cut in _GRID]
        best.append(_GRID[int(np.argmax(found))])
    return np.array(best)


def bootstrap(
    figure: Callable[[np.ndarray], float], count: int, *, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of ``figure(rows)`` over resampled rows."""
    return bootstrap_all(lambda rows: {"": figure(rows)}, count, draws=draws, seed=seed)[""]


def bootstrap_all(
    figures: Callable[[np.ndarray], dict[str, float]],
    count: int,
    *,
    draws: int = 200,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return the intervals of several figures of the same resampled rows."""
    rng = np.random.default_rng(seed)
    found = [figures(rng.integers(0, count, count)) for _ in range(draws)]
    return {
        name: tuple(np.quantile([one[name] for one in found], [0.025, 0.975]).tolist())
        for name in found[0]
    }


def pearson(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the correlation of two (n,) vectors; 0 where one is constant."""
    if np.std(found) == 0 or np.std(truth) == 0:
        return 0.0
    return float(np.corrcoef(found, truth)[0, 1])
