"""Channels that voice models are judged on: how speech reaches a file in the field.

They are made in other ways than those that training clips are disturbed by (``channels``): other
filters, other rooms and other music, real codecs. GSM, ADPCM, MP3, a second speaker and lost
packets occur in training in no way at all.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
import soundfile
from scipy.signal import fftconvolve, firwin, resample_poly

from model_serving.training.voice.channels import RATE

Send: TypeAlias = Callable[[np.ndarray, np.ndarray, np.random.Generator], bytes]
"""From a clip at 16 kHz, one of another speaker and a generator to a file."""

_PHONE: Final = 8_000
_STUDIO: Final = 48_000
_CHORDS = ((57, 60, 64), (53, 57, 60), (55, 59, 62), (52, 55, 59))
_BEAT = 0.5  # seconds
_PACKET = 320  # samples: 20 ms


def to_file(
    sound: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str = "PCM_16", **more: float
) -> bytes:
    """Return a sound (samples,) or (samples, channels) as a file."""
    file = BytesIO()
    soundfile.write(file, sound, rate, format=form, subtype=subtype, **more)
    return file.getvalue()


def _peak(wave: np.ndarray, decibels: float = -6.0) -> np.ndarray:
    return np.asarray(wave * (10 ** (decibels / 20) / (np.abs(wave).max() + 1e-12)))


def _phone(wave: np.ndarray) -> np.ndarray:
    """Return 8 kHz of the band from 300 to 3,400 Hz, by a filter of linear phase."""
    taps = firwin(401, (300, 3_400), pass_zero=False, fs=RATE)
    return np.asarray(resample_poly(fftconvolve(wave, taps, "same"), 1, 2))


def _low(wave: np.ndarray, hertz: float) -> np.ndarray:
    """Return the wave without what lies above, by a filter of linear phase."""
    return np.asarray(fftconvolve(wave, firwin(401, hertz, fs=RATE), "same"))


def _beside(wave: np.ndarray, sound: np.ndarray, below: float) -> np.ndarray:
    """Add a sound whose root mean square is so many dB below the voice's."""
    sound = np.resize(sound, len(wave))
    return np.asarray(wave + sound * (wave.std() / (sound.std() + 1e-12) * 10 ** (-below / 20)))


def _hum(wave: np.ndarray, mains: float, rng: np.random.Generator) -> np.ndarray:
    """Return the rectified sine of a bad supply, with its hundred harmonics."""
    time = np.arange(len(wave)) / RATE + rng.uniform(0, 1 / mains)
    sine = np.sin(2 * np.pi * mains * time)
    return np.asarray(0.6 * sine + np.abs(sine) - 2 / np.pi + 0.2 * np.sign(sine))


