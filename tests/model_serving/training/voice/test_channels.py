"""What clips are disturbed by in training, and what a card says of it."""

import numpy as np
import pytest

from model_serving.training.voice.channel_weights import _fit
from model_serving.training.voice.channels import HARSH, KINDS, RATE, add_hum, disturb, telephone
from model_serving.training.voice.field_channels import CHANNELS, UNTRAINED
from model_serving.voice.front_end import decode_clip

RNG = np.random.default_rng(11)
EVERY = [*HARSH, *(kind for kind, _ in KINDS)]
WAVE = (np.sin(np.arange(RATE) * 0.05) * RNG.uniform(0.1, 0.5, RATE)).astype(np.float32)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: getattr(kind, "func", kind).__name__)
@pytest.mark.parametrize("size", [900, RATE])
def test_each_kind_changes_a_clip_by_its_seed_and_leaves_its_length(kind, size):
    one, again, other = (kind(WAVE[:size], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert len(one) == size
    assert np.isfinite(one).all()
    assert np.array_equal(one, again)
    assert not np.array_equal(one, WAVE[:size])
    assert not np.array_equal(one, other)


def test_disturbed_clips_are_drawn_by_the_seed_and_differ():
    heard = disturb(WAVE, np.random.default_rng(4))
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    assert np.array_equal(heard, disturb(WAVE, np.random.default_rng(4)))
    lengths = {len(disturb(WAVE, np.random.default_rng(seed))) for seed in range(20)}
    assert min(lengths) > RATE * 0.8
    assert max(lengths) < RATE * 1.3
    assert len(lengths) > 3


def test_a_telephone_leaves_its_band_and_a_hum_stands_at_the_mains():
    noise = RNG.standard_normal(RATE).astype(np.float32)
    powers = np.square(np.abs(np.fft.rfft(telephone(noise, np.random.default_rng(3)))))
    assert powers[4_200:].sum() < 0.01 * powers.sum()
    assert powers[:100].sum() < 0.01 * powers.sum()
    hum = add_hum(WAVE, np.random.default_rng(5)) - WAVE
    assert abs(int(np.abs(np.fft.rfft(hum)).argmax()) % 10) in (0, 9, 1)


@pytest.mark.parametrize("title", CHANNELS)
def test_each_channel_of_the_field_is_a_file_that_is_read(title):
    voice = WAVE * np.sin(np.arange(RATE) / 1_000)
    media = CHANNELS[title](voice, voice[::-1], np.random.default_rng(6))
    assert len(decode_clip(media, RATE).wave) > 0.7 * RATE


def test_channels_that_are_kept_back_are_judged():
    assert set(UNTRAINED) < set(CHANNELS)


def test_weights_are_found_again_and_a_measure_that_harms_nothing_weighs_nothing():
    measures = np.abs(RNG.standard_normal((60_000, 2)))
    share = np.exp(-0.5 * measures[:, 0])
    sure = np.array([0.8, *[0.2 / 6] * 6])
    chances = share[:, None] * sure + (1 - share[:, None]) / 7
    drawn = (RNG.random(len(share))[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    found = _fit(sure[drawn], measures)
    assert found[0] == pytest.approx(0.5, abs=0.05)
    assert found[1] == pytest.approx(0.0, abs=0.05)
