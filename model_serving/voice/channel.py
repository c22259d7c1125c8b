"""What a channel did to a voice: a number for each kind of harm, measured where the voice sounds.

Each is 0 for a clean recording, grows with the harm, and is 1 from where the harm is reported.
"""

from typing import Final

import numpy as np

from model_serving.voice.activity import RATE

MEASURES: Final = ("band", "muffled", "noise", "clipping", "steps", "background", "voices")
SEVERAL: Final = 2.0
"""The measure of ``voices`` where the channels are of several people."""

_FRAME = 1024  # samples
_LOUD_FRAMES = 5  # a third of a second: a knock on the microphone is shorter
_VOICE = 0.01  # of the power that is reached in so many: a frame below it is a pause
_LONG_ENOUGH = 0.8  # seconds: a syllable alone has no pause to hear noise in
_TAIL = 10**-4.5  # of the voice's power lies above its band's edge; -39 dB above 5 kHz is usual
_WIDE, _NARROW = 6_500.0, 5_000.0  # Hz; 7,400 of a hundredth of the corpora's clips
_DULL, _MUFFLED = 3_200.0, 2_500.0  # Hz; a telephone has 3,400
_LOW_NOISE, _LOUD_NOISE = -15.0, -9.0  # dB of the voice
_PEAKED, _CLIPPED = 2.0, 1.85  # crest factors: least of the corpora, and of clipped speech
_ENOUGH_STEPS, _FEW_STEPS = 6.0, 4.4  # bits of the samples' values
_QUICK, _SLOW = (
    6.5,
    4.5,
)  # dB that loudness falls in 32 ms; 6.3 in a twentieth of the corpora's clips
_FALLS = 95  # per cent of the steps in time, of which the quickest count
_WORST: Final = 4.0
_HUM = 0.5  # of the noise
_HUM_BANDS = 12  # of 513


def measure_channel(wave: np.ndarray, steps: int, *, several: bool = False) -> np.ndarray:
    """Return the ``MEASURES`` (7,) of a 16 kHz waveform whose file had so many sample values."""
    powers = powers_of(wave)
    voiced = mark_voiced(powers.sum(axis=1))
    noise = noise_level(powers) if len(wave) >= _LONG_ENOUGH * RATE else -np.inf
    edge = band_edge(powers[voiced])
    found = (
        np.log2(_WIDE / edge) / np.log2(_WIDE / _NARROW),
        np.log2(_DULL / edge) / np.log2(_DULL / _MUFFLED),
        (noise - _LOW_NOISE) / (_LOUD_NOISE - _LOW_NOISE),
        (_PEAKED - crest_factor(wave)) / (_PEAKED - _CLIPPED),
        (_ENOUGH_STEPS - np.log2(max(steps, 1))) / (_ENOUGH_STEPS - _FEW_STEPS),
        (_QUICK - quickest_fall(powers)) / (_QUICK - _SLOW),
        SEVERAL if several else 0.0,
    )
    return np.clip(found, 0.0, _WORST)


def band_edge(powers: np.ndarray) -> float:
    """Return the frequency in Hz above which nothing of the voice (frames, 513) stands."""
    bands = powers.sum(axis=0)
    above = np.cumsum(bands[::-1])[::-1]
    return float(max(1, (above > _TAIL * above[0]).sum()) * RATE / _FRAME)


def crest_factor(wave: np.ndarray) -> float:
    """Return the median crest factor of the loudest third of frames: how far peaks stand out.

    Clipping takes the peaks. Cut-off samples themselves are gone after resampling or a codec: of
    clips at forty times full scale it is 1.0 to 1.8 in each, of the corpora's clips 1.9 and more.
    Pauses are left out: with enough of them a third of all frames would not be voice.
    """
    frames = wave[: len(wave) // _FRAME * _FRAME].reshape(-1, _FRAME)
    frames = frames - frames.mean(axis=1, keepdims=True)
    power = np.square(frames).mean(axis=1)
    loud = mark_voiced(power) & (power >= np.sort(power)[-max(1, len(power) // 3)])
    return float(np.median(np.abs(frames[loud]).max(axis=1) / np.sqrt(power[loud] + 1e-12)))


def noise_level(powers: np.ndarray) -> float:
    """Return how loud what never stops is, in dB of the voice: the least tenth of each frequency.

    Frequencies are taken by eights: of one the least tenth of steady noise lies 10 dB under its
    mean, of eight 4 dB.
    """
    eights = powers[:, : _FRAME // 2].reshape(len(powers), -1, 8).sum(axis=2)
    floor = np.percentile(eights, 10, axis=0).sum()
    voice = powers[mark_voiced(powers.sum(axis=1))].mean(axis=0).sum()
    return float(10 * np.log10((floor + 1e-20) / (voice + 1e-20)))


def quickest_fall(powers: np.ndarray) -> float:
    """Return how far the loudness falls at the end of sounds, in dB from frame to frame.

    A room, music and other voices fill the gaps: speech alone falls 9 dB in a typical clip.
    """
    loudness = powers.sum(axis=1)
    falls = 10 * np.log10((loudness[:-1] + 1e-12) / (loudness[1:] + 1e-12))
    falls = falls[mark_voiced(loudness)[:-1]]
    return float(np.percentile(falls, _FALLS)) if len(falls) else _QUICK


def is_hum(powers: np.ndarray) -> bool:
    """Tell whether what never stops is of a few frequencies: the mains, a fan, a whistle."""
    floor = np.percentile(powers, 10, axis=0)
    return float(np.sort(floor)[-_HUM_BANDS:].sum()) > _HUM * float(floor.sum())


def mark_voiced(power: np.ndarray) -> np.ndarray:
    """Mark the frames (n,) that carry the voice: near the level that is reached in five of them."""
    return np.asarray(power >= _VOICE * np.sort(power)[-min(len(power), _LOUD_FRAMES)])


def powers_of(wave: np.ndarray) -> np.ndarray:
    """Return powers (frames, 513) of frames of 64 ms that are not digital silence, at least one."""
    padded = np.pad(wave, (0, max(0, _FRAME - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[:: _FRAME // 2]
    powers = np.square(np.abs(np.fft.rfft(frames * np.hanning(_FRAME).astype(np.float32))))
    some = powers.any(axis=1)
    return np.asarray(powers[some] if some.any() else powers)
