"""Mutations of media: of the numbers in their headers, and of what their checksums would reveal."""

import random
import struct
from typing import Final
from zlib import crc32

from infra.bench.mutations.values import Change, flip_bits

_FIELDS: Final = (
    (b"RIFF", (4, 8, 12, 16, 20, 22, 24, 28, 32, 34, 36, 40)),
    (b"\x89PNG", (8, 12, 16, 20, 24, 25, 26, 28, 33)),
    (b"fLaC", (4, 5, 8, 10, 12, 15, 18, 21, 22)),
    (b"OggS", (4, 5, 6, 10, 14, 18, 22, 26, 27, 28, 36, 37, 38, 40, 44, 46)),
    (b"\xff\xd8\xff", (2, 3, 4, 6, 11, 13, 14, 20, 21)),
)
"""Where the numbers of media headers stand, by their magic."""
_HEADS: Final = (
    b"RIFF\xff\xff\xff\xffWAVE", b"RIFF\x10\0\0\0WEBP", b"\x89PNG\r\n\x1a\n", b"fLaC", b"OggS\0\2",
    b"\xff\xd8\xff\xe0", b"GIF89a", b"ID3\4", b"BM", b"II*\0", b"\0\0\0\x18ftyp", b"RF64",
    b"\xff\xfb",
)  # fmt: skip
_NUMBERS: Final = (0, 1, 2, 7, 8, 255, 256, 32_768, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def alter_fields(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Put a number at its edges into a field of the header; checksums mostly fit again."""
    places = next((found for magic, found in _FIELDS if value.startswith(magic)), (0, 1, 2, 3))
    sound = _frame_header(value)
    place = rng.choice(sound if sound and rng.random() < 0.6 else places)
    width = rng.choice("BHI")
    number = rng.choice(_NUMBERS) % (1 << 8 * struct.calcsize(width))
    field = struct.pack(rng.choice("<>") + width, number)
    changed = value[:place] + field + value[place + len(field) :]
    return fit_checksums(changed) if rng.random() < 0.8 else changed


def flip_fitting(value: bytes, other: bytes, rng: random.Random) -> bytes:
    """Flip bits, and let the checksums fit: what stands behind them has to bear it."""
    return fit_checksums(flip_bits(value, other, rng))


def fit_checksums(value: bytes) -> bytes:
    """Return media in which the checksums of PNG's chunks and Ogg's pages are right."""
    fitted = bytearray(value)
    if value.startswith(_PNG):
        place = len(_PNG)
        while place + 12 <= len(value):
            end = place + 8 + struct.unpack_from(">I", value, place)[0]
            if end + 4 > len(value):
                break
            struct.pack_into(">I", fitted, end, crc32(value[place + 4 : end]))
            place = end + 4
    place = 0
    while value[place : place + 4] == b"OggS" and place + 27 <= len(value):
        lengths = value[place + 27 : place + 27 + value[place + 26]]
        end = min(place + 27 + len(lengths) + sum(lengths), len(value))
        fitted[place + 22 : place + 26] = bytes(4)
        struct.pack_into("<I", fitted, place + 22, _ogg_checksum(fitted[place:end]))
        place = end
    return bytes(fitted)


def _ogg_checksum(page: bytes) -> int:
    found = 0
    for byte in page:
        found = (found << 8) & 0xFFFFFFFF ^ _OGG[found >> 24 ^ byte]
    return found


def _ogg_step(byte: int) -> int:
    found = byte << 24
    for _ in range(8):
        found = (found << 1) ^ (0x104C11DB7 if found & 0x80000000 else 0)
    return found


_PNG: Final = b"\x89PNG\r\n\x1a\n"
_OGG: Final = tuple(map(_ogg_step, range(256)))
"""CRC-32 as Ogg has it, which is not that of zlib: not reflected, and begun with 0."""


def _frame_header(value: bytes) -> tuple[int, ...]:
    """Return where a JPEG says its height, width and components; nothing for other media."""
    if not value.startswith(b"\xff\xd8"):
        return ()
    frame = max(value.find(b"\xff\xc0"), value.find(b"\xff\xc2"))
    return () if frame < 0 else (frame + 2, frame + 4, frame + 5, frame + 7, frame + 9, frame + 11)


def change_magic(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Let the first bytes tell another format."""
    head = rng.choice(_HEADS)
    return head + (value[len(head) :] if rng.random() < 0.7 else value)


def fill_body(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Leave the header, and fill what follows with one byte."""
    head = rng.randrange(12, 200)
    return value[:head] + rng.choice((b"\0", b"\xff", b"\x55")) * max(0, len(value) - head)


MEDIA: Final[tuple[Change, ...]] = (
    alter_fields, alter_fields, flip_fitting, flip_fitting, change_magic, fill_body,
)  # fmt: skip
