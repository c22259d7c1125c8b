"""What the head of a WAV says that libsndfile does not: which codec its sound is of, how long."""

import re
import struct
from collections.abc import Iterator
from typing import Final

_CODECS: Final = {
    0x42: "G.723", 0x45: "G.726", 0x50: "MP2", 0x55: "MP3", 0x83: "G.729", 0x92: "AC-3",
    0xFF: "AAC", 0x160: "WMA", 0x161: "WMA", 0x162: "WMA", 0x28F: "G.722", 0x674F: "Vorbis",
    0x6750: "Vorbis", 0x6751: "Vorbis", 0x704F: "Opus", 0x1600: "AAC", 0x1602: "AAC",
    0x1610: "AAC", 0x2000: "AC-3", 0xA106: "AAC", 0xA109: "Speex", 0xF1AC: "FLAC",
}  # fmt: skip
"""Formats of WAVEFORMATEX whose sound belongs into a file of its own."""
_MOST_CHUNKS: Final = 64
_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_ ]{3}")
_MOST_BEHIND: Final = 1_024
"""Bytes that are no sound of which anybody would miss a word."""


def explain_wav(media: bytes) -> str | None:
    """Return why a WAV gives no sound, or less than it says, where its head tells; else None."""
    for name, start, size in _chunks(media):
        if name == b"fmt " and size >= 2 and len(media) >= start + 2:
            (code,) = struct.unpack_from("<H", media, start)
            if code in _CODECS:
                codec = _CODECS[code]
                return f"the WAV holds {codec}: send PCM in it, or {codec} in a file of its own"
        if name == b"data" and size == 0 and len(media) > start:
            return (
                "the head of the WAV gives its sound a length of 0: what wrote it did not finish "
                "it, so write the length there, or 0xFFFFFFFF where it is not known"
            )
    return None


def check_length(media: bytes) -> str | None:
    """Return what is wrong where sound stands behind the end that a WAV's head gives; else None.

    Behind the sound there may be chunks, whose names are of ASCII, tags and zeros.
    """
    for name, start, size in _chunks(media):
        if name != b"data":
            continue
        behind = media[start + size :].lstrip(b"\0")
        odd = not _NAME.match(behind) and not behind.startswith((b"ID3", b"TAG"))
        if odd and len(behind) > max(_MOST_BEHIND, size // 10):
            return (
                f"the head of the WAV gives its sound {size:,} bytes, and {len(behind):,} more "
                "stand behind them: write the whole length there, or 0xFFFFFFFF"
            )
        return None
    return None


def _chunks(media: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and size of the chunks of a RIFF file."""
    place = 12
    for _ in range(_MOST_CHUNKS):
        if len(media) < place + 8:
            return
        size = int.from_bytes(media[place + 4 : place + 8], "little")
        yield media[place : place + 4], place + 8, size
        place += 8 + size + size % 2
