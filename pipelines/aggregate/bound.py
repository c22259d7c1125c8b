"""Contribution bounds: what each subject adds to each group, limited and in whole numbers.

Whatever a subject's windows say, what they add stays within what the noise hides. Additions are
integers on a grid, so that no last bits of a floating-point number can tell what noise was added.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.aggregate.question import TIMES, Question
from schemas.tables import EMOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS

GRID = 1 << 16
"""Steps of the grid for 1: for the whole of a subject's windows, or the reach of a value."""
MIDDLE_AND_REACH = {"valence": (0.0, 1.0), "arousal": (0.0, 1.0), "confidence": (0.5, 0.5)}
"""Value → middle and reach of its range; what lies outside is clipped."""
_PERIOD_US = {"day": 86_400_000_000, "hour": 3_600_000_000}
_TIME = EMOTION_FEATURES.field("window_start").type


@dataclass(frozen=True, slots=True)
class Sums:
    """Exact sums over the subjects of each group. They are secret: only noise may read them.

    ``groups`` has the columns that name the groups. ``of`` has int64 sums by name, of shape
    (groups, 1), of ``expressions`` (groups, expressions). A subject adds 1 to ``subjects``, the
    number of their windows to ``windows``, and to the others the mean over their windows, in steps
    of the grid: ``estimated`` of 1 where a window did not abstain, ``valence`` and its like of the
    distance from the middle of the range, -1 to 1, ``expressions`` of 1 where it was the one shown.
    A window that abstained counts as 0 in these means.
    """

    groups: dict[str, pa.ChunkedArray]
    of: dict[str, np.ndarray]


def sum_by_group(
    windows: pa.Table,
    question: Question,
    *,
    max_groups: int,
    max_windows: int,
    rng: np.random.Generator,
) -> Sums:
    """Return the sums of the windows that ``question.sql`` read.

    A subject counts in at most ``max_groups`` groups, with at most ``max_windows`` windows in each:
    random samples of theirs, whatever other subjects do.
    """
    subject = _codes(windows["subject_ref"])
    group, row_of_group = _group_codes(windows, question)
    _, row_of_pair, pair = np.unique(
        subject * len(row_of_group) + group, return_index=True, return_inverse=True
    )
    counts = np.zeros(len(row_of_pair), bool)
    counts[sample(subject[row_of_pair], max_groups, rng)] = True
    rows = np.flatnonzero(counts[pair])
    rows = rows[sample(pair[rows], max_windows, rng)]
    sums = {}
    for name, added in _additions(windows.take(pa.array(rows)), pair[rows], len(counts)).items():
        sums[name] = np.zeros((len(row_of_group), added.shape[1]), np.int64)
        np.add.at(sums[name], group[row_of_pair], added)
    return Sums(_named_groups(windows.take(pa.array(row_of_group)), question), sums)


def sample(codes: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of at most ``limit`` rows of each code (0 or more), chosen at random."""
    shuffled = rng.permutation(len(codes))
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    place = np.arange(len(order)) - np.repeat(starts, lengths)
    return order[place < limit]


def _additions(windows: pa.Table, pair: np.ndarray, pairs: int) -> dict[str, np.ndarray]:
    """Return what each pair of subject and group adds: int64 of shape (pairs, 1 or expressions)."""
    n_windows = np.bincount(pair, minlength=pairs)
    of = np.maximum(n_windows, 1)
    estimated = pc.is_valid(windows["expression"]).to_numpy()
    label = pc.index_in(windows["expression"], pa.array(EXPRESSIONS)).fill_null(len(EXPRESSIONS))
    cells = pair * (len(EXPRESSIONS) + 1) + label.to_numpy()
    shown = np.bincount(cells, minlength=pairs * (len(EXPRESSIONS) + 1))
    shown = shown.reshape(pairs, len(EXPRESSIONS) + 1)[:, : len(EXPRESSIONS)]
    added = {
        "subjects": (n_windows > 0).astype(np.int64),
        "windows": n_windows,
        "estimated": GRID * np.bincount(pair[estimated], minlength=pairs) // of,
    }
    for name, (middle, reach) in MIDDLE_AND_REACH.items():
        values = windows[name].cast(pa.float64()).fill_null(middle).to_numpy()
        distance = np.nan_to_num(np.clip((values - middle) / reach, -1, 1)) * estimated
        total = np.bincount(pair, weights=distance, minlength=pairs)
        added[name] = np.clip(np.trunc(GRID * total / of), -GRID, GRID).astype(np.int64)
    return {name: each[:, None] for name, each in added.items()} | {
        "expressions": GRID * shown // of[:, None]  # rounded down: their sum is at most the grid
    }


def _group_codes(windows: pa.Table, question: Question) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each row, counted from 0, and for each group one of its rows."""
    codes = np.zeros(windows.num_rows, np.int64)
    for name in question.by:
        column = _codes(_group_column(windows, name))
        _, codes = np.unique(codes * (column.max(initial=0) + 1) + column, return_inverse=True)
    _, rows, codes = np.unique(codes, return_index=True, return_inverse=True)
    return codes, rows


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    encoded = column.dictionary_encode(null_encoding="encode").unify_dictionaries()
    indices = [chunk.indices.to_numpy() for chunk in encoded.chunks]
    return np.concatenate([np.empty(0, np.int64), *indices], dtype=np.int64)


def _named_groups(windows: pa.Table, question: Question) -> dict[str, pa.ChunkedArray]:
    columns = {name: _group_column(windows, name) for name in question.by}
    for name in TIMES:
        if name in columns:
            start = pc.multiply(columns[name], _PERIOD_US[name]).cast(_TIME)
            columns[name] = start.cast(pa.date32()) if name == "day" else start
    return columns


def _group_column(windows: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in TIMES:
        return windows[name]
    return pc.divide(windows["window_start"].cast(pa.int64()), _PERIOD_US[name])
