"""Motion payloads → columns: 52 weights of ARKit as fractions, and the head in radians.

A batch of canonical frames is parsed at once; one with anything else goes through the tables of
other vocabularies (``vocabularies.py``), which gives canonical rows the same values.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from msgspec.structs import astuple

from schemas.arkit import BLENDSHAPES, HEAD_POSE
from schemas.errors import DeadLetterCode
from schemas.stages import Stage
from transforms.decoding.contradictions import (
    EXPRESSIVE,
    Said,
    are_symmetric,
    find_misdeclared,
    find_opposed,
    find_two_faces,
    may_show_more,
)
from transforms.decoding.details import Explained
from transforms.decoding.messages.parsing import find_repeats
from transforms.decoding.motion_forms import (
    MOST_NAMES,
    NO_HEAD,
    Frame,
    UnreadableError,
    agreed_values,
    read_head,
    read_parameters,
    read_payload,
)
from transforms.decoding.units import (
    PERCENT,
    UNDECLARED,
    UNIT_MEMBERS,
    declared_unit,
    to_fractions,
    to_radians,
    unit_name,
    weight_unit,
)
from transforms.decoding.vocabularies import (
    NO_SHAPE,
    Vocabulary,
    place_names,
    read_weights,
    vocabularies,
)

Columns = dict[str, pa.Array]

_AT_REST: Final = 0.005
"""A shape that moves by less is given as one at rest."""
_LARGE: Final = 100_000  # bytes of a payload, or letters of all names
_UNIT: Final = DeadLetterCode.UNKNOWN_UNIT
_NO_SUCH_UNIT: Final = "`unit` is none of fraction, percent, byte and signed, or two differ"
_NO_FRAME: Final = DeadLetterCode.WRONG_TYPE
_NOT_FINITE: Final = Explained(DeadLetterCode.WRONG_TYPE, "a weight is no finite number")
_UNKNOWN_SHAPES: Final = Metrics.counter(Stage.DECODE, "unknown_shapes")


def _numbers(name: str, fields: Sequence[str]) -> Any:
    """Make the type of an object of these numbers, absent or null, and no others."""
    optional = [(each, float | None, None) for each in fields]
    return msgspec.defstruct(name, optional, gc=False, forbid_unknown_fields=True)


_CanonicalWeights: Any = _numbers("CanonicalWeights", BLENDSHAPES)
_CanonicalHead: Any = _numbers("CanonicalHead", HEAD_POSE)


def _frame(name: str, weights: Any, head: Any) -> Any:
    """Make the type of a frame; without ``weights`` they may stand elsewhere."""
    fields: list[Any] = [("weights", weights), ("head", head | None, None)]
    fields += [(member, Any, None) for member in UNIT_MEMBERS]
    return msgspec.defstruct(name, fields, gc=False)


_read_canonical = msgspec.json.Decoder(
    _frame("Canonical", _CanonicalWeights, _CanonicalHead)
).decode
_read_named = msgspec.json.Decoder(_frame("Named", dict[str, float | None], Any)).decode
_unit_members = attrgetter(*UNIT_MEMBERS)
_NO_UNIT: Final = (None,) * len(UNIT_MEMBERS)
_read_any = msgspec.json.Decoder().decode
_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Shapes(NamedTuple):
    """Weights (n, 52), NaN where a shape is not tracked, and what the same names say of the head.

    ``given`` counts the shapes that were sent; ``problems`` has a code where a frame is refused.
    Of a frame that contradicts itself all 52 are NaN.
    """

    weights: np.ndarray
    given: np.ndarray
    problems: np.ndarray
    pose: np.ndarray


def read_motion(
    data: Sequence[bytes], units: Sequence[str | None] | None = None
) -> tuple[Columns, np.ndarray]:
    """Return the payload columns of motion, and each row's problem or None.

    ``units`` are those of each row's source, for frames that do not say theirs.

    A shape that is not tracked is null in ``weights``; one that is left out because it is at rest
    is 0. A row with WRONG_TYPE could not be read at all.
    """
    try:
        frames = list(map(_read_canonical, data))
    except _ERRORS:
        columns, problems = _read_rows(data, units)
        find_repeats(data, {"weights": 0, "head": 0}, problems)
        return columns, problems
    still = _CanonicalHead()
    values = _floats([astuple(frame.weights) for frame in frames], len(BLENDSHAPES))
    pose = _floats([astuple(frame.head or still) for frame in frames], len(HEAD_POSE))
    said = [UNDECLARED if each == _NO_UNIT else _unit(each) for each in map(_unit_members, frames)]
    shapes = _canonical_shapes(values, pose, _units(said, units))
    columns, problems = _columns(shapes, np.zeros(len(frames), np.int8))
    heads = sum(frame.head is not None for frame in frames)
    if b"".join(data).count(b"{") != 2 * len(frames) + heads:  # else there is no object twice
        find_repeats(data, {"weights": len(frames), "head": heads}, problems)
    return columns, problems


def _unit(said: tuple[Any, ...]) -> float | None:
    return declared_unit(zip(UNIT_MEMBERS, said, strict=True))


def _canonical_shapes(values: np.ndarray, pose: np.ndarray, units: list[float | None]) -> _Shapes:
    low, high = np.zeros(1, np.float32), np.ones(1, np.float32)
    fractions, doubtful, switched = to_fractions(values, _known(units), low, high, UNDECLARED)
    given = ~np.isnan(fractions)
    if switched.any():
        doubtful = doubtful | (switched & ~are_symmetric(fractions))
    problems = _problems(values, doubtful, units, BLENDSHAPES)
    if not given.all():
        sparse = ~(fractions < _AT_REST).any(axis=1) & given.any(axis=1)
        fractions = np.where(~given & sparse[:, None], np.float32(0), fractions)
    misdeclared = find_misdeclared(values, _known(units), lambda some: some)
    if misdeclared.any():
        fractions = np.where(misdeclared[:, None], np.float32(np.nan), fractions)
    return _Shapes(fractions, given.sum(axis=1, dtype=np.int32), problems, pose)


def _problems(
    values: np.ndarray, doubtful: np.ndarray, units: list[float | None], names: Sequence[str]
) -> np.ndarray:
    """Return what is wrong with frames whose unit is in doubt, or of which a value is infinite."""
    problems = np.full(len(values), None, object)
    for row in np.flatnonzero(doubtful):
        problems[row] = Explained(_UNIT, _beyond(values[row], units[row], names))
    problems[[unit is None for unit in units]] = Explained(_UNIT, _NO_SUCH_UNIT)
    problems[np.isinf(values).any(axis=1)] = _NOT_FINITE
    return problems


def _beyond(values: np.ndarray, unit: float | None, names: Sequence[str]) -> str:
    """Return which shape is furthest beyond its unit; ``names`` are those of a vocabulary."""
    name = names[int(np.nanargmax(np.abs(values)))]
    if unit:
        return f"`{name}` is outside {unit_name(unit)}, the unit that is said"
    if np.nanmax(np.abs(values)) <= 1:
        return "no `unit` is said, and all weights are 0 and 1, or some are under 0"
    return f"no `unit` is said, and `{name}` is not from 0 to 1"


def _read_rows(
    data: Sequence[bytes], units: Sequence[str | None] | None
) -> tuple[Columns, np.ndarray]:
    """Read frames of any form, and translate all those of one vocabulary together."""
    found = list(map(read_frame, data))
    frames = [each if isinstance(each, Frame) else Frame({}) for each in found]
    shapes = _translate(
        [frame.weights for frame in frames], _units([f.unit for f in frames], units)
    )
    for row, each in enumerate(found):
        if not isinstance(each, Frame):
            shapes.problems[row] = each
    heads = [NO_HEAD if frame.head is None else read_head(frame.head) for frame in frames]
    pose = _floats([angles for angles, _ in heads], len(HEAD_POSE))
    pose = np.where(np.isnan(pose), shapes.pose, pose)
    return _columns(shapes._replace(pose=pose), np.array([unit for _, unit in heads], np.int8))


def read_frame(value: bytes) -> Frame | DeadLetterCode | Explained:
    """Return the frame that a payload is in any of the forms that are read, or why it is none.

    A code without words is of what resembles no frame at all.
    """
    try:
        named = _read_named(value)
        frame = Frame(named.weights, named.head, _unit(_unit_members(named)))
    except _ERRORS:
        try:
            frame = _read_form(value)
        except UnreadableError as error:
            words = str(error)
            return Explained(DeadLetterCode.WRONG_TYPE, words) if words else _NO_FRAME
    if not _is_bounded(frame.weights, len(value)):
        return Explained(DeadLetterCode.WRONG_TYPE, "more names than any vocabulary has")
    return frame


def _is_bounded(weights: dict[str, float | None], size: int) -> bool:
    """Return whether names may be looked up, and so kept: 1,000 of them, or 100 kB, are no face."""
    return len(weights) <= MOST_NAMES and (size <= _LARGE or sum(map(len, weights)) <= _LARGE)


def _read_form(value: bytes) -> Frame:
    """Read a payload of another form, or what is no JSON: a phone's string of parameters."""
    try:
        payload = _read_any(value)
    except _ERRORS:
        return read_parameters(value.decode(errors="replace"))
    return read_payload(payload)


