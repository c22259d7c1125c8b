"""Frames that contradict themselves: in two vocabularies, or a unit and the values it is for.

What such a frame shows nobody knows, so that none of its shapes counts as tracked. Nothing of it
is judged against other frames: a replay in other batches has to find the same.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np

from schemas.arkit import AU_BLENDSHAPES, BLENDSHAPES, EXPRESSION_UNITS, SIDES
from transforms.decoding.units import OVERSHOOT, PERCENT
from transforms.decoding.vocabularies import Vocabulary

_MOVED: Final = 0.3
"""A shape that is moved by less says little: VRM presets rest at 0 beside ARKit's shapes."""
_SHARED: Final = 0.25
"""Of one face, two trackers see at least so much alike; joy and anger have no shape in common."""
_SECOND: Final = (0.2, 0.6)
"""A second preset of so much, and of so large a part of the first, is no trace of a fade."""
_HINT: Final = 0.2  # of an unknown shape
_REST: Final = 0.1  # noise of a known one
_MANY: Final = 20  # shapes; a frame of fewer has no still ones to compare with

EXPRESSIVE: Final = np.array(
    sorted(
        BLENDSHAPES.index(name)
        for unit in {unit for units in EXPRESSION_UNITS.values() for unit in units} - {26}
        for name in AU_BLENDSHAPES[unit]
    )
)
"""Shapes that tell expressions apart. The jaw is left out: it moves whenever somebody speaks."""


class Said(NamedTuple):
    """What one vocabulary says in some rows: weights (m, 52), and which rows leave out the rest."""

    rows: np.ndarray
    weights: np.ndarray
    sparse: np.ndarray
    reach: np.ndarray


def are_two_faces(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether weights (52,) of two vocabularies, NaN where not said, are of two faces.

    Both move, and hardly any of what one moves is moved by the other, which says that it rests.
    """
    one, other = one[EXPRESSIVE], other[EXPRESSIVE]
    both = ~(np.isnan(one) | np.isnan(other))
    one, other = np.nan_to_num(one), np.nan_to_num(other)
    if not both.any() or min(one.max(), other.max()) < _MOVED:
        return False
    shared = np.minimum(one, other)[both].sum()
    return bool(shared < _SHARED * min(one.sum(), other.sum()))


def find_two_faces(said: list[Said], count: int) -> np.ndarray:
    """Return the rows of which two vocabularies show different faces."""
    torn = np.zeros(count, bool)
    spoken = np.zeros(count, np.int32)
    for each in said:
        spoken[each.rows] += 1
    several: dict[int, list[np.ndarray]] = {row: [] for row in np.flatnonzero(spoken > 1).tolist()}
    if not several:
        return torn
    for rows, weights, sparse, reach in said:
        filled = np.where(np.isnan(weights) & reach & sparse[:, None], np.float32(0), weights)
        for row, face in zip(rows.tolist(), filled, strict=True):
            if row in several:
                several[row].append(face)
    for row, faces in several.items():
        torn[row] = any(are_two_faces(*pair) for pair in combinations(faces, 2))
    return torn


def find_opposed(vocabulary: Vocabulary, fractions: np.ndarray) -> np.ndarray:
    """Return the rows (n,) of fractions (n, k) in which two whole faces are shown at once."""
    if not vocabulary.opposed:
        return np.zeros(len(fractions), bool)
    groups = [np.nan_to_num(fractions[:, list(each)]).max(axis=1) for each in vocabulary.opposed]
    second, first = np.sort(np.stack(groups, axis=1), axis=1)[:, -2:].T
    return np.asarray((second >= _SECOND[0]) & (second >= _SECOND[1] * first))


def find_misdeclared(
    values: np.ndarray, units: np.ndarray, weigh: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return the rows (n,) of values (n, k) that have a large unit and look like fractions.

    None is over 1, they are no whole numbers, and as fractions, of which ``weigh`` makes weights
    (n, 52), they show an expression while most shapes rest. A face at rest in percent has values
    such as .8 all over.
    """
    found = np.zeros(len(values), bool)
    rows = np.flatnonzero(units >= PERCENT)
    if not rows.size:
        return found
    some = values[rows]
    given = ~np.isnan(some)
    small = (~given | ((some >= -OVERSHOOT) & (some <= 1 + OVERSHOOT))).all(axis=1)
    rows = rows[small & (given & (some % 1 > 0)).any(axis=1)]
    if rows.size:
        found[rows] = _show_a_face(np.clip(weigh(values[rows]), np.float32(0), np.float32(1)))
    return found


def _show_a_face(weights: np.ndarray) -> np.ndarray:
    moved = np.nan_to_num(weights[:, EXPRESSIVE]) >= _MOVED
    given = (~np.isnan(weights)).sum(axis=1)
    busy = 2 * (np.nan_to_num(weights) > _HINT).sum(axis=1) > given
    return np.asarray((moved.sum(axis=1) >= 2) & ~(busy & (given >= _MANY)))


def are_symmetric(weights: np.ndarray) -> np.ndarray:
    """Return which rows of weights (n, 52) are alike on both sides, as no noise is."""
    left, right = np.array(SIDES).T
    one, other = weights[:, left], weights[:, right]
    return np.asarray(((one == other) | np.isnan(one) | np.isnan(other)).all(axis=1))


def may_show_more(weights: np.ndarray, unknown: np.ndarray) -> bool:
    """Return whether only unknown names (k,) move, and shapes are missing that they may be.

    ``weights`` (52,) are those that are known.
    """
    known = weights[EXPRESSIVE]
    hinted = (np.abs(np.nan_to_num(unknown)) >= _HINT).any()
    return bool(hinted and np.isnan(known).any() and (np.nan_to_num(known) < _REST).all())
