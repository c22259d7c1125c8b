"""Payloads of every kind: typed JSON row by row, media sniffed but not opened."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arkit import BLENDSHAPES, HEAD_POSE
from schemas.attributes import ATTRIBUTES
from schemas.errors import DeadLetterCode
from schemas.events import CODE, FIELD_NAME, PAYLOADS
from schemas.modalities import MODALITIES
from transforms.decoding.details import Explained
from transforms.decoding.envelope import find_contradictions, find_denials
from transforms.decoding.media import encoded_media, read_media
from transforms.decoding.messages.wrappings import unwrap
from transforms.decoding.motion import read_motion

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
        ("specversion", str | float | None, None),  # as YAML has it
        ("data", msgspec.Raw, msgspec.Raw()),
        ("data_base64", msgspec.Raw, msgspec.Raw()),
    ],
)

_NO_UNITS: Mapping[str, str] = MappingProxyType({})
MOST_DETAILS = 8
_NAME = re.compile(FIELD_NAME)
_CODE = re.compile(f'"({CODE})"'.encode())
_read_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_ABSENT = (b"", b"null")


def decode_payload(
    kind: str, values: pa.Array, sources: pa.Array, units: Mapping[str, str]
) -> tuple[Sequence[bytes | None], Columns, np.ndarray]:
    """Return binary-mode values, their payload columns, and each row's problem or None."""
    if kind not in _SHAPES:
        return read_media(kind, values)
    data = values.to_pylist()
    return data, *_read(kind, data, sources, units)


def decode_structured(
    kind: str, values: pa.Array, headers: Columns, units: Mapping[str, str] = _NO_UNITS
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
    versions = [
        v if (v := envelope.specversion) is None or type(v) is str else str(v)
        for envelope in envelopes
    ]
    attributes["specversion"] = pa.array(versions, pa.string())
    if kind in _SHAPES:
        given, absent = _given_or(_json_data(envelopes), b"{}")
        columns, problems = _read(kind, given, attributes["source"], units)
        data: Sequence[bytes | None] = given
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
        for row in np.flatnonzero([bool(each.data_base64) for each in envelopes]):
            torn[row] |= _gives_two(envelopes[row])
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


def _gives_two(envelope: Any) -> bool:
    """Whether an event has data and data in base64, of which it may have one."""
    return not any(bytes(each) in _ABSENT for each in (envelope.data, envelope.data_base64))


def _json_data(envelopes: list[Any]) -> list[bytes]:
    """Return the data of events: JSON as it is, in a string, beside a schema, or in base64."""
    data = [bytes(envelope.data) for envelope in envelopes]
    for row, value in enumerate(data):
        if not value.startswith(b"{") or value.startswith(b'{"schema"'):
            given = bytes(envelopes[row].data_base64) if value in _ABSENT else value
            bare = unwrap(given)
            data[row] = given if isinstance(bare, DeadLetterCode) else bare
    return data


def _given_or(values: list[bytes], instead: bytes) -> tuple[list[bytes], np.ndarray]:
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
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            parsed.append(shape())
            problems[row] = Explained(_judge(value), _words(error))
    return parsed, problems


def _judge(value: bytes) -> DeadLetterCode:
    try:
        found = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return DeadLetterCode.BAD_JSON
    return DeadLetterCode.WRONG_TYPE if isinstance(found, dict) else DeadLetterCode.BAD_JSON


def _words(error: Exception) -> str:
    """Return what the parser says: types, places of our schemas and byte numbers, no content."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _read(
    kind: str, data: Sequence[bytes], sources: pa.Array, units: Mapping[str, str]
) -> tuple[Columns, np.ndarray]:
    """Return the payload columns of JSON data, and each row's problem or None.

    ``units`` is the unit of motion by source, where a payload does not say it.
    """
    if kind == "motion":
        known = [units.get(source) for source in sources.to_pylist()] if units else None
        columns, problems = read_motion(data, known)
        wrong = np.flatnonzero(problems == DeadLetterCode.WRONG_TYPE)
        unread = np.array([row for row in wrong if not isinstance(problems[row], Explained)], int)
        if unread.size:
            _, why = parse_json([data[row] for row in unread.tolist()], _SHAPES[kind])
            problems[unread] = np.where(why == None, problems[unread], why)  # noqa: E711
        return columns, problems
    payload, problems = parse_json(list(data), _SHAPES[kind])
    return _columns(kind, payload, data, problems), problems


def _columns(kind: str, payload: list[Any], data: Sequence[bytes], problems: np.ndarray) -> Columns:
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
