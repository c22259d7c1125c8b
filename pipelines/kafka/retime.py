"""Moves the CloudEvents time of a record, and nothing else of it.

What cannot be read stays as it is, byte for byte: a log that is published anew has the same dead
letters.
"""

import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.events import RFC_3339
from transforms.decoding.headers import folded, read_headers, unquote
from transforms.decoding.messages.encodings import decode_percent, is_of_http
from transforms.decoding.messages.modes import NAMES, read_modes
from transforms.decoding.messages.wrappings import unwrap

_LONGEST_NAME: Final = 64
_TIME: Final = re.compile(RFC_3339)
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder()


def find_structured(batch: pa.RecordBatch) -> np.ndarray:
    """Return which RAW records carry their event in structured mode, whatever their topic is."""
    names = ("content-type", *NAMES)
    return read_modes("text", batch["value"], read_headers(batch["headers"], names)[0]).structured


def shift_times(record: dict[str, Any], shift_ms: int, *, structured: bool) -> dict[str, Any]:
    """Shift the time of a record's event in its headers, and in the JSON of a structured event.

    JSON behind the id of a schema registry is reached, compressed JSON is not.
    """
    headers = [
        (key, _shift_header(key, value, shift_ms) if _is_time(key) else value)
        for key, value in record["headers"]
    ]
    value = record["value"]
    if structured and value:
        value = _shift_members(value, shift_ms)
    return record | {"headers": headers, "value": value}


def _is_time(key: str) -> bool:
    return len(key) <= _LONGEST_NAME and folded(key) == "cetime"


def _shift_header(key: str, value: bytes, shift_ms: int) -> bytes:
    text = unquote(value)  # whose characters JSON escapes none of
    plain = decode_percent(text) if is_of_http(key) else text
    moved = _shift_time(plain.decode(errors="replace"), shift_ms)
    return value if moved is None else value.replace(text, moved.encode(), 1)


def _shift_members(value: bytes, shift_ms: int) -> bytes:
    """Shift each member ``time`` of a JSON object, repeated ones too."""
    inner = unwrap(value)
    if not isinstance(inner, bytes) or not value.endswith(inner):
        return value
    try:
        text = inner.decode()
        spans = [span for name, *span in _members(text) if name.lower() == "time"]
    except (ValueError, IndexError, RecursionError):
        return value
    for start, end in reversed(spans):
        given = _decoder.raw_decode(text, start)[0]
        moved = _shift_time(given, shift_ms) if isinstance(given, str) else None
        if moved is not None:
            text = f"{text[:start]}{json.dumps(moved)}{text[end:]}"
    return value[: len(value) - len(inner)] + text.encode()


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each member of a JSON object: its name, and where its value begins and ends."""
    place = _skip(text, 0)
    while text[place] != "}":  # else it is a brace or a comma
        place = _skip(text, place + 1)
        if text[place] != '"':
            return
        name, place = _decoder.raw_decode(text, place)
        start = _skip(text, _skip(text, place) + 1)
        _, end = _decoder.raw_decode(text, start)
        yield name, start, end
        place = _skip(text, end)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _shift_time(time: str, shift_ms: int) -> str | None:
    """Return a time moved, None where it is no RFC 3339 time that is read."""
    if not _TIME.fullmatch(time):
        return None
    try:
        moved = dt.datetime.fromisoformat(time.upper()) + dt.timedelta(milliseconds=shift_ms)
    except (ValueError, OverflowError):
        return None
    return moved.isoformat(timespec="microseconds")