def _translate(frames: list[dict[str, float | None]], units: list[float | None]) -> _Shapes:
    """Translate frames of any vocabularies; a frame of two takes what each of them says."""
    count = len(frames)
    weights = np.full((count, len(BLENDSHAPES)), np.nan, np.float32)
    pose = np.full((count, len(HEAD_POSE)), np.nan, np.float32)
    problems = np.full(count, None, object)
    given = np.zeros(count, np.int32)
    torn, sparse = np.zeros(count, bool), np.ones(count, bool)
    reach = np.zeros((count, len(BLENDSHAPES)), bool)
    said: list[Said] = []
    for vocabulary, rows, table in _by_vocabulary(frames, sparse):
        values = table[:, : -len(HEAD_POSE)]
        part = _read_part(vocabulary, values, [units[row] for row in rows])
        said.append(Said(rows, part.weights, part.sparse & (part.given > 0), vocabulary.reach))
        problems[rows] = np.where(part.problems == None, problems[rows], part.problems)  # noqa: E711
        given[rows] += part.given
        torn[rows] |= part.torn
        sparse[rows] &= part.sparse
        reach[rows] |= vocabulary.reach
        weights[rows] = np.fmax(weights[rows], part.weights)
        pose[rows] = np.fmax(pose[rows], table[:, -len(HEAD_POSE) :])
    for row in np.flatnonzero(given == 0).tolist():
        if any(value is not None for value in frames[row].values()):
            problems[row] = Explained(DeadLetterCode.UNKNOWN_SHAPES, _count_names(frames[row]))
    at_rest = np.isnan(weights) & reach & (sparse & (given > 0))[:, None]
    weights = np.where(at_rest, np.float32(0), weights)
    weights[torn | find_two_faces(said, count)] = np.nan
    _forget_defaults(frames, units, weights)
    return _Shapes(weights, given, problems, pose)


