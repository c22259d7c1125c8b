"""Figures of a model on a split: accuracy, F1, recall, calibration, with bootstrap intervals."""

from collections.abc import Callable

import numpy as np

from model_serving.calibration import expected_calibration_error

_SMALL = 1000  # rows of dev under which one threshold serves all labels: per label it would be luck
_GRID = np.arange(0.05, 0.95, 0.01)


def scores_of(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return accuracy, macro-F1, weighted F1, UAR and ECE of (n, k) probabilities.

    Macro-F1 and UAR are means over the classes that occur in ``labels`` (n,).
    """
    count = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    # From one table: scikit-learn takes ten times as long, and an interval asks 200 times.
    table = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    support, hits = table.sum(axis=1), table.diagonal()
    present = support > 0
    f1 = 2 * hits / np.maximum(support + table.sum(axis=0), 1)
    return {
        "accuracy": float(hits.sum() / len(labels)),
        "macro_f1": float(f1[present].mean()),
        "weighted_f1": float((f1 * support).sum() / len(labels)),
        "uar": float((hits[present] / support[present]).mean()),
        "ece": expected_calibration_error(probabilities, labels),
    }


def multi_label_f1(marked: np.ndarray, labels: np.ndarray) -> float:
    """Return macro-F1 over the labels (columns) of (n, k) marks against (n, k) truth."""
    hits = (marked & (labels > 0)).sum(axis=0)
    either = marked.sum(axis=0) + (labels > 0).sum(axis=0)
    return float(np.mean(np.where(either > 0, 2 * hits / np.maximum(either, 1), 0.0)))


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
