"""Units of motion: weights become fractions and angles radians, or the row says it can't be known.

Nothing is remembered from one record to the next: a replay in other batches must give the same
rows. What a record declares holds, then what its format fixes; without either, weights are
fractions as the schema says, and a record that can't be one is refused.
"""

import re
from typing import Final, NamedTuple

import numpy as np

UNDECLARED: Final = 0
_SPELLINGS: Final = (
    ("fraction", "fractions", "0-1", "0.0-1.0", "unit", "normalized", "normalised", "ratio"),
    ("percent", "percents", "percentage", "%", "pct", "0-100", "百分比", "パーセント", "prozent"),
    ("byte", "bytes", "uint8", "u8", "8bit", "0-255"),
    ("signed", "-1-1", "-1.0-1.0"),
)
_RANGE: Final = re.compile(r"^(-?[\d.]*\d)(?:\.{2,3}|to|–|,|~)(-?[\d.]+)$")
_CODES: Final = {name: 1 + code for code, names in enumerate(_SPELLINGS) for name in names}
PERCENT: Final = _CODES["percent"]
_LEAST: Final = np.array([0, 0, 0, 0, -1], np.float32)
_SPAN: Final = np.array([1, 1, 100, 255, 2], np.float32)

OVERSHOOT: Final = 0.05
"""How far trackers, and rounding, go beyond a range: that much is cut off."""
_MANY: Final = 20
"""So many shapes that are all whole numbers were not measured as fractions."""

RADIANS: Final = 1
DEGREES: Final = 2
_ANGLES: Final = {
    "radians": RADIANS, "radian": RADIANS, "rad": RADIANS,
    "degrees": DEGREES, "degree": DEGREES, "deg": DEGREES, "°": DEGREES,
}  # fmt: skip
_HALF_TURN: Final = 3.1416
_ABSURD: Final = 1e4


class Fractions(NamedTuple):
    """Values as fractions, NaN where there is none, and a mask of rows whose unit is not known."""

    values: np.ndarray
    doubtful: np.ndarray


def weight_unit(declared: str | None) -> int | None:
    """Return the code of a declared unit of weights, None for a name that says nothing."""
    return UNDECLARED if declared is None else _CODES.get(_plain(declared))


def angle_unit(declared: object) -> int:
    """Return the code of a declared unit of angles; a name that says nothing declares nothing."""
    return _ANGLES.get(_plain(declared), UNDECLARED) if isinstance(declared, str) else UNDECLARED


def _plain(unit: str) -> str:
    """Return a unit without case and spaces, a range of numbers as ``0-100``."""
    plain = "".join(unit[:32].casefold().split()).strip("[]()")
    return plain if plain in _ANGLES else _RANGE.sub(r"\1-\2", plain)


def to_fractions(
    values: np.ndarray, units: np.ndarray, low: np.ndarray, high: np.ndarray, whole: int
) -> Fractions:
    """Scale float32 ``values`` (n, k) by the unit of each row, and cut off small overshoots.

    ``low`` and ``high`` (k,) bound each column as a fraction. ``whole`` is the unit of frames of
    whole numbers that declare none, UNDECLARED where these could be anything.
    """
    odd = (units == UNDECLARED) & _all_whole(values)
    doubtful = odd & (whole == UNDECLARED)
    units = np.where(odd, whole, units)
    scaled = units > 1
    if scaled.any():
        codes = units[scaled, None]
        values = values.copy()
        values[scaled] = (values[scaled] - _LEAST[codes]) / _SPAN[codes]
    outside = (values < low) | (values > high)
    if outside.any():
        margin = np.float32(OVERSHOOT) * (high - low)
        doubtful = doubtful | ((values < low - margin) | (values > high + margin)).any(axis=1)
        values = np.clip(values, low, high)
    return Fractions(values, doubtful)


def _all_whole(values: np.ndarray) -> np.ndarray:
    """Return which rows are a whole frame of whole numbers, not all of them 0.

    A face at rest in percent is 0, 1 and 2; on a scale from 0 to 1 no tracker gives 20 such.
    """
    found = np.zeros(len(values), bool)
    likely = np.flatnonzero(~(values[:, :8] % 1 > 0).any(axis=1)) if values.shape[1] else found[:0]
    some = values[likely]
    given = ~np.isnan(some)
    whole = (~given | (some == np.rint(some))).all(axis=1)
    moved = (given & (some != 0)).any(axis=1)
    found[likely] = whole & moved & (given.sum(axis=1) >= _MANY)
    return found


def to_radians(angles: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return angles (n, 3) in radians from -π to π; 0 where there is none, or an absurd one.

    More than half a turn is in degrees, whatever is not declared. Less could be either, and is
    taken for radians: any pose from -π to π moves the accuracy by 0.3 points or less.
    """
    angles = np.where(np.isfinite(angles), angles, np.float32(0))
    size = np.abs(angles).max(axis=1, initial=0.0)
    degrees = (units == DEGREES) | ((units == UNDECLARED) & (size > _HALF_TURN))
    if not degrees.any() and (size <= _HALF_TURN).all():
        return angles
    angles = np.where((size < _ABSURD)[:, None], angles, np.float32(0))
    turned = np.where(degrees[:, None], np.deg2rad(angles), angles)
    far = np.abs(turned) > _HALF_TURN
    turned = np.where(far, np.remainder(turned + np.pi, 2 * np.pi) - np.pi, turned)
    return turned.astype(np.float32)
