"""Frames of MP3: where those of another file begin, and how many there are.

libsndfile takes the length from a first frame that tells of it (Xing, Info), or guesses it from the
bitrate of the first: of 2.6 s of variable bitrate it heard 1.1 s.
"""

import re
from collections.abc import Iterator
from typing import Final

from schemas.media.heads import mp3_length, skip_tags

_COUNT: Final = re.compile(
    rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f](.{4})|VBRI.{10}(.{4})", re.DOTALL
)
"""The number of frames that follow, in a first frame: of Xing, LAME or Fraunhofer."""
_HEAD: Final = 64
_MONO: Final = 3
_MPEG_1: Final = 3
_FEW: Final = 4
"""Frames by which such a number may be wrong."""
_MOST_FRAMES: Final = 2_500
"""Frames that are followed: 15 s at 48 kHz are 625."""
_BITRATE: Final = 9
"""Index of 128 or 80 kbit/s, whose frames have room for a number."""


def find_other_frames(media: bytes) -> Iterator[int]:
    """Yield where frames of another rate begin, or those behind as many as a first frame gives."""
    kind: tuple[int, int, bool] | None = None
    places: list[int] = []
    most = _MOST_FRAMES
    for place, head in _frames(media):
        found = head[1] & 0x18, head[2] & 0x0C, head[3] >> 6 == _MONO
        if found != kind:
            if kind is not None:
                yield place
            kind, places, most = found, [], _read_count(head) or _MOST_FRAMES
        elif len(places) == most + _FEW:
            yield places[most]
            places, most = places[most:], _MOST_FRAMES
        places.append(place)


def add_frame_count(media: bytes) -> bytes:
    """Return an MP3 with a first frame that gives the number of the others, as encoders do."""
    sound = skip_tags(media)
    frames = list(_frames(sound))
    if not frames or _read_count(frames[0][1]):
        return media
    place, last = frames[-1]
    followed = place + (mp3_length(last) or 0)  # a damaged frame ends that, and not the sound
    count = max(len(frames), len(frames) * len(sound) // followed)
    first = bytearray(frames[0][1][:4])
    first[1] |= 1  # no checksum
    first[2] = _BITRATE << 4 | first[2] & 0x0C
    mono = first[3] >> 6 == _MONO
    side = (17 if mono else 32) if first[1] >> 3 & 3 == _MPEG_1 else (9 if mono else 17)
    counted = bytes(first) + bytes(side) + b"Info" + (1).to_bytes(4) + count.to_bytes(4)
    return counted.ljust(mp3_length(bytes(first)) or 0, b"\0") + sound


def _frames(media: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield place and begin of the frames that follow one another from the first on."""
    place = len(media) - len(skip_tags(media))
    for _ in range(_MOST_FRAMES):
        head = media[place : place + _HEAD]
        size = mp3_length(head)
        if size is None:
            return
        yield place, head
        place += size


def _read_count(head: bytes) -> int:
    """Return the number of frames that a first frame gives, with itself; 0 where it gives none."""
    found = _COUNT.search(head)
    count = int.from_bytes(found[1] or found[2]) if found else 0
    return count and 1 + count
