"""How a token may be written, and how a written one is read again."""

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

MARKER: Final = "kzqxv"
"""The beginning of every token, which stands in no word."""
_DIGITS: Final = 9
_TOKEN: Final = re.compile(rf"{MARKER}[a-z2-7]{{{_DIGITS}}}".encode())


def make_token(number: int, key: bytes) -> str:
    """Return a token that no other run has: lower-case letters and a few digits."""
    digest = blake2b(number.to_bytes(8), key=key, digest_size=10).digest()
    return MARKER + base64.b32encode(digest).decode().lower()[:_DIGITS]


ENCODINGS: Final[Mapping[str, Callable[[str], str | bytes]]] = MappingProxyType(
    {
        "plain": lambda token: token,
        "upper case": str.upper,
        "reversed": lambda token: token[::-1],
        "spaced": " ".join,
        "base64": lambda token: base64.b64encode(token.encode()).decode(),
        "hex": lambda token: token.encode().hex(),
        "percent": lambda token: "".join(f"%{ord(letter):02X}" for letter in token),
        "JSON escapes": lambda token: "".join(f"\\u{ord(letter):04x}" for letter in token),
        "UTF-16": lambda token: token.encode("utf-16-le"),
        "gzip": lambda token: gzip.compress(token.encode(), mtime=0),
    }
)
"""Name → how a token is written; what is no text comes as bytes."""

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{12,}")
_ESCAPE: Final = re.compile(rb"\\+u00([0-9A-Fa-f]{2})")
_GZIP: Final = b"\x1f\x8b\x08"
_DEPTH: Final = 3


def find_tokens(data: bytes) -> set[str]:
    """Return the tokens that stand in these bytes in any encoding, or in several at once."""
    found: set[str] = set()
    for view in _views(data, _DEPTH):
        low = view.lower()
        bare = re.sub(rb"[\s\x00]", b"", low)  # spaced, and UTF-16
        for text in (low, bare):
            found |= {match.decode() for match in _TOKEN.findall(text)}
            found |= {match.decode() for match in _TOKEN.findall(text[::-1])}
    return found


def _views(data: bytes, depth: int) -> Iterator[bytes]:
    yield data
    if not depth:
        return
    for inner in _decoded(data):
        yield from _views(inner, depth - 1)


def _decoded(data: bytes) -> Iterator[bytes]:
    """Yield what the encoded parts of these bytes mean, each kind as one piece."""
    if b"\x00" in data:  # texts in UTF-16
        yield data.replace(b"\x00", b"")
    if b"%" in data and (unquoted := unquote_to_bytes(data)) != data:
        yield unquoted
    if (unescaped := _ESCAPE.sub(lambda code: bytes.fromhex(code[1].decode()), data)) != data:
        yield unescaped
    for pattern, decode in ((_HEX, _from_hex), (_BASE64, _from_base64)):
        if parts := [part for match in pattern.findall(data) for part in decode(match)]:
            yield b"\n".join(parts)
    yield from _unzipped(data)


def _from_hex(digits: bytes) -> Iterator[bytes]:
    for start in (0, 1):
        even = digits[start : start + (len(digits) - start) // 2 * 2]
        yield bytes.fromhex(even.decode())


def _from_base64(text: bytes) -> Iterator[bytes]:
    """Decode at each of the four places where a group may begin."""
    plain = text.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    for start in range(4):
        part = plain[start:]
        with suppress(binascii.Error):
            yield base64.b64decode(part + b"=" * (-len(part) % 4))


def _unzipped(data: bytes) -> Iterator[bytes]:
    at = data.find(_GZIP)
    while at >= 0:
        with suppress(zlib.error, EOFError):
            yield zlib.decompressobj(wbits=31).decompress(data[at:])
        at = data.find(_GZIP, at + 1)
