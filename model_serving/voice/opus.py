"""Opus in Ogg: at which rate it is decoded.

An Opus decoder gives the whole bandwidth of the stream at any of its five rates. The head's rate
only tells what was recorded (RFC 7845, section 5.1), and encoders write 0, or that of another
device; libsndfile decodes at it, and at 8 kHz half of the bandwidth is gone.
"""

from typing import Final

from model_serving.voice.joined import split_files

_RATES: Final = (8_000, 12_000, 16_000, 24_000, 48_000)
_SEGMENTS, _CHECKSUM, _BODY = 26, 22, 27  # places in a page of Ogg (RFC 3533)
_RATE: Final = 12  # place in the head


def set_decoding_rate(media: bytes, rate: int) -> bytes:
    """Return the file with the smallest rate in its heads that is not under ``rate``.

    A file has a head for each stream that stands behind another in it. Streams that are not Opus in
    Ogg, or whose first page is damaged, are returned as they are.
    """
    if media[:4] != b"OggS":
        return media
    return b"".join(_set_rate(stream, rate) for stream in split_files(media, "ogg"))


def _set_rate(media: bytes, rate: int) -> bytes:
    if len(media) < _BODY + 1:
        return media
    count = media[_SEGMENTS]
    head = _BODY + count
    end = head + sum(media[_BODY:head])
    if media[head : head + 8] != b"OpusHead" or end < head + _RATE + 4 or len(media) < end:
        return media
    page = bytearray(media[:end])
    found = bytes(page[_CHECKSUM : _CHECKSUM + 4])
    if _sign(page) != found:
        return media
    chosen = next((each for each in _RATES if each >= rate), _RATES[-1])
    page[head + _RATE : head + _RATE + 4] = chosen.to_bytes(4, "little")
    page[_CHECKSUM : _CHECKSUM + 4] = _sign(page)
    return bytes(page) + media[end:]


def _sign(page: bytearray) -> bytes:
    """Return the checksum of a page of Ogg, whose own four bytes count as zeros."""
    register = 0
    for place, byte in enumerate(page):
        register ^= (0 if _CHECKSUM <= place < _CHECKSUM + 4 else byte) << 24
        for _ in range(8):
            register = (register << 1) ^ (0x04C11DB7 if register & 0x80000000 else 0)
            register &= 0xFFFFFFFF
    return register.to_bytes(4, "little")