class _Part(NamedTuple):
    """What one vocabulary makes of some frames; ``torn`` ones contradict themselves.

    ``sparse`` are those that give no shape at rest.
    """

    weights: np.ndarray
    given: np.ndarray
    sparse: np.ndarray
    torn: np.ndarray
    problems: np.ndarray


def _read_part(vocabulary: Vocabulary, values: np.ndarray, units: list[float | None]) -> _Part:
    known = _known(units)
    whole = PERCENT if vocabulary.table.whole else UNDECLARED
    fractions, doubtful, switched = to_fractions(
        values, known, vocabulary.low, vocabulary.high, whole
    )
    weights = read_weights(vocabulary, fractions)
    doubtful = doubtful | (switched & ~are_symmetric(weights))
    torn = find_opposed(vocabulary, fractions) | find_misdeclared(
        values, known, lambda some: read_weights(vocabulary, some)
    )
    return _Part(
        weights,
        (~np.isnan(fractions)).sum(axis=1, dtype=np.int32),
        ~(np.abs(fractions - vocabulary.rest) < _AT_REST).any(axis=1) & vocabulary.table.sparse,
        torn,
        _problems(values, doubtful, units, vocabulary.names),
    )


def _forget_defaults(
    frames: list[dict[str, float | None]], units: list[float | None], weights: np.ndarray
) -> None:
    """Make the shapes of expressions unknown, in place, where only unknown names move."""
    for row, frame in enumerate(frames):
        unsure = place_names(tuple(frame)).unsure
        if unsure:
            values = list(frame.values())
            unknown = _floats([[values[place] for place in unsure]], len(unsure))[0]
            if may_show_more(weights[row], unknown / max(1.0, units[row] or 1.0)):
                weights[row, EXPRESSIVE] = np.nan


