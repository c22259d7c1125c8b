"""What a WAV's head says of its sound, and what stands behind it."""

import io
import struct

import numpy as np
import pytest
import soundfile

from model_serving.voice.decoding import read_sound
from model_serving.voice.wav import check_length, explain_wav
from schemas.errors import UndecodableError

WAVE = 0.1 * np.random.default_rng(4).standard_normal(8_000)


def _wav(subtype: str = "PCM_16", form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, WAVE, 8_000, format=form, subtype=subtype)
    return file.getvalue()


def _with_size(media: bytes, size: int) -> bytes:
    at = media.index(b"data") + 4
    return media[:at] + struct.pack("<I", size) + media[at + 4 :]


@pytest.mark.parametrize(
    "subtype",
    ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM",
     "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16"],
)  # fmt: skip
def test_whole_files_of_every_codec_are_heard(subtype: str) -> None:
    media = _wav(subtype)
    assert explain_wav(media) is None
    assert check_length(media) is None
    assert len(read_sound(media)[0]) >= len(WAVE)


@pytest.mark.parametrize("behind", [b"LIST\x04\0\0\0INFO", b"ID3\3\0\0\0\0\0\0", bytes(4_000), b""])
def test_what_stands_behind_is_no_sound(behind: bytes) -> None:
    assert len(read_sound(_wav() + behind + b"LIST" + bytes(4))[0]) == len(WAVE)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_length_that_leaves_sound_out_is_told(share: float) -> None:
    size = int(share * len(WAVE)) * 2
    with pytest.raises(UndecodableError, match=f"{size:,} bytes, and .* more stand behind them"):
        read_sound(_with_size(_wav(), size))


def test_a_length_of_0_is_told_and_one_that_is_not_known_is_read() -> None:
    with pytest.raises(UndecodableError, match="a length of 0"):
        read_sound(_with_size(_wav(), 0))
    with pytest.raises(UndecodableError, match="holds no sound"):
        read_sound(_with_size(_wav(), 0)[:44])
    assert len(read_sound(_with_size(_wav(), 0xFFFF_FFFF))[0]) == len(WAVE)
