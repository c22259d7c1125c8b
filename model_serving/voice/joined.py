"""Sound files that stand one behind the other in one value, as after each pause of a recorder.

Decoders stop at the end of the first, or, of WebM, of the second. A stream of AAC has no end.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from model_serving.voice.mp3 import find_other_frames
from schemas.media.heads import ID3_HEAD, id3_size, skip_tags

_OGG: Final = re.compile(rb"OggS\0[\x02\x03\x06\x07]\0{8}.{4}\0{4}", re.DOTALL)
"""The first page of a stream: at the position 0, and the first of its number (RFC 3533)."""
_OGG_SEGMENTS: Final = 26
_MP3_SIDES: Final = b"|".join(b"\\0{%d}" % count for count in (9, 11, 17, 19, 32, 34))
"""Bytes between the head of a frame and what is in it: by version and channels, and a checksum."""
_STARTS: Final = {
    "wav": re.compile(rb"(?:RIF[FX]|RF64)....WAVE", re.DOTALL),
    "aiff": re.compile(rb"FORM....AIF[FC]", re.DOTALL),
    "flac": re.compile(rb"fLaC[\0\x80]\0\0\x22"),
    "mp4": re.compile(rb"\0\0\0[\x08-\xff]ftyp[ -~]{4}"),
    "webm": re.compile(
        rb"\x1aE\xdf\xa3(?:[\x81-\xff]|\x40.|\x08\0{3}.|\x01\0{6}.)\x42[\x82-\x87\xf2\xf3\xf7]",
        re.DOTALL,
    ),
    # A frame that tells of the file's length is its first, but for a tag.
    "mp3": re.compile(
        rb"ID3[\x02-\x04]\0[\0-\xf0][\0-\x7f]{4}|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]..(?:%s)(?:Xing|Info|VBRI)"
        % _MP3_SIDES,
        re.DOTALL,
    ),
}


def split_files(media: bytes, name: str) -> list[bytes]:
    """Return the files of this format that media hold, in their order; mostly it is one."""
    if name not in {"mp3", "aac"}:  # whose decoders pass over tags
        media = skip_tags(media)
    files = _cut(media, _find_starts(media, name))
    if name == "mp3":
        return [part for file in files for part in _cut(file, find_other_frames(file))]
    return files


def _cut(media: bytes, starts: Iterator[int]) -> list[bytes]:
    places = [0, *(start for start in starts if start), len(media)]
    return [media[a:b] for a, b in pairwise(places)] if len(places) > 2 else [media]


def _find_starts(media: bytes, name: str) -> Iterator[int]:
    if name == "ogg":
        yield from _find_streams(media)
    elif name == "mp3":
        yield from _find_tagged(media)
    elif name in _STARTS:
        yield from (found.start() for found in _STARTS[name].finditer(media))


def _find_streams(media: bytes) -> Iterator[int]:
    """Yield where streams of Ogg begin; those that run side by side begin together."""
    end = 0
    for found in _OGG.finditer(media):
        start = found.start()
        if start != end:
            yield start
        count = media[start + _OGG_SEGMENTS] if start + _OGG_SEGMENTS < len(media) else 0
        body = start + _OGG_SEGMENTS + 1 + count
        end = body + sum(media[body - count : body])


def _find_tagged(media: bytes) -> Iterator[int]:
    """Yield where MP3 files begin: at an ID3 tag, or at a frame of their length without one."""
    end = 0
    for found in _STARTS["mp3"].finditer(media):
        start = found.start()
        if start != end:
            yield start
        tag = found[0][:3] == b"ID3"
        end = start + id3_size(media[start : start + ID3_HEAD]) if tag else 0
