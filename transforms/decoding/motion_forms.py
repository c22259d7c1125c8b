"""The forms in which trackers write a frame: objects, lists of categories, strings."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from transforms.decoding.units import RADIANS, UNDECLARED, angle_unit
from transforms.decoding.vocabularies import NO_SHAPE, fold, place_names

Pose = tuple[float | None, float | None, float | None]
"""Pitch, yaw and roll."""

MOST_NAMES: Final = 1_000  # of a frame; no vocabulary has more than 200
_MOST_OF_A_HEAD: Final = 32
_NO_POSE: Final[Pose] = (None, None, None)
NO_HEAD: Final = (_NO_POSE, UNDECLARED)
_WEIGHTS: Final = frozenset({"blendshapes", "faceblendshapes", "blendshape", "shapes"})
_HEAD: Final = frozenset({"headrotation", "headpose", "rotation", "headeuler", "headorientation"})
_NESTED: Final = ("quaternion", "rotation", "orientation", "euler", "eulerangles")
_NAME: Final = ("categoryName", "category_name", "name", "Name", "k", "key", "displayName")
_VALUE: Final = ("score", "value", "Value", "v", "weight")
_PARAMETER: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*[-&]\s*(-?\d+(?:\.\d+)?)")
_HEAD_PARAMETER: Final = re.compile(r"=?head#((?:-?\d+(?:\.\d+)?,){2}-?\d+(?:\.\d+)?)")
_AXES: Final = (
    frozenset({"pitch", "x", "rx", "headpitch"}),
    frozenset({"yaw", "y", "ry", "headyaw"}),
    frozenset({"roll", "z", "rz", "headroll"}),
)


class UnreadableError(ValueError):
    """The payload is no frame: a known shape is no number, or nothing is where it belongs."""


class Frame(msgspec.Struct, gc=False):
    """One frame as it was sent: values by name, the head, and the unit of the values."""

    weights: dict[str, float | None]
    head: Any = None
    unit: str | None = None


def read_payload(payload: Any) -> Frame:
    """Read a parsed payload in whatever form its weights and head are; it may be the weights alone.

    Raises:
        UnreadableError: it is no frame, or the value of a shape is no number.
    """
    if isinstance(payload, list | str):
        return _read_weights(payload)
    if not isinstance(payload, Mapping):
        message = "neither an object nor a list nor a text"
        raise UnreadableError(message)
    if len(payload) > MOST_NAMES:
        message = "more names than any vocabulary has"
        raise UnreadableError(message)
    weights = _member(payload, "weights", _WEIGHTS)
    if weights is None and "weights" not in payload:
        # The row of a CSV file, or flat parameters: of these, what is a shape.
        weights = {name: value for name, value in payload.items() if place_names((name,)).parts}
    frame = _read_weights(weights)
    if payload.get("unit") is not None:
        frame.unit = str(payload["unit"])
    head = _member(payload, "head", _HEAD)
    if head is not None:
        frame.head = head
    return frame


def _member(payload: Mapping[str, Any], name: str, others: frozenset[str]) -> Any:
    if payload.get(name) is not None:
        return payload[name]
    return next((payload[key] for key in payload if fold(key) in others), None)


def _read_weights(weights: Any) -> Frame:
    while isinstance(weights, list) and len(weights) == 1 and isinstance(weights[0], Mapping):
        if "categories" not in weights[0]:
            break
        weights = weights[0]
    if isinstance(weights, Mapping) and isinstance(weights.get("categories"), list):
        weights = weights["categories"]
    if weights is None:
        return Frame({})
    if isinstance(weights, str):
        return read_parameters(weights)
    if isinstance(weights, list):
        return Frame(_numbers(map(_named, weights)))
    if isinstance(weights, Mapping):
        return Frame(_numbers(weights.items()))
    message = "weights are neither an object nor a list of names and values"
    raise UnreadableError(message)


def _named(item: Any) -> tuple[str, Any]:
    """Return name and value of a list's item; numbers alone do not say which shape they are."""
    if isinstance(item, Mapping):
        name = next((item[key] for key in _NAME if item.get(key)), None)
        if isinstance(name, str):
            return name, next((item[key] for key in _VALUE if key in item), None)
    message = "an item has no name"
    raise UnreadableError(message)


