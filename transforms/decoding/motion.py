"""Motion payloads → columns: 52 weights of ARKit as fractions, and the head in radians.

A batch of canonical frames is parsed at once; one with anything else goes through the tables of
other vocabularies (``vocabularies.py``), which gives canonical rows the same values.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from msgspec.structs import astuple

from schemas.arkit import BLENDSHAPES, HEAD_POSE
from schemas.errors import DeadLetterCode
from schemas.stages import Stage
from transforms.decoding.motion_forms import (
    MOST_NAMES,
    NO_HEAD,
    Frame,
    UnreadableError,
    read_head,
    read_parameters,
    read_payload,
)
from transforms.decoding.units import (
    PERCENT,
    UNDECLARED,
    to_fractions,
    to_radians,
    weight_unit,
)
from transforms.decoding.vocabularies import (
    NO_SHAPE,
    Term,
    Vocabulary,
    place_names,
    vocabularies,
)

Columns = dict[str, pa.Array]

_AT_REST: Final = 0.005
"""A shape that moves by less is given as one at rest."""
_SAME: Final = 0.01
"""Two spellings of one shape may differ by so much."""
_LARGE: Final = 100_000  # bytes of a payload, or letters of all names
_UNIT: Final = DeadLetterCode.UNKNOWN_UNIT
_UNKNOWN_SHAPES: Final = Metrics.counter(Stage.DECODE, "unknown_shapes")


def _numbers(name: str, fields: Sequence[str]) -> Any:
    """Make the type of an object of these numbers, absent or null, and no others."""
    optional = [(each, float | None, None) for each in fields]
    return msgspec.defstruct(name, optional, gc=False, forbid_unknown_fields=True)


_CanonicalWeights: Any = _numbers("CanonicalWeights", BLENDSHAPES)
_CanonicalHead: Any = _numbers("CanonicalHead", HEAD_POSE)


class _Canonical(msgspec.Struct, gc=False):
    """A frame as its schema has it; without ``weights`` they may stand elsewhere."""

    weights: _CanonicalWeights
    head: _CanonicalHead | None = None
    unit: str | None = None


_read_canonical = msgspec.json.Decoder(_Canonical).decode
_read_named = msgspec.json.Decoder(Frame).decode
_read_any = msgspec.json.Decoder().decode
_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Shapes(NamedTuple):
    """Weights (n, 52), NaN where a shape is not tracked, and what the same names say of the head.

    ``given`` counts the shapes that were sent; ``problems`` has a code where a frame is refused.
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
        return _read_rows(data, units)
    still = _CanonicalHead()
    values = _floats([astuple(frame.weights) for frame in frames], len(BLENDSHAPES))
    pose = _floats([astuple(frame.head or still) for frame in frames], len(HEAD_POSE))
    codes = _declared([frame.unit for frame in frames], units)
    shapes = _canonical_shapes(values, pose, codes)
    return _columns(shapes, np.zeros(len(frames), np.int8))


def _canonical_shapes(values: np.ndarray, pose: np.ndarray, units: list[int | None]) -> _Shapes:
    low, high = np.zeros(1, np.float32), np.ones(1, np.float32)
    fractions, doubtful = to_fractions(values, _codes(units), low, high, UNDECLARED)
    given = ~np.isnan(fractions)
    problems = _problems(values, doubtful, units)
    if not given.all():
        sparse = ~(fractions < _AT_REST).any(axis=1) & given.any(axis=1)
        fractions = np.where(~given & sparse[:, None], np.float32(0), fractions)
    return _Shapes(fractions, given.sum(axis=1, dtype=np.int32), problems, pose)


def _problems(values: np.ndarray, doubtful: np.ndarray, units: list[int | None]) -> np.ndarray:
    """Return what is wrong with frames whose unit is in doubt, or of which a value is infinite."""
    problems = np.full(len(values), None, object)
    problems[doubtful | np.array([unit is None for unit in units], bool)] = _UNIT
    problems[np.isinf(values).any(axis=1)] = DeadLetterCode.WRONG_TYPE
    return problems


def _read_rows(
    data: Sequence[bytes], units: Sequence[str | None] | None
) -> tuple[Columns, np.ndarray]:
    """Read frames of any form, and translate all those of one vocabulary together."""
    try:
        frames: list[Frame | None] = list(map(_read_named, data))
    except _ERRORS:
        frames = [_read_frame(value) for value in data]
    for row, frame in enumerate(frames):
        if frame is not None and not _is_bounded(frame.weights, len(data[row])):
            frames[row] = None
    known = [frame or Frame({}) for frame in frames]
    codes = _declared([frame.unit for frame in known], units)
    shapes = _translate([frame.weights for frame in known], codes)
    shapes.problems[[frame is None for frame in frames]] = DeadLetterCode.WRONG_TYPE
    heads = [NO_HEAD if frame.head is None else read_head(frame.head) for frame in known]
    pose = _floats([angles for angles, _ in heads], len(HEAD_POSE))
    pose = np.where(np.isnan(pose), shapes.pose, pose)
    return _columns(shapes._replace(pose=pose), np.array([unit for _, unit in heads], np.int8))


def _is_bounded(weights: dict[str, float | None], size: int) -> bool:
    """Return whether names may be looked up, and so kept: 1,000 of them, or 100 kB, are no face."""
    return len(weights) <= MOST_NAMES and (size <= _LARGE or sum(map(len, weights)) <= _LARGE)


