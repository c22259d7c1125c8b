"""Opus is decoded by its bandwidth, whatever its head says of the recording."""

import io

import numpy as np
import pytest
import soundfile

from model_serving.training.voice.field_channels import with_opus_rate
from model_serving.voice.front_end import decode_clip
from model_serving.voice.opus import set_decoding_rate

RATE = 16_000


def _opus(channels=1):
    """Two seconds of noise up to 8 kHz, as a browser would send it."""
    noise = 0.1 * np.random.default_rng(2).standard_normal((96_000, channels))
    file = io.BytesIO()
    soundfile.write(file, noise, 48_000, format="OGG", subtype="OPUS")
    return file.getvalue()


def _above(wave, hertz):
    powers = np.square(np.abs(np.fft.rfft(wave)))
    place = round(hertz / RATE * 2 * len(powers))
    return powers[place:].sum() / powers.sum()


@pytest.mark.parametrize("rate", [0, 1, 8_000, 16_000, 44_100, 48_000, 2**32 - 1])
def test_the_rate_in_the_head_takes_nothing_from_the_sound(rate):
    wave = decode_clip(with_opus_rate(_opus(), rate), RATE).wave
    assert len(wave) == pytest.approx(2 * RATE, abs=400)
    assert _above(wave, 5_000) > 0.2


def test_the_head_of_each_joined_stream_is_set():
    parts = [with_opus_rate(_opus(), rate) for rate in (0, 8_000, 44_100)]
    wave = decode_clip(b"".join(parts), RATE).wave
    assert len(wave) == pytest.approx(6 * RATE, abs=1_200)
    assert _above(wave, 5_000) > 0.2


@pytest.mark.parametrize(
    ("wanted", "given"), [(8_000, 8_000), (11_025, 12_000), (22_050, 24_000), (96_000, 48_000)]
)
def test_the_smallest_rate_that_is_enough_is_decoded(wanted, given):
    with soundfile.SoundFile(io.BytesIO(set_decoding_rate(_opus(), wanted))) as file:
        assert file.samplerate == given
        assert file.frames / given == pytest.approx(2.0, abs=0.02)


def test_what_is_no_opus_or_damaged_stays_as_it_is():
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1_000), RATE, format="OGG", subtype="VORBIS")
    broken = bytearray(_opus())
    broken[45] ^= 1
    for media in (b"", b"OggS", b"OggS" * 9, file.getvalue(), bytes(broken), _opus()[:40]):
        assert set_decoding_rate(media, RATE) == media
