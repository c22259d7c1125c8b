"""Payloads of every kind: typed JSON row by row, media sniffed but not opened."""

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arkit import BLENDSHAPES, HEAD_POSE
from schemas.attributes import ATTRIBUTES
from schemas.errors import DeadLetterCode
from schemas.events import CODE, FIELD_NAME, GOVERNANCE_KINDS, PAYLOADS
from schemas.modalities import MODALITIES
from transforms.decoding.details import Explained
from transforms.decoding.envelope import explain_contradiction, find_contradictions, find_denials
from transforms.decoding.media import encoded_media, read_media
from transforms.decoding.messages.parsing import (
    ABSENT,
    find_repeats,
    parse_json,
    without_half_pairs,
)
from transforms.decoding.messages.structured import explain_absence, read_data, read_envelopes
from transforms.decoding.motion import read_motion

Columns = dict[str, pa.Array]


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

_NO_UNITS: Mapping[str, str] = MappingProxyType({})
MOST_DETAILS = 8
_NAME = re.compile(FIELD_NAME)
_CODE = re.compile(f'"({CODE})"'.encode())
_read_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_payload(
    kind: str, values: pa.Array, sources: pa.Array, units: Mapping[str, str]
) -> tuple[Sequence[bytes | None], Columns, np.ndarray]:
    """Return binary-mode values, their payload columns, and each row's problem or None."""
    if kind not in _SHAPES:
        return read_media(kind, values)
    data, absent = _given_or(values.to_pylist(), b"{}")
    columns, problems = _read(kind, data, sources, units)
    problems[absent] = DeadLetterCode.NULL_VALUE
    return data, columns, problems


def decode_structured(
    kind: str, values: pa.Array, headers: Columns, units: Mapping[str, str] = _NO_UNITS
) -> tuple[Sequence[bytes | None], Columns, Columns, np.ndarray]:
    """Return data, attributes, payload columns and problems of CloudEvents in JSON format.

    ``headers`` are the attributes that stand beside the JSON. Attributes and data are parsed apart,
    so that wrong data leave the event its id. Of an event that contradicts itself nothing is read.
    """
    empty = values.is_null().to_numpy(zero_copy_only=False)  # its headers name media
    values = values.fill_null(b"")
    envelopes, unread = read_envelopes(values.to_pylist())
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
        found, wrapped = read_data(envelopes)
        given, absent = _given_or(found, b"{}")
        columns, problems = _read(kind, given, attributes["source"], units)
        data: Sequence[bytes | None] = given
        for row in np.flatnonzero(absent):
            problems[row] = explain_absence(values[row].as_py(), _SHAPES[kind].__struct_fields__)
        problems[wrapped != None] = wrapped[wrapped != None]  # noqa: E711  element-wise
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
    attributes = _without_torn(values, attributes, headers, torn, problems)
    return data, attributes, columns, problems


def _without_torn(
    values: pa.Array, attributes: Columns, headers: Columns, torn: np.ndarray, problems: np.ndarray
) -> Columns:
    """Return attributes without those of events that say two things, and note what they say."""
    if not torn.any():
        return attributes
    for row in np.flatnonzero(torn).tolist():
        words = explain_contradiction(values[row].as_py(), row, attributes, headers)
        problems[row] = Explained(DeadLetterCode.BAD_HEADERS, words)
    mask = pa.array(torn)
    return {name: pc.if_else(mask, None, column) for name, column in attributes.items()}


def _members(envelopes: list[Any], attributes: Columns) -> np.ndarray:
    """Count the members that were found in each envelope and are not null."""
    given = [column.is_valid().to_numpy(zero_copy_only=False) for column in attributes.values()]
    data = [bool(envelope.data) + bool(envelope.data_base64) for envelope in envelopes]
    return np.sum(given, axis=0) + np.array(data)


def _gives_two(envelope: Any) -> bool:
    """Whether an event has data and data in base64, of which it may have one."""
    return not any(bytes(each) in ABSENT for each in (envelope.data, envelope.data_base64))


def _given_or(values: Sequence[bytes | None], instead: bytes) -> tuple[list[bytes], np.ndarray]:
    """Return values with something in place of those that hold nothing, and which those are."""
    given = [instead if not value or value in ABSENT else value for value in values]
    return given, np.array([a is not b for a, b in zip(given, values, strict=True)], bool)


def _read(
    kind: str, data: Sequence[bytes], sources: pa.Array, units: Mapping[str, str]
) -> tuple[Columns, np.ndarray]:
    """Return the payload columns of JSON data, and each row's problem or None.

    ``units`` is the unit of motion by source, where a payload does not say it.
    """
    if kind == "motion":
        known = [units.get(source) for source in sources.to_pylist()] if units else None
        columns, problems = read_motion(data, known)
        codes = (DeadLetterCode.WRONG_TYPE, DeadLetterCode.BAD_JSON)
        unread = [
            row
            for row in np.flatnonzero(problems != None).tolist()  # noqa: E711  element-wise
            if problems[row] in codes and not isinstance(problems[row], Explained)
        ]
        if unread:
            _, why = parse_json([data[row] for row in unread], _SHAPES[kind])
            problems[unread] = np.where(why == None, problems[unread], why)  # noqa: E711
        return columns, problems
    payload, problems = parse_json(list(data), _SHAPES[kind])
    if kind in GOVERNANCE_KINDS:
        return _columns(kind, payload, data, problems), problems
    _reread_cut_strings(payload, problems, data, _SHAPES[kind])
    columns = _columns(kind, payload, data, problems)
    fields = _SHAPES[kind].__struct_fields__
    given = {name: len(payload) - columns[name].null_count for name in fields}
    find_repeats(data, given, problems)
    return columns, problems


def _reread_cut_strings(
    payload: list[Any], problems: np.ndarray, data: Sequence[bytes], shape: type[Any]
) -> None:
    """Read what only half a surrogate pair kept from being read: a string that was cut."""
    for row in np.flatnonzero(problems == DeadLetterCode.BAD_JSON).tolist():
        mended = without_half_pairs(data[row])
        if mended != data[row]:
            (payload[row],), (problems[row],) = parse_json([mended], shape)


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
