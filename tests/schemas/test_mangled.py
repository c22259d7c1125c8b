"""Bytes that were text on their way are told from others, and got back where nothing was lost."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from schemas.media.mangled import is_mangled, restore_bytes

RNG = np.random.default_rng(3)


def sound(
    wave: np.ndarray, form: str = "WAV", subtype: str = "PCM_16", rate: int = 16_000
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=form, subtype=subtype)
    return file.getvalue()


NOISE = 0.1 * RNG.standard_normal(4_000)
FILES = {
    "WAV": sound(NOISE),
    "WAV of 8 bits": sound(NOISE, subtype="PCM_U8"),
    "WAV of floats": sound(NOISE, subtype="FLOAT"),
    "Ogg": sound(NOISE, "OGG", "VORBIS"),
    "FLAC": sound(NOISE, "FLAC"),
    "MP3": sound(NOISE, "MP3", "MPEG_LAYER_III"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_whole_and_each_text_encoding_mangles_it(name: str) -> None:
    media = FILES[name]
    assert not is_mangled(media)
    assert restore_bytes(media) is None
    lost = {
        "ascii, replaced": media.decode("ascii", "replace").encode("ascii", "replace"),
        "ascii, ignored": media.decode("ascii", "ignore").encode(),
        "7 bits": bytes(byte & 127 for byte in media),
        "utf-8, replaced": media.decode("utf-8", "replace").encode(),
        "windows-1252, replaced": media.decode("cp1252", "replace").encode(),
        "code page 437": media.decode("cp437").encode(),
    }
    for how, found in lost.items():
        assert is_mangled(found), how
        assert restore_bytes(found) != media, how


@pytest.mark.parametrize("name", FILES)
def test_what_was_taken_for_latin_1_or_windows_1252_comes_back(name: str) -> None:
    media = FILES[name]
    browsers = "".join(
        bytes([byte]).decode("latin-1" if byte in b"\x81\x8d\x8f\x90\x9d" else "cp1252")
        for byte in media
    )
    for text in (media.decode("latin-1"), browsers):
        assert is_mangled(text.encode())
        assert restore_bytes(text.encode()) == media


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
@pytest.mark.parametrize("level", [0.0, 0.4, 1 / 32_768])
def test_silence_and_constants_are_no_text(rate: int, level: float) -> None:
    for subtype in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT"):
        assert not is_mangled(sound(np.full(rate, level), subtype=subtype, rate=rate))


def test_flat_pictures_and_written_text_are_not_mangled() -> None:
    for form in ("PNG", "GIF", "BMP", "TIFF", "JPEG", "WEBP"):
        file = io.BytesIO()
        Image.new("RGB", (64, 64)).save(file, form)
        assert not is_mangled(file.getvalue()), form
    for text in ("", "今天好开心", "a\tb\r\n" * 99, "data:audio/ogg;base64,T2dnUw=="):
        assert not is_mangled(text.encode())
