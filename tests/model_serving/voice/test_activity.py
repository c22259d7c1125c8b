import csv
import io

import numpy as np
import pytest
import soundfile
import torch

from model_serving.voice.activity import CHUNK, RATE, load_voice_activity
from model_serving.voice.front_end import decode_clip
from model_serving.voice.quality import Clip, judge_speech
from model_serving.voice.waveforms import resample
from schemas.errors import QualityCode

RNG = np.random.default_rng(0)


def _tone(seconds, size=0.3):
    return (np.sin(np.arange(int(RATE * seconds)) * 0.2) * size).astype(np.float32)


@pytest.mark.parametrize(
    ("wave", "code"),
    [
        (np.zeros(32_000, np.float32), QualityCode.NO_SPEECH),
        (np.zeros(100_000, np.float32), QualityCode.NO_SPEECH),
        (RNG.normal(0, 0.1, 32_000).astype(np.float32), QualityCode.NO_SPEECH),
        (_tone(3), QualityCode.NO_SPEECH),
        (_tone(0.1), QualityCode.TOO_SHORT),
        (np.ones(32_000, np.float32), QualityCode.NO_SPEECH),
    ],
)
def test_what_is_no_speech_can_not_be_judged(wave, code):
    shares, codes = judge_speech([Clip(wave)])
    assert shares.tolist() == [0.0]
    assert codes == [code]


def test_chunks_of_a_clip_do_not_hang_on_its_neighbours():
    net = load_voice_activity()
    waves = torch.randn(3, 5 * CHUNK, generator=torch.Generator().manual_seed(1)) * 0.1
    together = net(waves)
    assert together.shape == (3, 5)
    for row in range(3):
        assert torch.allclose(net(waves[row : row + 1])[0], together[row], atol=1e-5)


def test_what_comes_later_does_not_move_earlier_chunks():
    net = load_voice_activity()
    wave = torch.randn(1, 8 * CHUNK, generator=torch.Generator().manual_seed(2)) * 0.1
    assert torch.allclose(net(wave[:, : 4 * CHUNK])[0], net(wave)[0, :4], atol=1e-5)


def _speech(corpora, count):
    with (corpora / "audio" / "manifest.csv").open(encoding="utf-8") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["dataset"] == "emodb"]
    paths = [corpora / "audio" / row["path"] for row in rows[:: len(rows) // count]]
    return [soundfile.read(path, dtype="float32")[0] for path in paths]


@pytest.mark.corpora
def test_speech_is_heard_quiet_and_loud_and_clipping_is_told(corpora):
    waves = _speech(corpora, 20)
    for factor in (1.0, 0.01):
        shares, codes = judge_speech([Clip(wave * factor) for wave in waves])
        assert codes == [None] * len(waves)
        assert shares.min() > 0.9


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("rate", "form", "subtype"),
    [(16_000, "WAV", "PCM_16"), (48_000, "WAV", "PCM_16"), (48_000, "OGG", "OPUS")],
)
def test_clipping_is_told_at_any_rate_and_through_a_codec(corpora, rate, form, subtype):
    heard = []
    for wave in _speech(corpora, 20):
        loud = resample(wave / np.abs(wave).max(), 16_000, rate) * 40
        file = io.BytesIO()
        soundfile.write(file, np.clip(loud, -1, 1), rate, format=form, subtype=subtype)
        heard.append(decode_clip(file.getvalue(), 16_000))
    shares, codes = judge_speech(heard)
    assert shares.max() < 0.6
    assert set(codes) == {QualityCode.CLIPPED}
