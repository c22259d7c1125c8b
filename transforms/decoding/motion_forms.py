"""The forms in which trackers write a frame: objects, lists of categories, strings."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from transforms.decoding.shape_names import fold
from transforms.decoding.units import (
    PERCENT,
    RADIANS,
    UNDECLARED,
    UNIT_MEMBERS,
    angle_unit,
    declared_unit,
)
from transforms.decoding.vocabularies import NO_SHAPE, place_names, vocabularies

Pose = tuple[float | None, float | None, float | None]
"""Pitch, yaw and roll."""

MOST_NAMES: Final = 1_000  # of a frame; no vocabulary has more than 200
_MOST_OF_A_HEAD: Final = 32
_NO_POSE: Final[Pose] = (None, None, None)
NO_HEAD: Final = (_NO_POSE, 0)
_WEIGHTS: Final = frozenset(
    {
        *("weights", "blendshapes", "faceblendshapes", "arkitblendshapes", "blendshape", "shapes"),
        *("blendshapeweights", "faceweights", "face", "expressions", "coefficients", "values"),
        *("morphtargets", "parameters", "parametervalues", "actionunits", "aus"),
    }
)
_NAMES: Final = frozenset({"names", "facsnames", "blendshapenames", "shapenames"})
_NUMBERS: Final = frozenset({"weights", "values", "weightmat", "scores", "coefficients"})
_UNITS: Final = frozenset({"unit", "units", "weightunit", "weightsunit", "range", "scale"})
_HEAD: Final = frozenset({"headrotation", "headpose", "rotation", "headeuler", "headorientation"})
_NESTED: Final = ("quaternion", "rotation", "orientation", "euler", "eulerangles")
_NAME: Final = (
    "categoryName", "category_name", "name", "Name", "k", "key", "id", "label", "shape",
    "blendShapeLocation", "displayName",
)  # fmt: skip
_VALUE: Final = (
    "score", "value", "Value", "v", "weight", "amount", "intensity", "coefficient",
)  # fmt: skip
_NUMBER: Final = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_PARAMETER: Final = re.compile(rf"([A-Za-z_][A-Za-z0-9_]*)\s*[-&]\s*({_NUMBER})")
_LIST: Final = re.compile(rf"=?([A-Za-z]+)#({_NUMBER}(?:,{_NUMBER})*)")
_SAME: Final = 0.01  # by so much two spellings of one shape may differ
_DEEPEST: Final = 4  # lists and objects around a frame
_LOOKED_AT: Final = 16  # members of a payload, and names of a member, in search of shapes
_SEND: Final = 'send {"weights": {"jawOpen": 0.3, "mouthSmileLeft": 0.7}}'
_AXES: Final = (
    frozenset({"pitch", "x", "rx", "headpitch"}),
    frozenset({"yaw", "y", "ry", "headyaw"}),
    frozenset({"roll", "z", "rz", "headroll"}),
)


class UnreadableError(ValueError):
    """The payload is no frame: a known shape is no number, or nothing is where it belongs."""


class Frame(msgspec.Struct, gc=False):
    """One frame as it was sent: values by name, the head, and the unit of the values.

    The unit is UNDECLARED where the frame says none, None where what it says is none.
    """

    weights: dict[str, float | None]
    head: Any = None
    unit: float | None = UNDECLARED


def read_payload(payload: Any, depth: int = 0) -> Frame:
    """Read a parsed payload in whatever form its weights and head are; it may be the weights alone.

    Raises:
        UnreadableError: it is no frame, or the value of a shape is no number.
    """
    if not isinstance(payload, Mapping):
        return _read_weights(payload, depth)
    if len(payload) > MOST_NAMES:
        message = "more names than any vocabulary has"
        raise UnreadableError(message)
    folded = {fold(key): value for key, value in payload.items() if value is not None}
    frame = _read_columns(folded)
    if frame is None:
        weights = payload.get("weights")
        if weights is None:
            weights = next((folded[key] for key in folded if key in _WEIGHTS), None)
        frame = _search(payload, depth) if weights is None else _read_weights(weights, depth)
    unit = declared_unit((key, value) for key, value in folded.items() if key in _UNITS)
    if unit != UNDECLARED:
        frame.unit = unit
    head = next((folded[key] for key in folded if key == "head" or key in _HEAD), None)
    if head is not None:
        frame.head = head
    return frame


def _read_columns(members: Mapping[str, Any]) -> Frame | None:
    """Read names in one list and values in another, None where there are no such lists."""
    inner = members.get("blendshapes")
    names = inner.get("names") if isinstance(inner, Mapping) else None
    names = names or next((members[key] for key in members if key in _NAMES), None)
    values = next((members[key] for key in members if key in _NUMBERS), None)
    if not isinstance(names, list) or not isinstance(values, list):
        return None
    if values and all(isinstance(each, list) for each in values):
        values = _only(values)
    if len(names) != len(values) or not all(isinstance(name, str) for name in names):
        message = f"as many names as values are needed: {_SEND}"
        raise UnreadableError(message)
    return Frame(_numbers(zip(names, values, strict=True)))


def _search(payload: Mapping[str, Any], depth: int) -> Frame:
    """Read the one member that holds shapes, or what of the payload is a shape itself.

    Such are the row of a CSV file, flat parameters and a tracker's own name for its weights.
    """
    if "weights" in payload and len(payload) <= 2:
        return Frame({})
    around = [each for each in payload.values() if isinstance(each, Mapping | list)]
    inside = [each for each in around[:_LOOKED_AT] if _holds_shapes(each, _DEEPEST - depth)]
    if len(inside) > 1:
        message = f"several members hold shapes, and an event is of one face: {_SEND}"
        raise UnreadableError(message)
    if inside:
        return read_payload(inside[0], depth + 1)
    weights = {name: value for name, value in payload.items() if place_names((name,)).parts}
    if not weights and "weights" not in payload:
        message = f"no shape was found: {_SEND}"
        raise UnreadableError(message)
    return Frame(_numbers(weights.items()))


def _holds_shapes(value: Any, depth: int) -> bool:
    """Return whether one of the first names in an object or a list is that of a shape."""
    if not depth:
        return False
    if isinstance(value, list):
        return any(_holds_shapes(item, depth - 1) for item in value[:2]) or (
            bool(value) and isinstance(value[0], str) and _is_shape(value[0])
        )
    if not isinstance(value, Mapping):
        return False
    few = list(value.items())[:_LOOKED_AT]
    if any(_is_shape(name) or (name in _NAME and _is_shape(each)) for name, each in few):
        return True
    return any(
        _holds_shapes(each, depth - 1) for _, each in few if isinstance(each, Mapping | list)
    )


def _only(items: list[Any]) -> Any:
    if len(items) > 1:
        message = "several faces or frames in one event: send each as an event of its own"
        raise UnreadableError(message)
    return items[0]


def _read_weights(weights: Any, depth: int) -> Frame:
    if depth > _DEEPEST:
        message = f"nested too deep: {_SEND}"
        raise UnreadableError(message)
    if isinstance(weights, str):
        return _read_string(weights, depth)
    if isinstance(weights, Mapping):
        return _read_object(weights, depth)
    if not isinstance(weights, list):
        message = f"weights are neither an object nor a list of names and values: {_SEND}"
        raise UnreadableError(message)
    if weights and all(map(_is_frame, weights)):
        return read_payload(_only(weights), depth + 1)
    return Frame(_numbers(map(_named, weights)))


def _is_frame(item: Any) -> bool:
    """Return whether an item of a list is a frame, and no name with its value."""
    if isinstance(item, list):
        return bool(item) and isinstance(item[0], list | Mapping)
    return (
        isinstance(item, Mapping)
        and not any(isinstance(item.get(key), str) for key in _NAME)
        and "args" not in item
        and not (len(item) == 1 and _number(next(iter(item.values()))) is not None)
    )


def _read_object(weights: Mapping[str, Any], depth: int) -> Frame:
    if isinstance(weights.get("categories"), list):
        return _read_weights(weights["categories"], depth + 1)
    frame = _read_columns(
        {fold(key): value for key, value in weights.items() if type(value) is list}
    )
    if frame is None:
        frame = Frame(_numbers(weights.items()))
    if weights and not frame.weights:
        message = f"none of the weights is a number: {_SEND}"
        raise UnreadableError(message)
    said = [(key, weights[key]) for key in UNIT_MEMBERS if isinstance(weights.get(key), str | list)]
    frame.unit = declared_unit((key.replace("_", ""), value) for key, value in said)
    return frame


def _read_string(text: str, depth: int) -> Frame:
    """Read JSON within a string, or the parameters of a phone."""
    if text.lstrip()[:1] not in {"{", "["}:
        return read_parameters(text)
    try:
        inner = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        message = f"the text is neither JSON nor a string of parameters: {_SEND}"
        raise UnreadableError(message) from None
    return read_payload(inner, depth + 1)


def _named(item: Any) -> tuple[str, Any]:
    """Return name and value of a list's item; numbers alone do not say which shape they are."""
    if isinstance(item, Mapping):
        if isinstance(item.get("args"), list):  # of an OSC message
            return _named(item["args"])
        name = next((item[key] for key in _NAME if item.get(key) and type(item[key]) is str), None)
        value = [item[key] for key in _VALUE if key in item]
        if name is not None and value:
            return name, value[0]
        if len(item) == 1 and name is None:
            return next(iter(item.items()))
    elif isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
        return item[0], item[1]
    message = f"an item of the list has no name, or no value: {_SEND}"
    raise UnreadableError(message)


