"""What serialisers and gateways put around JSON: taken off where it can be, else named.

Confluent's wire format, AWS Glue's and Apicurio's put a schema's id before it, Kafka Connect an
object with ``schema`` and ``payload`` around it; others send gzip, JSON within a JSON string,
base64, or another encoding than UTF-8. Only values that do not begin as JSON objects do are looked
at, row by row.
"""

import json
import re
import zlib
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DeadLetterCode
from transforms.decoding.media import decode_base64

_LAYERS: Final = 4
"""Wrappings that are taken off one value: gzip of a registry's format of a string has three."""
LARGEST: Final = 64 << 10
"""Bytes that a value may inflate to: those of 8,192 rows to 512 MiB. A motion event has 3 kB."""
_MOST_MEMBERS: Final = 64
"""Members of a gzip; for each one the rest of the value is copied."""
_SPACE: Final = b" \t\r\n"
_HEAD: Final = 64
"""Bytes within which such an object begins."""
_CONNECT: Final = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(?:schema|payload)"[ \t\r\n]*:')
"""Begins an object of Kafka Connect's, in whatever order and layout."""
_GZIP_OR_ZLIB: Final = (b"\x1f\x8b", b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
_COMPRESSED: Final = (
    b"\x28\xb5\x2f\xfd",  # Zstandard
    b"\x04\x22\x4d\x18",  # LZ4 frame
    b"LZ4Block",  # lz4-java
    b"\xff\x06\x00\x00sNaPpY",
    b"\x82SNAPPY\x00",  # snappy-java
    b"BZh",
    b"\xfd7zXZ\x00",
    b"PK\x03\x04",
)
_FORMATS: Final = (b"Obj\x01", b"<")
"""An Avro file, XML."""
_BASE64: Final = (b"eyI", b"eyJ", b"eyA", b"ewo", b"ew0", b"H4sI")
"""Begins a brace and then a quote, a space or the end of a line, or gzip, in base64."""
_BOM: Final = b"\xef\xbb\xbf"
_UTF_16_OR_32: Final = (b"\xff\xfe", b"\xfe\xff", b"{\0", b"\0{", b"\0\0\0{", b"\0\0\xfe\xff")

_Take = Callable[[bytes], bytes | DeadLetterCode | None]
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def unwrap_values(values: pa.Array, mask: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Return values with the JSON of those in the mask bare, and each row's problem or None."""
    problems = np.full(len(values), None, object)
    wrapped = mask & ~_plain(values) if mask.any() else mask
    if not wrapped.any():
        return values, problems
    chosen = pa.array(wrapped)
    before = values.filter(chosen).to_pylist()
    after = [unwrap(value) for value in before]
    problems[wrapped] = [found if isinstance(found, DeadLetterCode) else None for found in after]
    bare = [
        old if isinstance(new, DeadLetterCode) else new
        for old, new in zip(before, after, strict=True)
    ]
    return pc.replace_with_mask(values, chosen, pa.array(bare, values.type)), problems


def _plain(values: pa.Array) -> np.ndarray:
    """Return which values are null, or begin as JSON objects do that nothing is around."""
    wrapped = pc.or_(
        pc.starts_with(values, b"{\0"),
        pc.match_substring_regex(
            pc.binary_slice(values, 0, _HEAD), f"^{_CONNECT.pattern.decode()}"
        ),
    )
    plain = pc.and_not(pc.starts_with(values, b"{"), wrapped)
    return pc.fill_null(plain, True).to_numpy(zero_copy_only=False)


def in_other_encodings(values: pa.Array) -> np.ndarray:
    """Return which values do not begin as UTF-8 without a mark does."""
    heads = pc.binary_slice(values, 0, 4).to_pylist()
    marks = [value is not None and value.startswith((_BOM, *_UTF_16_OR_32)) for value in heads]
    return np.array(marks, bool)


def unwrap(value: bytes) -> bytes | DeadLetterCode:
    """Return the JSON object in a value, or what is around it where that cannot be taken off.

    What is neither comes back as it is: its reader says what is wrong.
    """
    for _ in range(_LAYERS):
        inner = _take_layer(value)
        if inner is None or isinstance(inner, DeadLetterCode):
            return inner or value
        value = inner
    return value


def _take_layer(value: bytes) -> bytes | DeadLetterCode | None:
    """Return what is inside one wrapping, None where there is none."""
    if is_of_connect(value):
        return _take_payload(value)
    for starts, take in _WRAPPINGS:
        if value.startswith(starts):
            return take(value)
    text = value.lstrip(_SPACE)
    return text if text != value and text[:1] != b"{" else None  # an object is read as it is


def is_of_connect(value: bytes) -> bool:
    """Whether a value begins as an object of a schema and a payload."""
    return _CONNECT.match(value) is not None


def _to_utf8(value: bytes) -> bytes | None:
    try:
        return value.decode(json.detect_encoding(value)).removeprefix("\ufeff").encode()
    except UnicodeError:
        return None


def _take_payload(value: bytes) -> bytes | None:
    """Return what Kafka Connect's JsonConverter put beside a schema."""
    try:
        members = _read_members(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return bytes(members["payload"]) if members.keys() == {"schema", "payload"} else None


def inflate(value: bytes) -> bytes | DeadLetterCode:
    """Return what gzip or zlib holds, unless it is damaged or more than LARGEST bytes.

    Several members, one behind the other, hold one value (RFC 1952); zero bytes may fill a block.
    """
    found = b""
    for _ in range(_MOST_MEMBERS):
        reader = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
        try:
            found += reader.decompress(value, LARGEST + 1 - len(found))
        except zlib.error:
            return DeadLetterCode.COMPRESSED_VALUE
        if not reader.eof or len(found) > LARGEST:
            return DeadLetterCode.COMPRESSED_VALUE
        value = reader.unused_data.lstrip(b"\0")
        if not value:
            return found
    return DeadLetterCode.COMPRESSED_VALUE


def _take_schema_id(value: bytes) -> bytes | DeadLetterCode | None:
    """Return the JSON after a schema's id.

    It has 4 bytes, or 8 (Apicurio), or is a UUID (Confluent since 8.0, AWS Glue).
    """
    if len(value) < 5:
        return None
    if value[:1] == b"\3":
        inner = value[18:]
        if value[1:2] == b"\5" and isinstance(inflated := inflate(inner), bytes):
            inner = inflated
        candidates = [inner]
    else:
        candidates = [value[17:]] if value[:1] == b"\1" else [value[5:], value[9:]]
    found = (each for each in candidates if _may_be_json(each.lstrip(_SPACE)))
    return next(found, DeadLetterCode.SCHEMA_REGISTRY_FORMAT)


def _may_be_json(text: bytes) -> bool:
    return text[:1] in {b"{", b'"'} or (text[:1] == b"[" and text.rstrip(_SPACE)[-1:] == b"]")


def _take_string(text: bytes) -> bytes | None:
    """Return a JSON string's text where it stands for an object, written out or in base64."""
    try:
        inner = json.loads(text).encode()
    except (ValueError, RecursionError):
        return None
    return inner if inner.lstrip(_SPACE)[:1] == b"{" else _take_base64(inner)


def _take_base64(text: bytes) -> bytes | None:
    inner = decode_base64(text)
    return inner if inner and inner.startswith((b"{", *_GZIP_OR_ZLIB)) else None


def _find_batch(text: bytes) -> DeadLetterCode | None:
    return DeadLetterCode.BATCHED_EVENTS if b'"specversion"' in text else None


_WRAPPINGS: Final[tuple[tuple[tuple[bytes, ...], _Take], ...]] = (
    (_UTF_16_OR_32, _to_utf8),
    ((_BOM,), lambda value: value.removeprefix(_BOM)),
    (_GZIP_OR_ZLIB, inflate),
    (_COMPRESSED, lambda _: DeadLetterCode.COMPRESSED_VALUE),
    ((b"\0", b"\1", b"\3"), _take_schema_id),
    (_FORMATS, lambda _: DeadLetterCode.FORMAT_UNSUPPORTED),
    ((b"[",), _find_batch),
    ((b'"',), _take_string),
    (_BASE64, _take_base64),
)
"""First bytes → what takes off the wrapping that begins so."""
