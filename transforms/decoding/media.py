"""Media as clients send them: files, text that stands for a file, and what is none at all."""

import base64
import binascii
import codecs
import json
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DeadLetterCode
from schemas.media.formats import READ, FormatCode, find_format
from schemas.media.mangled import is_mangled, restore_bytes

_MAGIC: Final = {
    "flac": b"fLaC",
    "ogg": b"OggS\0\x02",
    "jpeg": b"\xff\xd8\xff",
    "png": b"\x89PNG\r\n\x1a\n",
}
_RIFF: Final = {"wav": b"WAVE", "webp": b"WEBP"}
_SPACE: Final = b" \t\r\n\v\f"
_ALPHABET: Final = bytes(filter(lambda byte: chr(byte).isalnum() or byte in b"+/-_", range(128)))
_HEX: Final = re.compile(rb"(?:0[xX]|\\x)?((?:[0-9a-fA-F]{2}[ :-]?)+)")
_URL_HEAD: Final = re.compile(
    rb"(?:data:)?(?:[\w.+-]{1,64}/[\w.+-]{1,64})?(?:;[^,;]{1,99}){0,8};?base64[,\s]*",
    re.IGNORECASE,
)
"""Begins a `data:` URL of base64, also without its scheme, its media type or its comma."""
_WRITTEN: Final = {
    **dict.fromkeys((b"%2B", b"%2b"), b"+"),
    **dict.fromkeys((b"%2F", b"%2f"), b"/"),
    **dict.fromkeys((b"%3D", b"%3d"), b"="),
    **dict.fromkeys((b"%0A", b"%0D", b"%0a", b"%0d", b"\\r", b"\\n"), b""),
    b"%20": b" ",
}
"""What URLs and sources of programs write in base64, and what it stands for."""
_PADDED: Final = re.compile(rb"[^=]+=*\s*")
_MOST_TEXTS: Final = 64
_FEW: Final = 32
"""Characters for each space in base64 whose `+` became spaces: it has one of 64."""
_LAYERS: Final = 3
"""Texts around a file that are taken off: base64 of a `data:` URL in quotes are three."""
_LEAST_DIGITS: Final = 9
_PRINTED: Final = 64
"""Bytes by which text is told from data."""


def read_media(
    kind: str, values: pa.Array
) -> tuple[list[bytes | None], dict[str, pa.Array], np.ndarray]:
    """Return the files in these values, their payload columns, and each row's problem or None.

    Six formats are told for all rows at once, 0.1 µs a row, and in 1 µs more that a file did not go
    through a text encoding; only what is left is looked at further. Base64, `data:` URLs and
    hexadecimal digits are taken off a file.
    """
    formats = _common_formats(values)
    files: list[bytes | None] = values.to_pylist()
    problems = np.full(len(values), None, object)
    known = pc.is_in(formats, pa.array(READ[kind])).to_numpy(zero_copy_only=False)
    texts = np.array([media is not None and is_mangled(media) for media in files], bool)
    rows = np.flatnonzero(~known | texts)
    if len(rows):
        names = formats.to_pylist()
        for row in rows.tolist():
            media = files[row]
            if media:
                files[row], names[row] = find_file(media)
            problems[row] = _problem(kind, files[row], names[row])
        values, formats = pa.array(files, pa.binary()), pa.array(names, pa.string())
    sizes = pc.binary_length(values).cast(pa.int64())
    return files, {"media": values, "media_format": formats, "media_bytes": sizes}, problems


def _common_formats(values: pa.Array) -> pa.Array:
    head = pc.binary_slice(values, 0, 12)
    riff = pc.starts_with(head, b"RIFF")
    tests = {name: pc.starts_with(head, magic) for name, magic in _MAGIC.items()}
    tail = pc.binary_slice(values, 8, 12)
    tests |= {name: pc.and_(riff, pc.equal(tail, magic)) for name, magic in _RIFF.items()}
    cases = pa.StructArray.from_arrays(list(tests.values()), names=list(tests))
    return pc.case_when(cases, *tests, "unknown")


def _problem(kind: str, media: bytes | None, name: str) -> FormatCode | DeadLetterCode | None:
    if not media:
        return DeadLetterCode.NULL_VALUE
    return None if name in READ[kind] else _CODES[name]


def find_file(media: bytes) -> tuple[bytes, str]:
    """Return the file that a value holds or stands for, and the name of its format.

    Where it stands for none, the value comes back as it is, with the name of what it looks like.
    """
    name = _name(media)
    inner = media
    for _ in range(_LAYERS):
        if name not in {"unknown", "mangled"}:
            break
        found = next(filter(None, (take(inner) for take in _WRAPPINGS)), None)
        if found is None:
            break
        inner, name = found, _name(found)
    if name in _FILES:
        return inner, name
    return media, name if name != "unknown" else _name_unknown(media)


def _name(media: bytes) -> str:
    return "mangled" if is_mangled(media) else find_format(media)


