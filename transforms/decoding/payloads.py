"""Payloads of every kind: typed JSON row by row, media sniffed but not opened."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import astuple

from schemas.arkit import BLENDSHAPES, HEAD_POSE
from schemas.arrow import vector_column
from schemas.attributes import ATTRIBUTES
from schemas.errors import DeadLetterCode
from schemas.events import CODE, FIELD_NAME, PAYLOADS
from schemas.modalities import MODALITIES
from transforms.decoding.envelope import find_contradictions, find_denials
from transforms.decoding.media import encoded_media, read_media
from transforms.decoding.messages.wrappings import unwrap

Columns = dict[str, pa.Array]
_Shape = TypeVar("_Shape")


def _object(name: str, **fields: Any) -> Any:
    """Make the type of a JSON object; each field may be absent or null, others are ignored."""
    optional = [(field, shape | None, None) for field, shape in fields.items()]
    return msgspec.defstruct(name, optional, gc=False)


_Weights = _object("Weights", **dict.fromkeys(BLENDSHAPES, float))
_Head = _object("Head", **dict.fromkeys(HEAD_POSE, float))
_SCALARS = {pa.string(): str, pa.bool_(): bool, pa.int64(): int, pa.float64(): float}
_CONTEXT = [name for name, _ in PAYLOADS["context"] if name != "details"]
_SHAPES = MappingProxyType(
    {
        **{
            name: _object(name, **{field: _SCALARS[kind] for field, kind in modality.columns})
            for name, modality in MODALITIES.items()
            if not modality.media and all(kind in _SCALARS for _, kind in modality.columns)
        },
        "motion": _object("Motion", weights=_Weights, head=_Head),
        "context": _object("Context", **dict.fromkeys(_CONTEXT, str)),
        "consent": _object(
            "Consent",
            granted=bool,
            purposes=list[str | None],
            modalities=list[str | None],
            given_by=str,
        ),
        "erasure": _object("Erasure", reason=str),
    }
)
"""Kind → what is read of its JSON payload; media have none."""

_Envelope: Any = msgspec.defstruct(
    "Envelope",
    [
        *((name, str | None, None) for name in ATTRIBUTES),
        ("specversion", str | float | None, None),
        ("data", msgspec.Raw, msgspec.Raw()),
        ("data_base64", msgspec.Raw, msgspec.Raw()),
    ],
)

MOST_DETAILS = 8
_NAME = re.compile(FIELD_NAME)
_CODE = re.compile(f'"({CODE})"'.encode())
_read_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_ABSENT = {b"", b"null"}


def decode_payload(
    kind: str, values: pa.Array
) -> tuple[Sequence[bytes | None], Columns, np.ndarray]:
    """Return binary-mode values, their payload columns, and each row's problem or None."""
    if kind not in _SHAPES:
        return read_media(kind, values)
    data = values.to_pylist()
    payload, problems = parse_json(data, _SHAPES[kind])
    return data, _columns(kind, payload, data, problems), problems


def decode_structured(
    kind: str, values: pa.Array, headers: Columns
) -> tuple[Sequence[bytes | None], Columns, Columns, np.ndarray]:
    """Return data, attributes, payload columns and problems of CloudEvents in JSON format.

    ``headers`` are the attributes that stand beside the JSON. Attributes and data are parsed apart,
    so that wrong data leave the event its id. Of an event that contradicts itself nothing is read.
    """
    empty = values.is_null().to_numpy(zero_copy_only=False)  # its headers name media
    values = values.fill_null(b"")
    envelopes, unread = parse_json(values.to_pylist(), _Envelope)
    unread[empty] = DeadLetterCode.NULL_VALUE
    attributes = {
        name: pa.array([getattr(envelope, name) for envelope in envelopes], pa.string())
        for name in ATTRIBUTES
    }
    versions = [envelope.specversion for envelope in envelopes]
    attributes["specversion"] = pa.array(
        [v if v is None else str(v) for v in versions], pa.string()
    )
    if kind in _SHAPES:
        bare, absent = _given_or([_json_data(envelope) for envelope in envelopes], b"{}")
        payload, problems = parse_json(bare, _SHAPES[kind])
        columns = _columns(kind, payload, bare, problems)
        data: Sequence[bytes | None] = bare
        problems[absent] = DeadLetterCode.NULL_VALUE
    else:
        encoded, wrong = encoded_media(envelopes)
        data, columns, problems = read_media(kind, pa.array(encoded, pa.binary()))
        problems[wrong] = DeadLetterCode.WRONG_TYPE
    unreadable = unread != None  # noqa: E711  element-wise
    problems[unreadable] = unread[unreadable]
    torn = find_contradictions(values, _members(envelopes, attributes)) | find_denials(
        attributes, headers
    )
    if kind in _SHAPES:
        both = [bool(each.data) and bool(each.data_base64) for each in envelopes]
        for row in np.flatnonzero(both):
            given = {bytes(envelopes[row].data), bytes(envelopes[row].data_base64)}
            torn[row] |= not given & _ABSENT
    torn &= ~unreadable
    if torn.any():
        problems[torn] = DeadLetterCode.BAD_HEADERS
        mask = pa.array(torn)
        attributes = {name: pc.if_else(mask, None, column) for name, column in attributes.items()}
    return data, attributes, columns, problems


