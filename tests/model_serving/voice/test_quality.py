"""A card's weights turn what a channel did into confidence; the code names the largest harm."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model_serving.voice.channel import MEASURES, measure_channel
from model_serving.voice.front_end import decode_clip
from model_serving.voice.quality import Clip, check_weights, judge_speech
from pipelines.sessionlogs.sample_data import DATA, VOICE
from schemas.errors import AffectstreamError, QualityCode

RATE = 16_000
RNG = np.random.default_rng(9)


def _spoken(name: str = "en-anger-2") -> np.ndarray:
    (path,) = Path(DATA / VOICE).glob(f"{name}.*")
    return decode_clip(path.read_bytes(), RATE).wave


def _file(sound: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def _noisy(decibels: float) -> np.ndarray:
    wave = _spoken()
    noise = RNG.standard_normal(len(wave)) * wave.std() * 10 ** (decibels / 20)
    return np.asarray(wave + noise, np.float32)


def test_a_weight_of_nothing_takes_nothing_and_more_takes_more() -> None:
    clip = Clip(_noisy(0))
    shares = [judge_speech([clip], {"noise": weight})[0][0] for weight in (0.0, 0.3, 1.0)]
    assert shares[0] == 1.0
    assert shares[1] > shares[2] > 0
    found = dict(zip(MEASURES, measure_channel(clip.wave - clip.wave.mean(), 64), strict=True))
    assert shares[1] == pytest.approx(np.exp(-0.3 * found["noise"]), rel=1e-3)


def test_a_card_that_weighs_what_is_not_measured_is_refused() -> None:
    with pytest.raises(AffectstreamError, match="weighs loudness of a voice's channel: name band"):
        check_weights({"band": 0.1, "loudness": 0.2})
    assert check_weights({})["voices"] > 0


@pytest.mark.parametrize("decibels", [-30.0, -12.0, -3.0, 3.0])
def test_measures_grow_with_the_noise_and_the_code_comes_at_one(decibels: float) -> None:
    wave, louder = _noisy(decibels), _noisy(decibels + 6)
    noise = MEASURES.index("noise")
    assert measure_channel(louder, 64)[noise] >= measure_channel(wave, 64)[noise]
    reported = judge_speech([Clip(wave)])[1] == [QualityCode.NOISY]
    assert reported == (measure_channel(wave, 64)[noise] >= 1)


def test_the_background_is_named_only_where_nothing_else_is() -> None:
    time = np.arange(4 * RATE) / RATE
    wave = np.resize(_spoken(), len(time))
    room = RNG.standard_normal(RATE) * 10 ** (-3 * np.arange(RATE) / RATE)
    behind = np.convolve(wave, room)[: len(wave)].astype(np.float32)
    assert judge_speech([Clip(behind)])[1] == [QualityCode.BACKGROUND]
    assert judge_speech([Clip(behind, steps=8)])[1] == [QualityCode.COARSE]
    assert judge_speech([Clip(behind, several=True)])[1] == [QualityCode.SEVERAL_VOICES]


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 3.0, 32_768.0, 1e30])
def test_a_file_of_any_scale_is_heard_at_one_level(scale: float) -> None:
    wave = _spoken()
    plain, heard = (decode_clip(_file(each), RATE).wave for each in (wave, wave * scale))
    assert np.abs(heard - plain).max() < 1e-4 * np.abs(plain).max()


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM", "G721_32", "ULAW"])
def test_codecs_of_telephones_are_read_to_their_last_block(subtype: str) -> None:
    wave = _spoken()[: 2 * RATE : 2] * 3
    heard = decode_clip(_file(wave, 8_000, subtype), RATE).wave
    assert len(heard) == pytest.approx(2 * len(wave), abs=1_100)


def test_two_people_are_told_from_one_in_two_microphones() -> None:
    one, other = _spoken(), np.resize(_spoken("zh-neutral-1"), len(_spoken()))
    pairs = {
        "two people": ((one, other), True),
        "late": ((one, np.roll(one, 80)), False),
        "one and noise": ((one, 0.02 * RNG.standard_normal(len(one))), False),
        "inverted": ((one, -one), False),
    }
    for name, (pair, several) in pairs.items():
        assert decode_clip(_file(np.stack(pair, axis=1)), RATE).several is several, name
