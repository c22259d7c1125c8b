"""Payloads of every kind: JSON parsed in bulk by Arrow, media sniffed but not opened."""

import base64
import binascii
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from schemas.arkit import BLENDSHAPES, HEAD_POSE
from schemas.arrow import vector_column
from schemas.errors import DeadLetterCode
from schemas.events import ATTRIBUTES, PAYLOADS
from schemas.vocabularies import MODALITIES

Columns = dict[str, pa.Array]

_FLOATS = pa.float32()
_JSON = {
    "text": pa.struct([("text", pa.string()), ("lang", pa.string())]),
    "motion": pa.struct(
        [
            ("weights", pa.struct([(name, _FLOATS) for name in BLENDSHAPES])),
            ("head", pa.struct([(name, _FLOATS) for name in HEAD_POSE])),
        ]
    ),
    "context": pa.struct([(name, pa.string()) for name, _ in PAYLOADS["context"]]),
    "consent": pa.struct(
        [
            ("granted", pa.bool_()),
            ("purposes", pa.list_(pa.string())),
            ("modalities", pa.list_(pa.string())),
        ]
    ),
    "erasure": pa.struct([("reason", pa.string())]),
}
"""Kind → what Arrow reads of its JSON payload; other fields are ignored, media have none."""

_TWO_BLOCKS = 1024  # rows from which a batch is parsed in two threads