def _members(envelopes: list[Any], attributes: Columns) -> np.ndarray:
    """Count the members that were found in each envelope and are not null."""
    given = [column.is_valid().to_numpy(zero_copy_only=False) for column in attributes.values()]
    data = [bool(envelope.data) + bool(envelope.data_base64) for envelope in envelopes]
    return np.sum(given, axis=0) + np.array(data)


def _json_data(envelope: Any) -> bytes:
    """Return an event's data: JSON as it is, in a string, beside a schema, or in base64."""
    data = bytes(envelope.data)
    if data in _ABSENT:
        data = bytes(envelope.data_base64)
    if data[:1] == b"{" and not data.startswith(b'{"schema"'):
        return data
    bare = unwrap(data)
    return data if isinstance(bare, DeadLetterCode) else bare


def _given_or(
    raws: Iterable[msgspec.Raw | bytes], instead: bytes
) -> tuple[list[bytes], np.ndarray]:
    values = [bytes(raw) for raw in raws]
    absent = np.array([value in _ABSENT for value in values], bool)
    return [value if value not in _ABSENT else instead for value in values], absent


def parse_json(values: list[bytes], shape: type[_Shape]) -> tuple[list[_Shape], np.ndarray]:
    """Parse one JSON value a row; a row that does not fit is empty and has a problem code."""
    decode = msgspec.json.Decoder(shape).decode
    problems = np.full(len(values), None, object)
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return list(map(decode, values)), problems
    parsed: list[_Shape] = []
    for row, value in enumerate(values):
        try:
            parsed.append(decode(value))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            parsed.append(shape())
            problems[row] = _explain(value)
    return parsed, problems


def _explain(value: bytes) -> DeadLetterCode:
    try:
        found = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return DeadLetterCode.BAD_JSON
    return DeadLetterCode.WRONG_TYPE if isinstance(found, dict) else DeadLetterCode.BAD_JSON


def _columns(kind: str, payload: list[Any], data: Sequence[bytes], problems: np.ndarray) -> Columns:
    if kind == "motion":
        return _motion(payload, problems)
    types = dict(PAYLOADS[kind])
    columns = {
        name: pa.array(list(map(attrgetter(name), payload)), types[name])
        for name in payload[0].__struct_fields__
    }
    if kind == "consent":
        return columns | _counts(columns) | {"suspends": pa.repeat(False, len(payload))}
    if kind == "context":
        rows = zip(data, problems, strict=True)
        given = [None if problem else _details(value) for value, problem in rows]
        return columns | {"details": pa.array(given, pa.string())}
    return columns


def _details(value: bytes) -> str | None:
    """Return the context fields that have no column as a JSON object, None where there are none.

    Rules may ask for them. Only codes are kept, at most MOST_DETAILS of them: a name such as
    ``door_2`` with a string such as ``opened``, true or false; free text is left out.
    """
    try:
        fields = _read_fields(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # in a field that has no column
        return None
    few: dict[str, str] = {}
    for name in sorted(fields):
        code = _code(fields[name])
        if code is not None and name not in _CONTEXT and _NAME.fullmatch(name):
            few[name] = code
            if len(few) == MOST_DETAILS:
                break
    return msgspec.json.encode(few).decode() if few else None


def _code(value: msgspec.Raw) -> str | None:
    """Return the code that a field's JSON is, None where it is none; long values are not read."""
    told = bytes(value)
    if told in (b"true", b"false"):
        return told.decode()
    found = _CODE.fullmatch(told)
    return found[1].decode() if found else None


def _counts(consent: Columns) -> Columns:
    """Count what a consent names."""
    return {
        f"{name}_given": pc.fill_null(pc.list_value_length(consent[name]), 0).cast(pa.int32())
        for name in ("purposes", "modalities")
    }


def _motion(payload: list[Any], problems: np.ndarray) -> Columns:
    """Gather 52 weights and 3 angles as one vector a row; what overflows a float is no number."""
    no_weights, no_head = _Weights(), _Head()
    weights, given = _matrix([row.weights or no_weights for row in payload], len(BLENDSHAPES))
    pose, _ = _matrix([row.head or no_head for row in payload], len(HEAD_POSE))
    matrix = np.concatenate([weights, pose], axis=1)
    problems[~np.isfinite(matrix).all(axis=1)] = DeadLetterCode.WRONG_TYPE
    return {
        "weights": vector_column(matrix),
        "weights_given": pa.array(given.sum(axis=1, dtype=np.int32)),
        "weight_min": pa.array(weights.min(axis=1)),
        "weight_max": pa.array(weights.max(axis=1)),
        "pose_max": pa.array(np.abs(pose).max(axis=1)),
    }


def _matrix(parts: list[Any], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of these objects as (n, width), absent ones 0, and which are there."""
    column = pa.array(list(chain.from_iterable(map(astuple, parts))), pa.float32())
    numbers = column.to_numpy(zero_copy_only=False).reshape(-1, width)  # absent ones are NaN
    given = ~np.isnan(numbers)  # JSON has no NaN
    return np.where(given, numbers, np.float32(0)), given