def _read_frame(value: bytes) -> Frame | None:
    try:
        return _read_named(value)
    except _ERRORS:
        try:
            return read_payload(_read_any(value))
        except UnreadableError:
            return None
        except _ERRORS:
            return _read_text(value)


def _read_text(value: bytes) -> Frame | None:
    """Read what is no JSON: a string of parameters as it came from a phone."""
    try:
        return read_parameters(value.decode())
    except (UnicodeDecodeError, UnreadableError):
        return None


def _translate(frames: list[dict[str, float | None]], units: list[int | None]) -> _Shapes:
    """Translate frames of any vocabularies; a frame of two takes what each of them says."""
    count = len(frames)
    weights = np.full((count, len(BLENDSHAPES)), np.nan, np.float32)
    pose = np.full((count, len(HEAD_POSE)), np.nan, np.float32)
    problems = np.full(count, None, object)
    given = np.zeros(count, np.int32)
    shaped, sparse = np.zeros(count, bool), np.ones(count, bool)
    reach = np.zeros((count, len(BLENDSHAPES)), bool)
    for vocabulary, rows, table in _by_vocabulary(frames, sparse):
        values = table[:, : -len(HEAD_POSE)]
        whole = PERCENT if vocabulary.table.whole else UNDECLARED
        mine = [units[row] for row in rows]
        fractions, doubtful = to_fractions(
            values, _codes(mine), vocabulary.low, vocabulary.high, whole
        )
        found = _problems(values, doubtful, mine)
        problems[rows] = np.where(found == None, problems[rows], found)  # noqa: E711  element-wise
        here = ~np.isnan(fractions)
        given[rows] += here.sum(axis=1, dtype=np.int32)
        shaped[rows] |= here.any(axis=1)
        sparse[rows] &= ~(np.abs(fractions - vocabulary.rest) < _AT_REST).any(axis=1)
        reach[rows] |= vocabulary.reach
        weights[rows] = np.fmax(weights[rows], _apply(vocabulary, fractions))
        pose[rows] = np.fmax(pose[rows], table[:, -len(HEAD_POSE) :])
    for row in np.flatnonzero(~shaped).tolist():
        if any(value is not None for value in frames[row].values()):
            problems[row] = DeadLetterCode.UNKNOWN_SHAPES
    at_rest = np.isnan(weights) & reach & (sparse & shaped)[:, None]
    return _Shapes(np.where(at_rest, np.float32(0), weights), given, problems, pose)


def _by_vocabulary(
    frames: list[dict[str, float | None]], sparse: np.ndarray
) -> Iterator[tuple[Vocabulary, np.ndarray, np.ndarray]]:
    """Yield each vocabulary that reads something with the rows and their values (n, k + 3).

    A frame with a name that nobody knows is not ``sparse``: who knows what it leaves out.
    """
    entries: dict[int, tuple[list[int], list[np.ndarray], list[float | None]]] = {}
    unknown = 0
    for row, frame in enumerate(frames):
        placing = place_names(tuple(frame))
        unknown += placing.unknown
        sparse[row] &= not placing.unknown
        values = frame.values() if not placing.twice else _agreed(frame, placing.twice)
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


def _agreed(frame: dict[str, float | None], twice: Sequence[tuple[int, int]]) -> list[float | None]:
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


def _apply(vocabulary: Vocabulary, fractions: np.ndarray) -> np.ndarray:
    """Return weights (n, 52) of columns (n, k): the largest source of each shape of ARKit."""
    weights = np.full((len(fractions), len(BLENDSHAPES)), np.nan, np.float32)
    for target, terms in vocabulary.sources:
        parts = [_moved(fractions, term) for term in terms]
        found = parts[0] if len(parts) == 1 else _mean(parts, [term.weight for term in terms])
        weights[:, target] = np.fmax(weights[:, target], found)
    return weights


def _mean(parts: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """Return the weighted mean of those that are given, NaN where none is.

    Sums go one by one: a product of matrices would round by the size of the batch.
    """
    total, share = np.zeros_like(parts[0]), np.zeros_like(parts[0])
    for part, weight in zip(parts, weights, strict=True):
        there = ~np.isnan(part)
        total += np.where(there, part * np.float32(weight), np.float32(0))
        share += np.where(there, np.float32(weight), np.float32(0))
    with np.errstate(invalid="ignore"):
        return np.asarray(total / share)


def _moved(fractions: np.ndarray, term: Term) -> np.ndarray:
    column = fractions[:, term.column]
    if (term.rest, term.full) != (0.0, 1.0):
        column = (column - np.float32(term.rest)) / np.float32(term.full - term.rest)
    return np.clip(column, np.float32(0), np.float32(1))


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


def _declared(units: list[str | None], of_sources: Sequence[str | None] | None) -> list[int | None]:
    """Return the code of each frame's unit, or else of its source's; None where it is no unit."""
    if of_sources is not None:
        units = [own or other for own, other in zip(units, of_sources, strict=True)]
    return [weight_unit(unit) for unit in units]


def _codes(units: list[int | None]) -> np.ndarray:
    return np.array([unit or UNDECLARED for unit in units], np.int8)