_MAGIC = {"flac": b"fLaC", "ogg": b"OggS", "jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}
_RIFF = {"wav": b"WAVE", "webp": b"WEBP"}


def decode_payload(kind: str, values: pa.Array) -> tuple[Columns, np.ndarray]:
    """Return the payload columns of binary-mode values, and each row's problem or None."""
    if kind not in _JSON:
        return _media(values), np.full(len(values), None, object)
    payload, problems = parse_json(values, _JSON[kind])
    return _columns(kind, payload, problems), problems


def decode_structured(kind: str, values: pa.Array) -> tuple[Columns, Columns, np.ndarray]:
    """Return attributes, payload columns and problems of CloudEvents in JSON format.

    Attributes and data are parsed apart, so that wrong data leave the event its id.
    """
    envelope, unread = parse_json(values, pa.struct([(name, pa.string()) for name in ATTRIBUTES]))
    attributes = {name: pc.struct_field(envelope, name) for name in ATTRIBUTES}
    data = ("data", _JSON[kind]) if kind in _JSON else ("data_base64", pa.string())
    event, problems = parse_json(values, pa.struct([data]))
    payload = pc.struct_field(event, data[0])
    absent = payload.is_null().to_numpy(zero_copy_only=False) & (problems == None)  # noqa: E711
    problems[absent] = DeadLetterCode.NULL_VALUE
    problems = np.where(unread == None, problems, unread)  # noqa: E711  element-wise
    if kind in _JSON:
        return attributes, _columns(kind, payload, problems), problems
    media = [_from_base64(value) for value in payload.to_pylist()]
    undecoded = np.array([value is None for value in media], bool)
    problems[undecoded & (problems == None)] = DeadLetterCode.BAD_JSON  # noqa: E711
    return attributes, _media(pa.array(media, pa.binary())), problems


def parse_json(values: pa.Array, shape: pa.StructType) -> tuple[pa.Array, np.ndarray]:
    """Parse one JSON object a row; a row that does not fit is null and has a problem code.

    All rows are read in one pass. Where that fails, the rows are halved until each culprit stands
    alone: one bad row of 8,192 costs about two passes more.
    """
    problems = np.full(len(values), None, object)
    parts: list[pa.Array] = []

    def parse(start: int, stop: int) -> None:
        part = _read(values.slice(start, stop - start), shape) if stop > start else None
        if part is not None:
            parts.append(part)
        elif stop - start == 1:
            problems[start] = _why(values[start].as_py())
        elif stop > start:
            middle = (start + stop) // 2
            parse(start, middle)
            parse(middle, stop)

    parse(0, len(values))
    parsed = pa.concat_arrays(parts) if parts else pa.array([], shape)
    good = problems == None  # noqa: E711  element-wise
    if good.all():
        return parsed, problems
    return parsed.take(pa.array(np.cumsum(good) - 1, mask=~good)), problems


def _read(values: pa.Array, shape: pa.StructType) -> pa.Array | None:
    """Parse all rows at once, or return None.

    Each value is wrapped as ``{"v":VALUE}``. A value that closes the wrapper early gives a second
    object, and none can give less than one; so as many objects as rows means one each, and no
    value can swallow its neighbour. Two blocks are cut at a line break, so only where no value
    holds one.
    """
    wrapped = pc.binary_join_element_wise(b'{"v":', values, b"}\n", b"")
    offsets = np.frombuffer(wrapped.buffers()[1], np.int32)[wrapped.offset :]
    lines = wrapped.buffers()[2][offsets[0] : offsets[len(wrapped)]]
    large = len(values) >= _TWO_BLOCKS
    blocks = 2 if large and not pc.any(pc.match_substring(values, b"\n")).as_py() else 1
    try:
        table = pj.read_json(
            pa.BufferReader(lines),
            read_options=pj.ReadOptions(block_size=lines.size // blocks + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema([("v", shape)]), unexpected_field_behavior="ignore"
            ),
        )
        table.validate(full=True)  # Arrow's JSON reader lets invalid UTF-8 pass
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return None
    column = table["v"].combine_chunks()
    if len(column) != len(values) or column.null_count:
        return None
    return column


def _why(value: bytes) -> DeadLetterCode:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return DeadLetterCode.BAD_JSON
    return DeadLetterCode.WRONG_TYPE if isinstance(found, dict) else DeadLetterCode.BAD_JSON


def _columns(kind: str, payload: pa.Array, problems: np.ndarray) -> Columns:
    if kind == "motion":
        return _motion(payload, problems)
    columns = {field.name: pc.struct_field(payload, field.name) for field in payload.type}
    return columns | _counts(columns) if kind == "consent" else columns


def _counts(consent: Columns) -> Columns:
    """Count what a consent names, and what of it nobody knows."""
    purposes, modalities = consent["purposes"], consent["modalities"]
    given = {
        f"{name}_given": pc.fill_null(pc.list_value_length(consent[name]), 0).cast(pa.int32())
        for name in ("purposes", "modalities")
    }
    named = pc.fill_null(pc.greater(pc.utf8_length(purposes.flatten()), 0), False)
    known = pc.is_in(modalities.flatten(), pa.array(MODALITIES))
    unknown = np.zeros(len(purposes), np.int32)
    for lists, good in ((purposes, named), (modalities, known)):
        rows = pc.list_parent_indices(lists).to_numpy()
        np.add.at(unknown, rows[~good.to_numpy(zero_copy_only=False)], 1)
    return given | {"elements_unknown": pa.array(unknown)}


def _motion(payload: pa.Array, problems: np.ndarray) -> Columns:
    """Gather 52 weights and 3 angles as one vector a row; NaN is no JSON number."""
    weights = pc.struct_field(payload, "weights")
    head = pc.struct_field(payload, "head")
    fields = [pc.struct_field(weights, name) for name in BLENDSHAPES]
    fields += [pc.struct_field(head, name) for name in HEAD_POSE]
    given = np.zeros(len(payload), np.int32)
    for field in fields[: len(BLENDSHAPES)]:
        given += field.is_valid().to_numpy(zero_copy_only=False)
    matrix = np.stack([f.fill_null(0).to_numpy(zero_copy_only=False) for f in fields], axis=1)
    strange = ~np.isfinite(matrix).all(axis=1)
    problems[strange] = DeadLetterCode.WRONG_TYPE
    shapes, pose = matrix[:, : len(BLENDSHAPES)], matrix[:, len(BLENDSHAPES) :]
    return {
        "weights": vector_column(matrix),
        "weights_given": pa.array(given),
        "weight_min": pa.array(shapes.min(axis=1)),
        "weight_max": pa.array(shapes.max(axis=1)),
        "pose_max": pa.array(np.abs(pose).max(axis=1)),
    }


def _media(values: pa.Array) -> Columns:
    head = pc.binary_slice(values, 0, 12)
    riff = pc.starts_with(head, b"RIFF")
    tests = {name: pc.starts_with(head, magic) for name, magic in _MAGIC.items()}
    tail = pc.binary_slice(values, 8, 12)
    tests |= {name: pc.and_(riff, pc.equal(tail, magic)) for name, magic in _RIFF.items()}
    cases = pa.StructArray.from_arrays(list(tests.values()), names=list(tests))
    return {
        "media": values,
        "media_format": pc.case_when(cases, *tests, "unknown"),
        "media_bytes": pc.binary_length(values).cast(pa.int64()),
    }


def _from_base64(value: str | None) -> bytes | None:
    try:
        return None if value is None else base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