def _numbers(items: Iterable[tuple[str, Any]]) -> dict[str, float | None]:
    """Return the values as floats; what is no number may only stand under a name of no shape."""
    found: dict[str, float | None] = {}
    for name, value in items:
        number = _number(value)
        if number is None and value is not None and (shape := _shape_of(name)):
            kind = {str: "a text", bool: "true or false"}.get(type(value), "a list or an object")
            message = f"`{shape}` is {kind}, and has to be a number: {_SEND}"
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


def _is_shape(name: Any) -> bool:
    return isinstance(name, str) and _shape_of(name) is not None


def _shape_of(name: str) -> str | None:
    """Return a shape as its vocabulary's table names it, None for a name of no shape."""
    for part in place_names((name,)).parts:
        names = vocabularies()[part.vocabulary].names
        column = int(part.columns[0])
        if column != NO_SHAPE:
            return names[column] if column < len(names) else "head"
    return None


def read_parameters(text: str) -> Frame:
    """Read a frame as iFacialMocap and Facemotion3d send it: ``eyeBlink_L-12|…|=head#-21,-6,0``.

    Both give percent and degrees.

    Raises:
        UnreadableError: the text is no such string, or a part of it is damaged or cut off.
    """
    parts = [part.strip() for part in text.split("|") if part.strip()]
    values: dict[str, float | None] = {}
    head = None
    for number, part in enumerate(parts[: MOST_NAMES + 1], start=1):
        if found := _PARAMETER.fullmatch(part):
            values[found[1]] = float(found[2])
        elif found := _LIST.fullmatch(part):
            angles = [float(angle) for angle in found[2].split(",")]
            head = angles[:3] if found[1] == "head" and len(angles) >= 3 else head
        elif values:
            message = f"part {number} of the string is cut off or damaged: send it whole"
            raise UnreadableError(message)
    if not values:
        raise UnreadableError
    if len(values) > MOST_NAMES:
        message = "more names than any vocabulary has"
        raise UnreadableError(message)
    return Frame(values, {"euler": head, "unit": "degrees"}, PERCENT)


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
        return (numbers[0], numbers[1], numbers[2]), 0
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


def agreed_values(
    frame: dict[str, float | None], twice: Sequence[tuple[int, int]]
) -> list[float | None]:
    """Return the values of a frame; where two spellings of a shape differ, nobody knows it."""
    values = list(frame.values())
    for places in twice:
        one, other = (values[place] for place in places)
        if one is None or other is None:
            said = other if one is None else one
        else:
            said = one if abs(one - other) <= _SAME else None
        for place in places:
            values[place] = said
    return values