def _count_names(frame: dict[str, float | None]) -> str:
    return f"of {len(frame)} names none is; `affectstream shapes LOG` lists them"


def _by_vocabulary(
    frames: list[dict[str, float | None]], sparse: np.ndarray
) -> Iterator[tuple[Vocabulary, np.ndarray, np.ndarray]]:
    """Yield each vocabulary that reads something with the rows and their values (n, k + 3).

    A frame with an unknown name that may be of a shape is not ``sparse``: it may be at rest.
    """
    entries: dict[int, tuple[list[int], list[np.ndarray], list[float | None]]] = {}
    unknown = 0
    for row, frame in enumerate(frames):
        placing = place_names(tuple(frame))
        unknown += placing.unknown
        sparse[row] &= not placing.unsure
        values = frame.values() if not placing.twice else agreed_values(frame, placing.twice)
        for part in placing.parts:
            rows, columns, given = entries.setdefault(part.vocabulary, ([], [], []))
            rows.append(row)
            columns.append(part.columns)
            given.extend(values)
    if unknown:
        _UNKNOWN_SHAPES.inc(unknown)
    for number, (rows, columns, given) in sorted(entries.items()):
        vocabulary = vocabularies()[number]
        width = len(vocabulary.low) + len(HEAD_POSE)
        yield vocabulary, np.array(rows), _table(width, columns, _floats([given], len(given))[0])


def _table(width: int, columns: list[np.ndarray], given: np.ndarray) -> np.ndarray:
    """Return the values of frames, one after the other, by their columns; NaN elsewhere."""
    table = np.full((len(columns), width), np.nan, np.float32)
    first = columns[0]
    if all(each is first for each in columns):  # most trackers send the same names in each frame
        shaped = first != NO_SHAPE
        table[:, first[shaped]] = given.reshape(len(columns), -1)[:, shaped]
        return table
    places = np.concatenate(columns)
    line = np.repeat(np.arange(len(columns)), [len(each) for each in columns])
    shaped = places != NO_SHAPE
    table[line[shaped], places[shaped]] = given[shaped]
    return table


def _columns(shapes: _Shapes, angles: np.ndarray) -> tuple[Columns, np.ndarray]:
    pose = to_radians(shapes.pose, angles)
    matrix = np.concatenate([shapes.weights, pose], axis=1)
    absent = np.isnan(matrix)
    flat = pa.array(matrix.reshape(-1), mask=absent.reshape(-1) if absent.any() else None)
    tracked = np.where(absent[:, : len(BLENDSHAPES)], np.float32(0), shapes.weights)
    columns = {
        "weights": pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1]),
        "weights_given": pa.array(shapes.given, pa.int32()),
        "weight_min": pa.array(tracked.min(axis=1)),
        "weight_max": pa.array(tracked.max(axis=1)),
        "pose_max": pa.array(np.abs(pose).max(axis=1)),
    }
    return columns, shapes.problems


def _floats(rows: Sequence[Sequence[float | None]], width: int) -> np.ndarray:
    """Return these numbers as (n, width) float32, NaN where there is none: JSON has no NaN."""
    column = pa.array(list(chain.from_iterable(rows)), pa.float32())
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(len(rows), width)


def _units(
    units: list[float | None], of_sources: Sequence[str | None] | None
) -> list[float | None]:
    """Return the unit of each frame, or else of its source; None where it says what is no unit."""
    if of_sources is None:
        return units
    return [
        weight_unit(other) if own == UNDECLARED else own
        for own, other in zip(units, of_sources, strict=True)
    ]


def _known(units: list[float | None]) -> np.ndarray:
    return np.array([unit or UNDECLARED for unit in units], np.float64)
