"""Channels between a speaker and a file, drawn at random: what training clips are disturbed by.

Every function takes a waveform at 16 kHz and a generator, and returns one of the same length but
for ``change_speed``. The channels that a model is judged on (``field_channels``) are made in other
ways, and some kinds of them occur here in no way at all.
"""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Final, TypeAlias

import numpy as np
import soundfile
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

RATE: Final = 16_000
Channel: TypeAlias = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# Per cent of the time: throats and habits differ.
_SPEEDS = (78, 83, 88, 93, 96, 104, 106, 112, 118, 124)
_OCTAVES = np.array([62.5, 125, 250, 500, 1000, 2000, 4000, 8000])
_CODECS = (("OGG", "VORBIS"), ("OGG", "OPUS"))


def change_speed(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speak faster or slower, and higher or lower with it."""
    return np.asarray(resample_poly(wave, 100, rng.choice(_SPEEDS)), np.float32)


def enter_room(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add reverberation of 50 to 400 ms behind the direct sound."""
    length = int(RATE * rng.uniform(0.05, 0.4))
    room = rng.standard_normal(length) * np.exp(-6 * np.arange(length) / length)
    room[0] = 8 * rng.uniform(0.6, 3)  # the direct sound
    return np.asarray(fftconvolve(wave, room / room[0])[: len(wave)])


def colour(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hear through a microphone whose response strays by some dB an octave."""
    gains = rng.normal(0, 4, len(_OCTAVES)) + rng.uniform(-3, 3) * np.arange(len(_OCTAVES))
    size = next_fast_len(len(wave), real=True)
    hertz = rfftfreq(size, 1 / RATE)
    at = np.interp(np.log2(np.maximum(hertz, 1)), np.log2(_OCTAVES), gains)
    return np.asarray(irfft(rfft(wave, size) * 10 ** (at / 20), size)[: len(wave)])


def add_noise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise between white and brown, 5 to 40 dB under the voice."""
    size = next_fast_len(len(wave), real=True)
    hertz = np.maximum(rfftfreq(size, 1 / RATE), 50)
    spectrum = rfft(rng.standard_normal(size)) * hertz ** -rng.uniform(0, 1)
    noise = irfft(spectrum, size)[: len(wave)]
    return _add(wave, noise, rng.uniform(5, 40))


def add_hum(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the mains' frequency and some of its harmonics, -3 to 25 dB under the voice."""
    pitch = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    return _add(
        wave, _tones(len(wave), pitch * np.arange(1, 9), rng, fall=1.5), rng.uniform(-3, 25)
    )


def add_music(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add chords of plucked notes that change every 0.2 to 0.8 s, 0 to 20 dB under the voice."""
    bed = np.zeros(len(wave))
    start = 0
    while start < len(bed):
        size = min(int(RATE * rng.uniform(0.2, 0.8)), len(bed) - start)
        fade = np.exp(-rng.uniform(1, 6) * np.arange(size) / RATE)
        for note in rng.integers(36, 84, rng.integers(1, 5)):
            pitch = 440 * 2 ** ((note - 69) / 12)
            bed[start : start + size] += fade * _tones(
                size, pitch * np.arange(1, 12), rng, fall=1.0
            )
        start += size
    return _add(wave, bed, rng.uniform(0, 20))


def clip(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut the voice at 5 to 70 % of its peak."""
    limit = np.abs(wave).max() * rng.uniform(0.05, 0.7)
    return np.clip(wave, -limit, limit)


def quantise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave 8 to 200 values between the peaks of the voice."""
    step = np.abs(wave).max() / rng.uniform(4, 100) + 1e-9
    return np.asarray(np.round(wave / step) * step)


def limit_band(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take off what lies above 2 to 7 kHz, what lies below 80 to 500 Hz, or both."""
    which = rng.integers(3)
    if which != 1:
        wave = _filter(wave, "lowpass", rng.uniform(2_000, 7_000), rng)
    if which != 0:
        wave = _filter(wave, "highpass", rng.uniform(80, 500), rng)
    return wave


def telephone(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Send the voice over 8 kHz, from 150 to 400 Hz up to 2.8 to 3.8 kHz, half of it companded."""
    wave = _filter(wave, "highpass", rng.uniform(150, 400), rng)
    narrow = resample_poly(_filter(wave, "lowpass", rng.uniform(2_800, 3_800), rng), 1, 2)
    if rng.random() < 0.5:
        narrow = _compand(narrow / (np.abs(narrow).max() + 1e-9) * rng.uniform(0.05, 1))
    return np.asarray(resample_poly(narrow, 2, 1)[: len(wave)])


def encode(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Send the voice through Vorbis or Opus at any bit rate, at 8 or 16 kHz."""
    form, subtype = _CODECS[rng.integers(2)]
    rate = int(rng.choice([8_000, RATE]))
    sent = wave if rate == RATE else resample_poly(wave, 1, 2)
    file = BytesIO()
    sent = 0.5 * sent / (np.abs(sent).max() + 1e-9)
    level = float(rng.uniform(0.2, 1.0))
    soundfile.write(file, sent, rate, format=form, subtype=subtype, compression_level=level)
    heard = soundfile.read(BytesIO(file.getvalue()), dtype="float32")[0]
    heard = heard if rate == RATE else resample_poly(heard, 2, 1)
    return np.pad(heard, (0, max(0, len(wave) - len(heard))))[: len(wave)]


def muffle(
    wave: np.ndarray, rng: np.random.Generator, edges: tuple[float, float] = (1_000, 3_000)
) -> np.ndarray:
    """Take off what lies above an edge in Hz: a hand, a wall, a helmet."""
    return _filter(wave, "lowpass", rng.uniform(*edges), rng)


def add_drone(
    wave: np.ndarray, rng: np.random.Generator, below: tuple[float, float] = (-3, 15)
) -> np.ndarray:
    """Add two to six notes that sound on and swell, so many dB under the voice."""
    bed = np.zeros(len(wave))
    time = np.arange(len(wave)) / RATE
    for note in rng.integers(30, 80, rng.integers(2, 7)):
        swell = 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.1, 3) * time + rng.uniform(0, 7))
        pitch = 440 * 2 ** ((note - 69) / 12)
        bed += swell * _tones(len(wave), pitch * np.arange(1, 8), rng, fall=1.0)
    return _add(wave, bed, rng.uniform(*below))


def add_buzz(
    wave: np.ndarray, rng: np.random.Generator, below: tuple[float, float] = (-6, 6)
) -> np.ndarray:
    """Add the pulses of a motor or a dimmer at 45 to 65 Hz, so many dB under the voice."""
    pitch = rng.uniform(45, 65)
    buzz = _tones(len(wave), pitch * np.arange(1, 41), rng, fall=0.5)
    return _add(wave, buzz, rng.uniform(*below))


KINDS: Final[tuple[tuple[Channel, float], ...]] = (
    (enter_room, 0.35),
    (colour, 0.5),
    (add_noise, 0.4),
    (add_music, 0.12),
    (add_hum, 0.15),
    (add_drone, 0.1),
    (add_buzz, 0.08),
    (clip, 0.1),
    (limit_band, 0.25),
    (muffle, 0.06),
    (telephone, 0.35),
    (quantise, 0.08),
    (encode, 0.2),
)
"""What may happen on the way from the mouth to the file, in this order, and how often."""


HARSH: Final[tuple[Channel, ...]] = (
    partial(muffle, edges=(500, 2_000)),
    partial(add_drone, below=(-12, 3)),
    partial(add_buzz, below=(-15, 0)),
)
"""Harsher than any clip is trained on: there confidence has to fall by what is measured."""


def disturb(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change a clip: another speed and pitch, and some of the channels of ``KINDS``."""
    wave = change_speed(wave, rng)
    for kind, share in KINDS:
        if rng.random() < share:
            wave = kind(wave, rng)
    return np.asarray(wave, np.float32)


def _add(wave: np.ndarray, sound: np.ndarray, below: float) -> np.ndarray:
    """Add a sound whose root mean square is so many dB below the voice's."""
    return np.asarray(wave + sound * (wave.std() * 10 ** (-below / 20) / (sound.std() + 1e-12)))


def _tones(size: int, pitches: np.ndarray, rng: np.random.Generator, fall: float) -> np.ndarray:
    """Return sines of these pitches, the n-th n to the power of ``fall`` times as soft."""
    pitches = pitches[pitches < RATE / 2]
    time = np.arange(size)[:, None] / RATE
    loud = rng.uniform(0.2, 1, len(pitches)) / np.arange(1, len(pitches) + 1) ** fall
    phase = rng.uniform(0, 2 * np.pi, len(pitches))
    return np.asarray(np.sin(2 * np.pi * pitches * time + phase) @ loud)


def _filter(wave: np.ndarray, kind: str, hertz: float, rng: np.random.Generator) -> np.ndarray:
    sections = butter(int(rng.integers(2, 9)), hertz, kind, fs=RATE, output="sos")
    return np.asarray(sosfilt(sections, wave))


def _compand(wave: np.ndarray) -> np.ndarray:
    """Return what µ-law leaves of a wave in [-1, 1]: 256 values (ITU-T G.711)."""
    small = np.sign(wave) * np.log1p(255 * np.abs(wave)) / np.log(256)
    small = np.round(small * 127) / 127
    return np.asarray(np.sign(small) * (256 ** np.abs(small) - 1) / 255)
