"""What a value is that no JSON can be read from, by its first bytes: the name of a format."""

import json
import re
import zlib
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from schemas.errors import Code, DeadLetterCode
from transforms.decoding.details import Explained
from transforms.decoding.media import decode_base64
from transforms.decoding.messages.wrappings import unwrap

_LEAST: Final = 9  # bytes; fewer are of any format
_MOST: Final = 4 << 10
"""Bytes that are looked at, of a value and of what it would decompress to."""
_STARTS: Final = {
    "a string of Java's serialisation": rb"\xac\xed\x00\x05t",
    "an object of Java's serialisation": rb"\xac\xed\x00\x05",
    "a pickle of Python's": rb"\x80[\x02-\x05][\x95\x8c(}\]]",
    "a FlowFile of NiFi's": rb"NiFiFF\d",
    "Amazon Ion": rb"\xe0\x01\x00\xea",
    "Parquet": rb"PAR1",
    "MessagePack": rb"(?:[\x81-\x8f]|\xde..|\xdf....)(?:[\xa1-\xbf]|\xd9.)[A-Za-z_]",
    "CBOR": rb"(?:\xd9\xd9\xf7)?[\xa1-\xbf](?:[\x61-\x77]|\x78.)[A-Za-z_]",
    "the print of a Python object": rb"\s*(?:\{'|b['\"]|<[A-Za-z_.]+ object)",
    "the print of a JavaScript object": rb"\s*\[object ",
    "XML or HTML": rb"\s*<[!?A-Za-z]",
    "JSON in percent-encoding": rb"%7[bB]",
    "JSON in hexadecimal digits": rb"(?:0x|\\x)?7[bB](?:[0-9a-fA-F]{2})+$",
    "JSON with escaped quotes": rb"\s*\{\s*\\\"",
    "JSON with HTML's entities": rb"\s*\{\s*&(?:quot|#34);",
    "JSON with curly quotes": "\\s*\\{\\s*[“”]".encode(),
    "JSON within a call or behind a guard": rb"\s*(?:[\w.$]+\(\s*[\[{]|\)\]\}')",
    "a form": rb"[\w.%+-]+=[^\s&=]+(?:&[\w.%+-]+=[^\s&]*)*\s*$",
    "YAML": rb"(?:---\s|[A-Za-z_]\w*:\s)",
}
_PATTERNS: Final = {name: re.compile(start, re.DOTALL) for name, start in _STARTS.items()}
_WIRE_TYPES: Final = {0, 1, 2, 5}
_decoder: Final = json.JSONDecoder()


def are_several(value: bytes) -> bool:
    """Whether a value is an array of objects, or one object behind another, as NDJSON is."""
    try:
        text = value.decode().strip("\x1e\0 \t\r\n")
        first, end = _decoder.raw_decode(text)
        if isinstance(first, list):
            return bool(first) and all(isinstance(item, dict) for item in first)
        rest = text[end:].strip("\x1e\0 \t\r\n,")
        return bool(rest) and all(
            isinstance(each, dict) for each in (first, _decoder.raw_decode(rest)[0])
        )
    except (ValueError, RecursionError):
        return False


def name_kind(value: bytes) -> str | None:
    """Return the name of the format that a value has, None where nothing tells it."""
    head = value[:_MOST]
    known = (name for name, pattern in _PATTERNS.items() if pattern.match(head))
    if (name := next(known, None)) or len(value) < _LEAST:
        return name
    return next((name for name, test in _TESTS.items() if test(value)), None)


def _is_bson(value: bytes) -> bool:
    return int.from_bytes(value[:4], "little") == len(value) and value.endswith(b"\0")


def _is_base64(value: bytes) -> bool:
    head = value[:_MOST]
    return b" " not in head and decode_base64(head[: len(head) // 4 * 4]) is not None


def _is_text(value: bytes) -> bool:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return text[:1].isalpha() and text[:_MOST].strip().isprintable()


def explain_unreadable(value: bytes | None) -> Code | Explained:
    """Return the problem of a governance record that names nobody, and what it is instead."""
    code = DeadLetterCode.GOVERNANCE_UNREADABLE
    bare = unwrap(value or b"")
    if isinstance(bare, DeadLetterCode):
        return Explained(code, f"{_NOBODY}. {bare.meaning}")
    kind = name_kind(bare)
    return Explained(code, f"{_NOBODY}: {kind} was found") if kind else code


_NOBODY: Final = "Nobody is named that could be read, or too many people"


def _is_json_in(read: Callable[[bytes], bytes], head: bytes) -> bool:
    try:
        return read(head).lstrip()[:1] in {b"{", b"["}
    except (OSError, ValueError, zlib.error):
        return False


def _read_deflate(head: bytes) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, 16)


def _read_brotli(head: bytes) -> bytes:
    return bytes(pa.input_stream(pa.py_buffer(head), compression="brotli").read(16))


def _is_protobuf(value: bytes) -> bool:
    """Whether a value is Protobuf; a first byte that is a line's end was taken off for JSON."""
    return len(value) <= _MOST and (_has_fields(value) or _has_fields(b"\n" + value))


def _has_fields(value: bytes) -> bool:
    """Whether all of a value is fields of Protobuf, of which the first has a length."""
    place, fields = 0, 0
    while place < len(value):
        tag, wire = value[place] >> 3, value[place] & 7
        if not tag or wire not in _WIRE_TYPES or tag > 15 or (not fields and wire != 2):
            return False
        size, place = _varint(value, place + 1) if wire in {0, 2} else (0, place + 1)
        place += {0: 0, 1: 8, 2: size, 5: 4}[wire]
        fields += 1
    return place == len(value)


def _varint(value: bytes, place: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends."""
    number = shift = 0
    while place < len(value) and shift < 64:
        number |= (value[place] & 127) << shift
        shift += 7
        place += 1
        if value[place - 1] < 128:
            return number, place
    return 0, len(value) + 1


_TESTS: Final[dict[str, Callable[[bytes], bool]]] = {
    "BSON": _is_bson,
    "raw deflate": lambda value: _is_json_in(_read_deflate, value[:_MOST]),
    "Brotli": lambda value: _is_json_in(_read_brotli, value[:_MOST]),
    "base64 of something else than JSON": _is_base64,
    "Protobuf": _is_protobuf,
    "plain text": _is_text,
}
