"""Pictures and clips: ordinary ones of some size, and the chunks that hostile ones are made of."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import soundfile
from PIL import Image

from infra.bench.bounds.patterns import Pattern, Pieces
from model_serving.loader import load_recogniser
from model_serving.recogniser import Estimates, Recogniser
from pipelines.config import WEIGHTS

_RATE: Final = 16_000


@dataclass(frozen=True, slots=True)
class Format:
    """A format of media: an ordinary file of about some bytes, the decoder, and its chunks."""

    benign: Callable[[int], bytes]
    run: Callable[[Sequence[bytes]], Any]
    alphabet: Pieces
    seeds: tuple[Pattern, ...]


@cache
def _model(modality: str) -> Recogniser:
    return load_recogniser(modality, str(WEIGHTS / f"{modality}-compact"), None, "cpu")


def _recognise(modality: str, payloads: Sequence[bytes]) -> Estimates:
    """Run the whole stage, decoder and net, on these files."""
    return _model(modality).estimate(pa.record_batch({"media": pa.array(payloads, pa.binary())}))


_faces, _voices = (partial(_recognise, modality) for modality in ("face", "voice"))


def _picture(form: str, side: int, **options: Any) -> bytes:
    grey = np.random.default_rng(side).integers(0, 255, (side, side), np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, form, **options)
    return file.getvalue()


def _noise(form: str) -> Callable[[int], bytes]:
    return lambda size: _picture(form, max(16, int(size**0.5)))


def _png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    checked = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checked)


def _png() -> Format:
    plain = _picture("PNG", 16)
    head, tail = plain[:33], plain[33:]
    packed = zlib.compress(bytes(60_000))
    pieces = (
        *map(_png_chunk, (b"tEXt", b"prVt", b"IDAT", b"fdAT", b"PLTE", b"IEND", b"tIME", b"eXIf")),
        _png_chunk(b"zTXt", b"a\0\0" + packed),
        _png_chunk(b"iTXt", b"a\0\1\0\0\0" + packed),
        _png_chunk(b"iCCP", b"a\0\0" + packed),
        _png_chunk(b"acTL", struct.pack(">II", 1, 0)),
        _png_chunk(b"tEXt", b"k\0v"),
        *(head, tail),
    )
    seeds = tuple(Pattern((piece,), (head,), (tail,)) for piece in pieces)
    flat = (_flat_png(60_000, 1), _flat_png(1, 60_000), _flat_png(4096, 4096))
    return Format(_noise("PNG"), _faces, pieces, (*seeds, *(Pattern((), (f,)) for f in flat)))


def _flat_png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()


def _jpeg() -> Format:
    plain, slow = _picture("JPEG", 64), _picture("JPEG", 64, progressive=True)
    last = slow[slow.rindex(b"\xff\xda") : -2]
    pieces = (
        *(b"\xff%s\0\x02" % marker for marker in (b"\xfe", b"\xe0", b"\xe1", b"\xed", b"\xe2")),
        *(b"\xff\xdb\0\x02", b"\xff\xc4\0\x02", b"\xff\xdd\0\x04\0\x01", b"\xff\xff"),
        *(b"\xff\xe1\0\x08Exif\0\0", b"\xff\xe2\0\x06MPF\0", last, b"\xff\xd9", b"\0"),
    )  # fmt: skip
    seeds = [Pattern((piece,), (plain[:2],), (plain[2:],)) for piece in pieces]
    seeds.append(Pattern((last,), (slow[:-2],), (slow[-2:],)))
    return Format(_noise("JPEG"), _faces, pieces, tuple(seeds))


def _riff_sized(run: Callable[[Sequence[bytes]], Any]) -> Callable[[Sequence[bytes]], Any]:
    """Let RIFF files tell their own size, as hostile ones would."""

    def sized(payload: bytes) -> bytes:
        return payload[:4] + struct.pack("<I", len(payload) - 8) + payload[8:]

    return lambda payloads: run([sized(payload) for payload in payloads])


def _webp() -> Format:
    plain = _picture("WEBP", 64, lossless=True)
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\x3f\0\0\x3f\0\0"
    pieces = (b"EXIF\0\0\0\0", b"XMP \0\0\0\0", b"ALPH\0\0\0\0", b"ANMF\0\0\0\0", b"abcd\0\0\0\0",
              b"ICCP\0\0\0\0", extended, plain[12:])  # fmt: skip
    seeds = tuple(Pattern((piece,), (plain[:12] + extended,), (plain[12:],)) for piece in pieces)
    run = _riff_sized(_faces)
    return Format(_noise("WEBP"), run, pieces, seeds)


def _clip(seconds: float, form: str, subtype: str, rate: int = _RATE, channels: int = 1) -> bytes:
    count = int(seconds * rate)
    wave = np.random.default_rng(7).normal(0, 0.1, (count, channels))
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=form, subtype=subtype)
    return file.getvalue()


def _silence(rate: int, channels: int, seconds: float, form: str = "FLAC") -> bytes:
    file = io.BytesIO()
    wave = np.zeros((int(rate * seconds), channels), np.float32)
    soundfile.write(file, wave, rate, format=form)
    return file.getvalue()


def _sound(size: int) -> bytes:
    return _clip(min(15.0, size / 2 / _RATE), "WAV", "PCM_16")


def _speech(size: int) -> bytes:
    """Return a clip as voice is sent: packed to 5 kB a second."""
    return _clip(min(15.0, size / 5_000), "OGG", "VORBIS")


def _wav() -> Format:
    plain = _clip(0.1, "WAV", "PCM_16")
    pieces = (b"LIST\0\0\0\0", b"fmt \0\0\0\0", b"abcd\0\0\0\0", b"data\0\0\0\0", b"fact\0\0\0\0",
              b"cue \0\0\0\0", plain[12:])  # fmt: skip
    seeds = tuple(Pattern((piece,), (plain[:12],), (plain[12:],)) for piece in pieces)
    return Format(_sound, _riff_sized(_voices), pieces, seeds)


def _flac() -> Format:
    plain = _clip(0.1, "FLAC", "PCM_16")
    pieces = (
        b"\x01\0\0\0",
        b"\x02\0\0\x04abcd",
        b"\x04\0\0\0",
        b"\x06\0\0\0",
        plain[42:],
        b"\xff\xf8",
    )
    silent = [
        _silence(384_000, 1, 15), _silence(192_000, 2, 15), _silence(48_000, 8, 15),
        _silence(352_800, 1, 15), _silence(44_100, 8, 15),
    ]  # fmt: skip
    seeds = [Pattern((piece,), (plain[:42],), (plain[42:],)) for piece in pieces]
    seeds += [Pattern((), (each,)) for each in silent]
    return Format(_speech, _voices, pieces, tuple(seeds))


def _ogg() -> Format:
    plain = _clip(0.5, "OGG", "VORBIS")
    page = b"OggS\0\0" + bytes(20) + b"\0"
    absurd = bytearray(plain)
    last = absurd.rindex(b"OggS")
    absurd[last + 6 : last + 14] = b"\xff" * 7 + b"\x7f"
    pieces = (page, b"OggS", plain, plain[:58], b"\x03vorbis", b"\0")
    seeds = [Pattern((piece,), (plain,)) for piece in pieces]
    seeds += [Pattern((), (bytes(absurd),)), Pattern((plain,))]
    return Format(_speech, _voices, pieces, tuple(seeds))


FORMATS: Final[Mapping[str, Callable[[], Format]]] = {
    "recognise PNG": _png,
    "recognise JPEG": _jpeg,
    "recognise WebP": _webp,
    "recognise WAV": _wav,
    "recognise FLAC": _flac,
    "recognise Ogg": _ogg,
}
