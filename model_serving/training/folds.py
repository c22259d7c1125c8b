"""Cross-validation: folds in which no speaker or dialogue is on both sides."""

from collections.abc import Callable, Iterator

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from schemas.errors import AffectstreamError


def folds(
    labels: np.ndarray, groups: np.ndarray, count: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (training rows, held-out rows) of each fold, stratified by label (n,).

    All rows of one group (n,) stay together. Raises AffectstreamError for fewer than two folds, or
    more than there are groups.
    """
    most = len(np.unique(groups))
    if not 2 <= count <= most:
        message = f"{count} folds can't be made, 2 to {most:,} can: one a speaker or dialogue"
        raise AffectstreamError(message)
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    yield from splitter.split(np.zeros(len(labels)), labels, groups)


def cross_validated(
    labels: np.ndarray,
    groups: np.ndarray,
    count: int,
    seed: int,
    judge: Callable[[int, np.ndarray, np.ndarray], dict[str, float]],
) -> list[dict[str, float]]:
    """Return what ``judge(fold, training rows, held-out rows)`` found in each fold."""
    parts = folds(labels, groups, count, seed)
    return [judge(number, train, held) for number, (train, held) in enumerate(parts)]