def _numbers(items: Iterable[tuple[str, Any]]) -> dict[str, float | None]:
    """Return the values as floats; what is no number may only stand under a name of no shape."""
    found: dict[str, float | None] = {}
    for name, value in items:
        number = _number(value)
        if number is None and value is not None and _is_shape(name):
            message = "the value of a shape is no number"
            raise UnreadableError(message)
        if number is not None or value is None:
            found[name] = number
        if len(found) > MOST_NAMES:
            message = "more names than any vocabulary has"
            raise UnreadableError(message)
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is_shape(name: str) -> bool:
    return any((part.columns != NO_SHAPE).any() for part in place_names((name,)).parts)


def read_parameters(text: str) -> Frame:
    """Read a frame as iFacialMocap and Facemotion3d send it: ``eyeBlink_L-12|…|=head#-21,-6,0``.

    Both give percent and degrees.

    Raises:
        UnreadableError: the text is no such string.
    """
    parts = [part for part in text.split("|") if part.strip()]
    values: dict[str, Any] = {}
    for part in parts[:MOST_NAMES]:
        if found := _PARAMETER.fullmatch(part.strip()):
            values[found[1]] = float(found[2])
    if not values:
        message = "the text holds no parameters"
        raise UnreadableError(message)
    head = _HEAD_PARAMETER.search(text)
    angles = [float(angle) for angle in head[1].split(",")] if head else None
    return Frame(values, {"euler": angles, "unit": "degrees"}, "percent")


def read_head(head: Any, *, inside: bool = False) -> tuple[Pose, int]:
    """Return the angles of a head, and the code of their unit.

    It is given as angles by name or axis, as three angles, or as a quaternion; of what can't be
    read there are no angles: the expression does not depend on them. ``inside`` a head is no other.
    """
    if isinstance(head, list):
        return _read_list([_number(item) for item in head[:5]])
    if not isinstance(head, Mapping) or len(head) > _MOST_OF_A_HEAD:
        return NO_HEAD
    named = {fold(key): value for key, value in head.items()}
    unit = angle_unit(named.get("unit", named.get("units")))
    for key in () if inside else _NESTED:
        if isinstance(named.get(key), list | Mapping):
            pose, inner = read_head(named[key], inside=True)
            return pose, inner or unit
    if {"x", "y", "z", "w"} <= named.keys():
        return _from_quaternion([_number(named[axis]) for axis in "xyzw"]), RADIANS
    pitch, yaw, roll = (
        next((_number(named[key]) for key in named if key in axis), None) for axis in _AXES
    )
    return (pitch, yaw, roll), unit


def _read_list(numbers: list[float | None]) -> tuple[Pose, int]:
    """Read three angles, or a quaternion with w at either end, where it is the largest.

    A face that is tracked is turned by less than 90°, so that w is more than 0.7.
    """
    if len(numbers) == 3:
        return (numbers[0], numbers[1], numbers[2]), UNDECLARED
    if len(numbers) != 4:
        return NO_HEAD
    if abs(numbers[0] or 0.0) > abs(numbers[3] or 0.0):
        numbers = [*numbers[1:], numbers[0]]
    return _from_quaternion(numbers), RADIANS


def _from_quaternion(numbers: list[float | None]) -> Pose:
    """Return pitch, yaw and roll of a rotation x, y, z, w, where Y is up."""
    q = [number for number in numbers if number is not None]
    norm = math.hypot(*q) if len(q) == 4 and all(map(math.isfinite, q)) else 0.0
    if not 0.5 < norm < 2.0:
        return _NO_POSE
    x, y, z, w = (number / norm for number in q)
    pitch = math.asin(max(-1.0, min(1.0, 2 * (w * x - y * z))))
    yaw = math.atan2(2 * (w * y + x * z), 1 - 2 * (x * x + y * y))
    roll = math.atan2(2 * (w * z + x * y), 1 - 2 * (x * x + z * z))
    return (pitch, yaw, roll)
