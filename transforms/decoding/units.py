"""Units of motion: weights become fractions and angles radians, or the row says it can't be known.

Nothing is remembered from one record to the next: a replay in other batches must give the same
rows. What a record declares holds, then what its format fixes; without either, weights are
fractions as the schema says, and a record that can't be one is refused.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

UNDECLARED: Final = 0.0
FRACTION: Final = 1.0
PERCENT: Final = 100.0
BYTE: Final = 255.0
SIGNED: Final = -1.0
"""A unit is what a shape that is fully moved has, and -1 for values from -1, at rest, to 1."""

_WORDS: Final = {
    "fraction": FRACTION, "fractions": FRACTION, "unit": FRACTION, "normalized": FRACTION,
    "normalised": FRACTION, "ratio": FRACTION,
    "percent": PERCENT, "percents": PERCENT, "percentage": PERCENT, "pct": PERCENT,
    "%": PERCENT, "百分比": PERCENT, "パーセント": PERCENT, "prozent": PERCENT,
    "byte": BYTE, "bytes": BYTE, "uint8": BYTE, "u8": BYTE, "8bit": BYTE,
    "uint16": 65_535.0,
    "permille": 1000.0, "‰": 1000.0,
    "signed": SIGNED,
}  # fmt: skip
_SCALES: Final = {FRACTION: FRACTION, PERCENT: PERCENT, BYTE: BYTE}
_OTHERS: Final = frozenset(
    {"m", "cm", "mm", "meter", "meters", "metres", "metric", "deg", "degrees", "rad", "radians"}
)
"""Of positions and angles; under ``units`` they say nothing of weights."""
_FILLING: Final = frozenset({"in", "of", "the", "from", "a"})
_RANGE: Final = re.compile(r"(-?\d+(?:\.\d+)?)%?\s*(?:-|\.{2,3}|to|–|,|~)\s*(-?\d+(?:\.\d+)?)%?")
_WORD: Final = re.compile(r"%|‰|[^\W_]+")
_LARGEST: Final = 65_535.0  # of two bytes
_LONGEST: Final = 32

UNIT_MEMBERS: Final = (
    "unit", "units", "Unit", "Units", "UNIT", "UNITS", "weightUnit", "weight_unit", "weightsUnit",
    "weights_unit", "range", "Range", "scale", "Scale",
)  # fmt: skip
"""Members of a payload that say in what its weights are measured."""

OVERSHOOT: Final = 0.1
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
    """Values as fractions, NaN where there is none, and masks of rows.

    The unit of ``doubtful`` ones is not known. ``switched`` ones are whole frames of 0 and 1.
    """

    values: np.ndarray
    doubtful: np.ndarray
    switched: np.ndarray


def weight_unit(declared: str | None) -> float | None:
    """Return a declared unit of weights, UNDECLARED for no text, None for one that names no unit.

    ``percent``, ``%``, ``0-100``, ``[0, 100]`` and ``percent (0-100)`` are one. A range from 0 is a
    unit whatever its end is; one from -1 to 1 is ``signed``.
    """
    return UNDECLARED if declared is None else _read_unit(declared[:_LONGEST])


@lru_cache(maxsize=256)
def _read_unit(text: str) -> float | None:
    if not text.strip():
        return UNDECLARED
    text = text.casefold()
    found = {_of_range(float(low), float(high)) for low, high in _RANGE.findall(text)}
    words = set(_WORD.findall(_RANGE.sub(" ", text))) - _FILLING
    found |= {_WORDS.get(word) for word in words}
    return found.pop() if len(found) == 1 else None


def _of_range(low: float, high: float) -> float | None:
    if (low, high) == (-1.0, 1.0):
        return SIGNED
    return high if low == 0.0 and FRACTION <= high <= _LARGEST else None


def unit_name(unit: float) -> str:
    """Return a unit in words: ``percent``, or ``0 to 127`` where it has no name."""
    names = {FRACTION: "fraction", PERCENT: "percent", BYTE: "byte", SIGNED: "signed"}
    return names.get(unit, f"0 to {unit:g}")


def declared_unit(members: Iterable[tuple[str, Any]]) -> float | None:
    """Return the unit that members of a payload declare, None where they name none, or several.

    A ``range`` that is no pair of numbers declares nothing, nor does a ``scale`` other than 1, 100
    and 255: it may be the avatar's.
    """
    found = {_of_member(name.casefold(), value) for name, value in members if value is not None}
    found.discard(UNDECLARED)
    if not found:
        return UNDECLARED
    return found.pop() if len(found) == 1 else None


def _of_member(name: str, value: Any) -> float | None:
    if name == "scale":
        return _SCALES.get(value, UNDECLARED) if type(value) in {int, float} else UNDECLARED
    if name == "range" and not isinstance(value, str):
        ends = value if isinstance(value, list) and len(value) == 2 else ()
        numbers = [float(end) for end in ends if type(end) in {int, float} and abs(end) <= _LARGEST]
        return _of_range(*numbers) if len(numbers) == 2 else UNDECLARED
    if not isinstance(value, str):
        return None
    if name == "units" and value[:_LONGEST].strip().casefold() in _OTHERS:
        return UNDECLARED
    return weight_unit(value)


def angle_unit(declared: object) -> int:
    """Return the code of a declared unit of angles, 0 for none and for a name that says nothing."""
    return _ANGLES.get(declared[:_LONGEST].strip().casefold(), 0) if type(declared) is str else 0


def to_fractions(
    values: np.ndarray, units: np.ndarray, low: np.ndarray, high: np.ndarray, whole: float
) -> Fractions:
    """Scale float32 ``values`` (n, k) by the unit of each row, and cut off small overshoots.

    ``low`` and ``high`` (k,) bound each column as a fraction. ``whole`` is the unit of frames of
    whole numbers that declare none, UNDECLARED where these could be anything.
    """
    odd = (units == UNDECLARED) & _all_whole(values)
    odd_ones = odd & (whole == UNDECLARED)
    switched = np.zeros(len(values), bool)
    switched[odd_ones] = _are_switches(values[odd_ones])
    doubtful = odd_ones & ~switched
    units = np.where(odd, whole, units)
    scaled = (units != UNDECLARED) & (units != FRACTION)
    if scaled.any():
        units = units[scaled, None].astype(np.float32)
        least = np.where(units == SIGNED, np.float32(-1), np.float32(0))
        values = values.copy()
        values[scaled] = (values[scaled] - least) / np.where(least < 0, np.float32(2), units)
    outside = (values < low) | (values > high)
    if outside.any():
        margin = np.float32(OVERSHOOT) * (high - low)
        doubtful = doubtful | ((values < low - margin) | (values > high + margin)).any(axis=1)
        values = np.clip(values, low, high)
    return Fractions(values, doubtful, switched)


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


def _are_switches(values: np.ndarray) -> np.ndarray:
    """Return which rows are 0 and 1 alone, most of them 0: shapes that a key switches."""
    given = ~np.isnan(values)
    on = given & (values == 1)
    return np.asarray(
        (~given | on | (values == 0)).all(axis=1) & (2 * on.sum(axis=1) < given.sum(axis=1))
    )


def to_radians(angles: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return angles (n, 3) in radians from -π to π; 0 where there is none, or an absurd one.

    More than half a turn is in degrees, whatever is not declared. Less could be either, and is
    taken for radians: any pose from -π to π moves the accuracy by 0.3 points or less.
    """
    angles = np.where(np.isfinite(angles), angles, np.float32(0))
    size = np.abs(angles).max(axis=1, initial=0.0)
    degrees = (units == DEGREES) | ((units == 0) & (size > _HALF_TURN))
    if not degrees.any() and (size <= _HALF_TURN).all():
        return angles
    angles = np.where((size < _ABSURD)[:, None], angles, np.float32(0))
    turned = np.where(degrees[:, None], np.deg2rad(angles), angles)
    far = np.abs(turned) > _HALF_TURN
    turned = np.where(far, np.remainder(turned + np.pi, 2 * np.pi) - np.pi, turned)
    return turned.astype(np.float32)
