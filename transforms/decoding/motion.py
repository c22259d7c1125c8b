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
from transforms.decoding.motion_forms import Frame, UnreadableError, read_head, read_payload
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
_UNIT: Final = DeadLetterCode.UNKNOWN_UNIT
_UNKNOWN_SHAPES: Final = Metrics.counter(Stage.DECODE, "unknown_shapes")


def _optional(name: str, *fields: str, **others: Any) -> Any:
    shape = [(each, float | None, None) for each in fields]
    shape += [(each, kind | None, None) for each, kind in others.items()]
    return msgspec.defstruct(name, shape, gc=False, forbid_unknown_fields=True)


_CanonicalWeights: Any = _optional("CanonicalWeights", *BLENDSHAPES)
_CanonicalHead: Any = _optional("CanonicalHead", *HEAD_POSE)


class _Canonical(msgspec.Struct, gc=False):
    weights: _CanonicalWeights | None = None
    head: _CanonicalHead | None = None
    unit: str | None = None


class _Named(msgspec.Struct, gc=False):
    """A frame of any names, as an object of numbers."""

    weights: dict[str, float | None]
    head: dict[str, float | str | None] | None = None
    unit: str | None = None


_read_canonical = msgspec.json.Decoder(_Canonical).decode
_read_named = msgspec.json.Decoder(_Named).decode
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


def read_motion(data: Sequence[bytes | None]) -> tuple[Columns, np.ndarray]:
    """Return the payload columns of motion, and each row's problem or None.

    A shape that is not tracked is null in ``weights``; one that is left out because it is at rest
    is 0. A row with WRONG_TYPE could not be read at all.
    """
    try:
        frames = list(map(_read_canonical, data))
    except _ERRORS:
        return _read_rows(data)
    nothing, still = _CanonicalWeights(), _CanonicalHead()
    values = _floats([astuple(frame.weights or nothing) for frame in frames], len(BLENDSHAPES))
    pose = _floats([astuple(frame.head or still) for frame in frames], len(HEAD_POSE))
    units = [weight_unit(frame.unit) for frame in frames]
    shapes = _canonical_shapes(values, pose, units)
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


def _read_rows(data: Sequence[bytes | None]) -> tuple[Columns, np.ndarray]:
    """Read frames one by one, and translate all those of one vocabulary together."""
    frames = [_read_frame(value or b"") for value in data]
    known = [frame or Frame() for frame in frames]
    shapes = _translate([frame.values for frame in known], [frame.unit for frame in known])
    shapes.problems[[frame is None for frame in frames]] = DeadLetterCode.WRONG_TYPE
    pose = _floats([frame.pose for frame in known], len(HEAD_POSE))
    pose = np.where(np.isnan(pose), shapes.pose, pose)
    angles = np.array([frame.angle for frame in known], np.int8)
    return _columns(shapes._replace(pose=pose), angles)


def _read_frame(value: bytes) -> Frame | None:
    try:
        named = _read_named(value)
    except _ERRORS:
        try:
            return read_payload(_read_any(value))
        except (*_ERRORS, UnreadableError):
            return None
    frame = Frame(named.weights, unit=weight_unit(named.unit))
    if named.head is not None:
        frame.pose, frame.angle = read_head(named.head)
    return frame


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
    unknown = np.array([any(v is not None for v in frame.values()) for frame in frames], bool)
    problems[unknown & ~shaped] = DeadLetterCode.UNKNOWN_SHAPES
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
        values = list(frame.values())
        for one, other in placing.twice:
            values[one] = values[other] = _agreed(values[one], values[other])
        for part in placing.parts:
            rows, columns, given = entries.setdefault(part.vocabulary, ([], [], []))
            rows.append(row)
            columns.append(part.columns)
            given += values
    if unknown:
        _UNKNOWN_SHAPES.inc(unknown)
    for number, (rows, columns, given) in sorted(entries.items()):
        vocabulary = vocabularies()[number]
        table = np.full((len(rows), len(vocabulary.low) + len(HEAD_POSE)), np.nan, np.float32)
        places, lengths = np.concatenate(columns), list(map(len, columns))
        shaped = places != NO_SHAPE
        line = np.repeat(np.arange(len(rows)), lengths)
        table[line[shaped], places[shaped]] = _floats([given], len(given))[0][shaped]
        yield vocabulary, np.array(rows), table


def _agreed(one: float | None, other: float | None) -> float | None:
    """Return what two spellings of a shape say; where they differ, nobody knows."""
    if one is None or other is None:
        return other if one is None else one
    return one if abs(one - other) <= _SAME else None


def _apply(vocabulary: Vocabulary, fractions: np.ndarray) -> np.ndarray:
    """Return weights (n, 52) of columns (n, k): the largest source of each shape of ARKit."""
    weights = np.full((len(fractions), len(BLENDSHAPES)), np.nan, np.float32)
    for target, terms in vocabulary.sources:
        if len(terms) == 1:
            found = _moved(fractions, terms[0])
        else:
            parts = [_moved(fractions, term) for term in terms]
            there = [np.where(np.isnan(part), np.float32(0), np.float32(1)) for part in parts]
            share = sum(np.float32(t.weight) * one for t, one in zip(terms, there, strict=True))
            total = sum(
                np.float32(term.weight) * np.where(np.isnan(part), np.float32(0), part)
                for term, part in zip(terms, parts, strict=True)
            )
            with np.errstate(invalid="ignore"):
                found = total / share  # 0 / 0 is NaN: none of them was given
        weights[:, target] = np.fmax(weights[:, target], found)
    return weights


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


def _codes(units: list[int | None]) -> np.ndarray:
    return np.array([unit or UNDECLARED for unit in units], np.int8)