_CODES: Final = {str(code).removeprefix("found_"): code for code in FormatCode}
_FILES: Final = frozenset(
    {*(name for names in READ.values() for name in names)}
    | {str(code).removeprefix("found_") for code in FormatCode}
) - {"unknown", "mangled", "text", "base64", "zeros"}


def _name_unknown(media: bytes) -> str:
    start = media[:_PRINTED].strip(_SPACE)
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # or it is cut within a character
            return "unknown"
        text = start[: error.start].decode()
    if not text or not text.replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        return "unknown"
    bare = media.strip(_SPACE + b'"')
    alike = b" " not in bare and _is_base64(bare)
    return "base64" if alike or text.lower().startswith(("data:", '"data:')) else "text"


def _take_data_url(media: bytes) -> bytes | None:
    """Return the body of a `data:` URL, or of what is left of one where its begin was cut off."""
    text = media.strip(_SPACE)
    found = _URL_HEAD.match(text)
    if found:
        body = text[found.end() :]
        return _read_base64(body) if body else None
    head, comma, body = text.partition(b",")
    if head[:5].lower() != b"data:" or not comma:
        return None
    return unquote_to_bytes(body) if b"%" in body else body


def _take_quoted(media: bytes) -> bytes | None:
    text = media.strip(_SPACE)
    if len(text) < 2 or text[:1] != text[-1:]:
        return None
    if text[:1] == b"'":
        return text[1:-1]
    try:
        return str(json.loads(text)).encode() if text[:1] == b'"' else None
    except ValueError:
        return None


def _take_digits(media: bytes) -> bytes | None:
    digits = _HEX.fullmatch(media.strip(_SPACE))
    if digits:
        found = bytes.fromhex(digits[1].translate(None, b":- ").decode())
        if find_format(found) != "unknown":
            return found
    return _read_base64(media)


def _take_utf_16(media: bytes) -> bytes | None:
    """Return text of UTF-16 in UTF-8, and UTF-8 without the mark that Windows puts before it."""
    if media.startswith(codecs.BOM_UTF8):
        return media.removeprefix(codecs.BOM_UTF8)
    if not media.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return None
    try:
        return media.decode("utf-16").encode()
    except UnicodeError:
        return None


def _read_base64(text: bytes) -> bytes | None:
    """Return the bytes of base64 as forms, URLs and sources of programs change it.

    They write `+` as a space or `%2B`, and the end of a line as a backslash and a letter.
    """
    text = text.strip(_SPACE)
    if text.translate(None, _ALPHABET + _SPACE + b"=%\\"):
        return None
    for written, meant in _WRITTEN.items():
        text = text.replace(written, meant)
    if 0 < text.count(b" ") * _FEW < len(text) and b"+" not in text and not _is_in_lines(text):
        text = text.replace(b" ", b"+")
    texts = _PADDED.findall(text)
    if not 1 < len(texts) <= _MOST_TEXTS:
        return decode_base64(text)
    parts = [decode_base64(each) for each in texts]  # of files that stand one behind the other
    return None if None in parts else b"".join(part for part in parts if part)


def _is_in_lines(text: bytes) -> bool:
    """Tell whether spaces part base64 into lines: all but the last are of one length."""
    lengths = {len(line) for line in text.split(b" ")[:-1]}
    return len(lengths) == 1 and lengths.pop() % 4 == 0


_WRAPPINGS: Final = (_take_data_url, _take_quoted, _take_digits, _take_utf_16, restore_bytes)


def decode_base64(text: bytes, *, least: int = _LEAST_DIGITS) -> bytes | None:
    """Return the bytes of base64 in either alphabet, with or without padding and line breaks.

    Fewer digits than ``least`` are taken for a word.
    """
    text = text.translate(None, _SPACE).rstrip(b"=")
    if not _is_base64(text, least):
        return None
    try:
        return base64.b64decode(text.translate(_PLAIN) + b"=" * (-len(text) % 4))
    except binascii.Error:
        return None


_PLAIN: Final = bytes.maketrans(b"-_", b"+/")


def _is_base64(text: bytes, least: int = _LEAST_DIGITS) -> bool:
    bare = text.translate(None, _SPACE).rstrip(b"=")
    return len(bare) >= least and not bare.translate(None, _ALPHABET)


def encoded_media(envelopes: Sequence[Any]) -> tuple[list[bytes | None], np.ndarray]:
    """Return the media of structured events, and a mask of those that are no string.

    They are in ``data_base64``, or in ``data`` as a string of base64 or a `data:` URL, as they
    are in ``data_base64`` that holds more than base64. Null stands where there are none.
    """
    values: list[bytes | None] = []
    wrong = np.zeros(len(envelopes), bool)
    for row, envelope in enumerate(envelopes):
        try:
            values.append(_decode_string(envelope.data_base64))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            given = bytes(envelope.data_base64)
            given = bytes(envelope.data) if given in _ABSENT else given
            values.append(None if given in _ABSENT else given)
            wrong[row] = given not in _ABSENT and given[:1] != b'"'
    return values, wrong


_decode_string = msgspec.json.Decoder(bytes).decode
_ABSENT: Final = (b"", b"null")
