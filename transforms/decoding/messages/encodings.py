"""Encodings that gateways put attributes into, where Kafka's binding has plain UTF-8.

HTTP's binding, and NATS's, percent-encode values (CloudEvents, HTTP binding 3.1.3.2): headers that
are named as there, ``ce-subject``, are decoded for every event. Other encodings are recognised by
what must stand in them.
"""

import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

from schemas.events import EVENT_TYPES
from transforms.decoding.media import decode_base64

_HTTP_PREFIX: Final = "ce-"
_JAVA_STRING: Final = b"\xac\xed\0\x05t"
_KNOWN: Final = frozenset(name.encode() for name in ("1.0", *EVENT_TYPES.values()))
"""Values of which one must stand in every event's headers."""


def is_of_http(name: str) -> bool:
    """Whether a header is named as HTTP's binding names attributes, in any case."""
    return name[:3].lower() == _HTTP_PREFIX


def decode_percent(value: bytes) -> bytes:
    """Return a value without percent-encoding; a percent sign that begins none stays."""
    return unquote_to_bytes(value) if b"%" in value else value


def are_base64(values: Iterable[bytes]) -> bool:
    """Whether the headers of a record are in base64: one is a known value in it."""
    return any(_short_base64(value) in _KNOWN for value in values)


def other_readings(value: bytes, *, base64: bool) -> list[bytes]:
    """Return what a header's value may mean beside what it says; none of it for sure."""
    found = [decode_percent(value)]
    if base64:
        found.append(_short_base64(value))
    if value.startswith(_JAVA_STRING):
        found.append(value[len(_JAVA_STRING) + 2 :])
    if value.startswith(b"["):
        found += _listed(value)
    return [each for each in found if each and each != value]


def name_encoding(version: str) -> str | None:
    """Return how a ``specversion`` of 1.0 is encoded, None where it is another version."""
    value = version.encode()
    if _short_base64(value) == b"1.0":
        return "base64"
    if value.replace(b"\0", b"").strip() == b"1.0":
        return "a text with NUL bytes, such as UTF-16"
    if decode_percent(value).strip() == b"1.0":
        return "percent-encoding"
    if b"1.0" in (value.strip(b"'`"), *_listed(value)):
        return "quotes or brackets"
    return None


def _short_base64(value: bytes) -> bytes:
    """Return the bytes of base64, which a short text may look like by chance; else nothing."""
    padded = value.strip()
    return decode_base64(padded, least=4) or b""


def _listed(value: bytes) -> list[bytes]:
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        return []
    items = items if isinstance(items, list) else [items]
    return [item.encode("utf-8", "replace") for item in items[:1] if isinstance(item, str)]
