"""Sound files as the field sends them: a clip of the built-in sample, and what is done to it.

``send`` names the ``clip``, the ``steps`` (each a name and its numbers, in order) and the file:
``rate``, ``form`` and ``subtype`` as libsndfile calls them.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Final

import numpy as np
import soundfile
from scipy.signal import firwin, lfilter, resample_poly

from pipelines.sessionlogs.sample_data import DATA, VOICE

RATE: Final = 48_000
"""At which steps are taken; a clip has 16 kHz."""
_CHECKSUM, _HEAD_RATE, _PAGE = slice(22, 26), slice(40, 44), 47


def make_file(send: Mapping[str, Any]) -> bytes:
    """Build the file that ``send`` describes."""
    sound = _read(send["clip"]) if "clip" in send else np.zeros(0)
    for step in send.get("steps", ()):
        (name, numbers), *more = step.items()
        assert not more
        sound = STEPS[name](sound, *(numbers if isinstance(numbers, list) else [numbers]))
    rate = send.get("rate", 16_000)
    if rate != RATE:
        common = int(np.gcd(RATE, rate))
        sound = resample_poly(sound, rate // common, RATE // common, axis=0)
    file = BytesIO()
    form, subtype = send.get("form", "WAV"), send.get("subtype", "PCM_16")
    if send.get("limit", True) and subtype not in {"FLOAT", "DOUBLE"}:
        sound = np.clip(sound, -1, 1)
    soundfile.write(file, sound, rate, format=form, subtype=subtype)
    media = file.getvalue()
    return _with_head_rate(media, send["head_rate"]) if "head_rate" in send else media


def _read(name: str) -> np.ndarray:
    (path,) = (DATA / VOICE).glob(f"{name}.*")
    wave, rate = soundfile.read(path)
    wave = resample_poly(wave, RATE // rate, 1)
    return np.asarray(0.5 * wave / np.abs(wave).max())


def _time(sound: np.ndarray) -> np.ndarray:
    return np.arange(len(sound)) / RATE


def _scaled(added: np.ndarray, sound: np.ndarray, decibels: float) -> np.ndarray:
    return np.asarray(sound + added * (10 ** (decibels / 20) * sound.std() / added.std()))


def _hum(sound: np.ndarray, hertz: float, decibels: float, harmonics: int = 5) -> np.ndarray:
    """Add a tone and its harmonics, so many dB over the voice."""
    parts = [np.sin(2 * np.pi * hertz * k * _time(sound)) / k for k in range(1, harmonics + 1)]
    return _scaled(np.sum(parts, axis=0), sound, decibels)


def _noise(sound: np.ndarray, decibels: float, fall: float = 0.0) -> np.ndarray:
    """Add noise below 8 kHz that falls by so many dB an octave, so many dB over the voice."""
    rng = np.random.default_rng(5)
    spectrum = np.fft.rfft(rng.standard_normal(len(sound)))
    hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
    spectrum *= np.maximum(hertz, 20) ** (-fall / 6.02) * (hertz < 8_000)
    return _scaled(np.fft.irfft(spectrum, len(sound)), sound, decibels)


def _band(sound: np.ndarray, low: float, high: float) -> np.ndarray:
    """Leave the band between two frequencies; 0 leaves all that is below."""
    edges: Any = (low, high) if low else high
    return np.asarray(lfilter(firwin(1_001, edges, pass_zero=not low, fs=RATE), 1, sound))


def _beside(sound: np.ndarray, name: str, swapped: int = 0) -> np.ndarray:
    """Put another clip into the other channel."""
    other = np.resize(_read(name), len(sound))
    return np.stack([other, sound] if swapped else [sound, other], axis=1)


def _noise_beside(sound: np.ndarray, decibels: float) -> np.ndarray:
    noise = np.random.default_rng(6).standard_normal(len(sound))
    return np.stack([sound, noise * sound.std() * 10 ** (decibels / 20)], axis=1)


def _wander(sound: np.ndarray, size: float, hertz: float) -> np.ndarray:
    return np.asarray(sound + size * np.sin(2 * np.pi * hertz * _time(sound)))


def _knock(sound: np.ndarray, seconds: float) -> np.ndarray:
    return np.concatenate([np.full(int(seconds * RATE), 0.99), sound])


def _silence(sound: np.ndarray, before: float, after: float, level: float = 0.0) -> np.ndarray:
    """Add pauses, digital or of a converter's noise."""
    rng = np.random.default_rng(7)
    pauses = [level * rng.standard_normal(int(part * RATE)) for part in (before, after)]
    return np.concatenate([pauses[0], sound, pauses[1]])


def _break(sound: np.ndarray, seconds: float) -> np.ndarray:
    half = len(sound) // 2
    return np.concatenate([sound[:half], np.zeros(int(seconds * RATE)), sound[half:]])


def _only(_: np.ndarray, what: str, seconds: float) -> np.ndarray:
    """Give no voice at all: a tone, hum, noise, one step of a converter, a constant or a song."""
    time = np.arange(int(seconds * RATE)) / RATE
    rng = np.random.default_rng(8)
    song = sum(np.sin(2 * np.pi * f * time) * np.exp(-3 * (time % 0.5)) for f in (220, 277, 330))
    return np.asarray(
        {
            "zeros": 0 * time,
            "constant": 0 * time + 0.4,
            "tone": 0.3 * np.sin(2 * np.pi * 440 * time),
            "hum": 0.3 * np.sin(2 * np.pi * 50 * time) + 0.1 * np.sin(2 * np.pi * 150 * time),
            "noise": 0.1 * rng.standard_normal(len(time)),
            "one step": rng.integers(-1, 2, len(time)) / 32_768,
            "click": np.where(time == 1.0, 0.9, 0.0),
            "song": 0.2 * np.asarray(song),
        }[what]
    )


STEPS: Final[dict[str, Callable[..., np.ndarray]]] = {
    "gain": lambda x, decibels: x * 10 ** (decibels / 20),
    "times": lambda x, factor: x * factor,
    "clip": lambda x, limit: np.clip(x, -limit, limit),
    "offset": lambda x, size: x + size,
    "drift": lambda x, size: x + np.linspace(-size, size, len(x)),
    "wander": _wander,
    "steps": lambda x, count: np.round(x * count) / count,
    "channels": lambda x, *gains: np.stack([gain * x for gain in gains], axis=1),
    "delay": lambda x, samples: np.stack([x, np.roll(x, samples)], axis=1),
    "beside": _beside,
    "noise_beside": _noise_beside,
    "hum": _hum,
    "noise": _noise,
    "band": _band,
    "silence": _silence,
    "break": _break,
    "knock": _knock,
    "seconds": lambda x, first, last: x[int(first * RATE) : int(last * RATE)],
    "only": _only,
}
"""What may be done to a clip, by name."""


def _with_head_rate(media: bytes, rate: int) -> bytes:
    """Give an Opus file another rate in its head, and its page the checksum of that."""
    page = bytearray(media[:_PAGE])
    page[_HEAD_RATE] = rate.to_bytes(4, "little")
    page[_CHECKSUM] = bytes(4)
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = ((register << 1) ^ (0x04C11DB7 * (register >> 31))) & 0xFFFFFFFF
    page[_CHECKSUM] = register.to_bytes(4, "little")
    return bytes(page) + media[_PAGE:]
