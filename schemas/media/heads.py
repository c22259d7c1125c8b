"""What follows a signature of two bytes in a real file: raw samples begin with any of them.

Frames of sound say how long they are, and behind each stands the next.
"""

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

_FRAMES: Final = 3
"""Frames that are looked at; the first has to be whole."""
_HEAD: Final = 6
"""Bytes of the longest head of a frame."""
_LAYER_3, _LAYER_2 = 1, 2
_KBITS: Final = {
    (True, _LAYER_3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (True, _LAYER_2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (False, _LAYER_3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, _LAYER_2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES: Final = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
"""Bits of the version → sampling rates: MPEG-1, MPEG-2 and its extension to low rates."""
_ADTS_RATES: Final = 13
ID3_HEAD: Final = 10
_TAGS: Final = 8
_INFLATED: Final = 4096

_Length = Callable[[bytes], int | None]
"""Bytes of the frame that some begin with, None where they begin none."""


def _mpeg_length(layer: int) -> _Length:
    def length(head: bytes) -> int | None:
        if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE0 | layer << 1:
            return None
        version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3
        kbits = head[2] >> 4
        if version == 1 or rate == 3 or not 0 < kbits < 15:
            return None
        bits = 1000 * _KBITS[version == 3, layer][kbits]
        samples = 72 if layer == _LAYER_3 and version != 3 else 144
        return samples * bits // _RATES[version][rate] + (head[2] >> 1 & 1)

    return length


mp3_length: Final = _mpeg_length(_LAYER_3)


def _adts_length(head: bytes) -> int | None:
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    if head[2] >> 2 & 0xF >= _ADTS_RATES:
        return None
    found = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return found if found > 6 else None


def _latm_length(head: bytes) -> int | None:
    if len(head) < 3 or head[0] != 0x56 or head[1] & 0xE0 != 0xE0:
        return None
    return 3 + ((head[1] & 0x1F) << 8 | head[2])


def _holds_frames(length: _Length) -> Callable[[bytes], bool]:
    def check(media: bytes) -> bool:
        place = 0
        for number in range(_FRAMES):
            found = length(media[place : place + _HEAD])
            if found is None:
                return False
            place += found
            if place + _HEAD > len(media):
                return number > 0 or place <= len(media)
        return True

    return check


def _is_zlib(media: bytes) -> bool:
    """Tell whether media inflate: to their end, or to more than other bytes do by chance."""
    reader = zlib.decompressobj()
    try:
        return len(reader.decompress(media, _INFLATED)) == _INFLATED or reader.eof
    except zlib.error:
        return False


CHECKS: Final[Mapping[str, Callable[[bytes], bool]]] = MappingProxyType(
    {
        "mp3": _holds_frames(mp3_length),
        "mp2": _holds_frames(_mpeg_length(_LAYER_2)),
        "aac": _holds_frames(_adts_length),
        "latm": _holds_frames(_latm_length),
        "zlib": _is_zlib,
    }
)
"""Format → whether media that bear its signature are of it."""


def skip_tags(media: bytes) -> bytes:
    """Return what stands behind the ID3 tags that media begin with, and behind their padding."""
    place = 0
    for _ in range(_TAGS):
        if media[place : place + 3] != b"ID3" or len(media) < place + ID3_HEAD:
            break
        place += id3_size(media[place : place + ID3_HEAD])
    return media[place:].lstrip(b"\0") if place else media


def id3_size(head: bytes) -> int:
    """Return the bytes of an ID3 tag with its head, which counts the others in 7 bits each."""
    size = 0
    for byte in head[6:]:
        size = size << 7 | byte & 0x7F
    return ID3_HEAD + size