def _song(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return triads that sound on with a bass, and a drum on each beat."""
    time = np.arange(len(wave)) / RATE
    chord = (time // (4 * _BEAT)).astype(int) % len(_CHORDS)
    notes = np.array(_CHORDS)[chord]  # (samples, 3)
    pitches = 440 * 2 ** ((np.column_stack([notes, notes[:, 0] - 24]) - 69) / 12)
    swing = 2 * np.pi * np.cumsum(pitches, axis=0) / RATE
    tones = sum(np.sin(k * swing).sum(axis=1) / k for k in (1, 2, 3, 5))
    drum = rng.standard_normal(len(wave)) * np.exp(-25 * (time % _BEAT))
    return np.asarray(tones + 4 * drum)


def _room(wave: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return the wave in a room: six early reflections, and a tail that falls 60 dB so slowly."""
    time = np.arange(int(seconds * RATE)) / RATE
    answer = 0.04 * rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    answer[: int(0.02 * RATE)] = 0
    answer[0] = 1
    answer[rng.integers(30, 600, 6)] += rng.uniform(-0.5, 0.5, 6)
    return np.asarray(fftconvolve(wave, answer)[: len(wave) + len(time) // 2])


def _without_packets(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the wave with a tenth of its packets of 20 ms lost."""
    kept = rng.random(-(-len(wave) // _PACKET)) >= 0.1
    return np.asarray(wave * np.repeat(kept, _PACKET)[: len(wave)])


def _through(form: str, subtype: str, rate: int = RATE, **more: float) -> Send:
    """Return a channel that is one codec."""

    def send(wave: np.ndarray, _: np.ndarray, __: np.random.Generator) -> bytes:
        sent = _phone(wave) if rate == _PHONE else resample_poly(wave, rate // RATE, 1)
        return to_file(_peak(sent), rate, form, subtype, **more)

    return send


def _mp3(wave: np.ndarray, _: np.ndarray, __: np.random.Generator) -> bytes:
    coded = to_file(_peak(wave), RATE, "MP3", "MPEG_LAYER_III", compression_level=0.95)
    return to_file(soundfile.read(BytesIO(coded), dtype="float32")[0])


def _opus_without_rate(wave: np.ndarray, _: np.ndarray, __: np.random.Generator) -> bytes:
    return with_opus_rate(to_file(_peak(resample_poly(wave, 3, 1)), _STUDIO, "OGG", "OPUS"), 0)


def with_opus_rate(file: bytes, rate: int) -> bytes:
    """Return an Opus file whose head names another rate of what was recorded."""
    end = 28 + 19
    page = bytearray(file[:end])
    page[40:44] = rate.to_bytes(4, "little")
    page[22:26] = bytes(4)
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = ((register << 1) ^ (0x04C11DB7 * (register >> 31))) & 0xFFFFFFFF
    page[22:26] = register.to_bytes(4, "little")
    return bytes(page) + file[end:]


CHANNELS: Final[Mapping[str, Send]] = MappingProxyType(
    {
        "as recorded": lambda x, _, __: to_file(x),
        "telephone, µ-law": _through("WAV", "ULAW", _PHONE),
        "telephone, A-law, -30 dB": lambda x, _, __: to_file(
            _peak(_phone(x), -30), _PHONE, "WAV", "ALAW"
        ),
        "telephone, GSM 06.10": _through("WAV", "GSM610", _PHONE),
        "telephone, IMA ADPCM": _through("WAV", "IMA_ADPCM", _PHONE),
        "4 kHz low-pass at 48 kHz": lambda x, _, __: to_file(
            resample_poly(_low(_peak(x), 4_000), 3, 1), _STUDIO
        ),
        "2 kHz low-pass": lambda x, _, __: to_file(_low(_peak(x), 2_000)),
        "right channel inverted": lambda x, _, __: to_file(np.stack([x, -x], axis=1)),
        "right channel inverted, Opus": lambda x, _, __: to_file(
            resample_poly(np.stack([x, -x], axis=1), 3, 1), _STUDIO, "OGG", "OPUS"
        ),
        "50 Hz hum, -6 dB": lambda x, _, r: to_file(_peak(_beside(x, _hum(x, 50, r), 6))),
        "60 Hz hum, 0 dB": lambda x, _, r: to_file(_peak(_beside(x, _hum(x, 60, r), 0))),
        "music, -10 dB": lambda x, _, r: to_file(_peak(_beside(x, _song(x, r), 10))),
        "music, -3 dB": lambda x, _, r: to_file(_peak(_beside(x, _song(x, r), 3))),
        "-40 dB, float": lambda x, _, __: to_file(_peak(x, -40), RATE, "WAV", "FLOAT"),
        "-40 dB, 16 bits": lambda x, _, __: to_file(_peak(x, -40)),
        "8 bits": lambda x, _, __: to_file(_peak(x), RATE, "WAV", "PCM_U8"),
        "8 bits, -30 dB": lambda x, _, __: to_file(_peak(x, -30), RATE, "WAV", "PCM_U8"),
        "12 dB over full scale": lambda x, _, __: to_file(np.clip(_peak(x, 12), -1, 1)),
        "24 dB over full scale": lambda x, _, __: to_file(np.clip(_peak(x, 24), -1, 1)),
        "Vorbis, lowest rate": _through("OGG", "VORBIS", compression_level=1.0),
        "Opus, lowest rate": _through("OGG", "OPUS", compression_level=1.0),
        "Opus, no rate in its head": _opus_without_rate,
        "MP3, lowest rate": _mp3,
        "room of 0.5 s": lambda x, _, r: to_file(_peak(_room(x, 0.5, r))),
        "room of 1.2 s": lambda x, _, r: to_file(_peak(_room(x, 1.2, r))),
        "pink noise, -10 dB": lambda x, _, r: to_file(_peak(_beside(x, _pink(len(x), r), 10))),
        "10 % slower": lambda x, _, __: to_file(_peak(resample_poly(x, 10, 9))),
        "25 % faster": lambda x, _, __: to_file(_peak(resample_poly(x, 4, 5))),
        "packets lost": lambda x, _, r: to_file(_peak(_without_packets(x, r))),
        "second speaker, -5 dB": lambda x, y, _: to_file(_peak(_beside(x, y, 5))),
        "second speaker in the other channel": lambda x, y, _: to_file(
            np.stack([x, np.resize(y, len(x))], axis=1)
        ),
        "6 s of zeros behind": lambda x, _, __: to_file(np.r_[x, np.zeros(6 * RATE)]),
        "offset": lambda x, _, __: to_file(_peak(x, -12) + 0.3),
    }
)
"""Title of each channel and how a clip is sent through it."""

UNTRAINED: Final = (
    "telephone, GSM 06.10", "telephone, IMA ADPCM", "MP3, lowest rate", "packets lost",
    "second speaker, -5 dB", "second speaker in the other channel",
)  # fmt: skip
"""Of no kind that the training draws."""


def _pink(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise that falls 3 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), size)
