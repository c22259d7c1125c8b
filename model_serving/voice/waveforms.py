"""From the channels of a recording to the one waveform that is judged and recognised.

What microphones, sound cards and cutters add is removed: an offset and its drift, a channel that
is silent, inverted or another's, and silence beyond what speakers leave.
"""

from math import gcd
from typing import Final

import numpy as np
import torch
import torchaudio

from model_serving.voice.activity import RATE, loudest_second, speech_probability

_MAX_KERNEL = 300_000  # taps; 44,100 to 16,000 Hz takes 70,000, 44,101 would take 700,000,000
_EDGE = 64  # samples, more than the filter bank reaches over up to nine times the wanted rate
_REACH = 7  # samples of the wanted rate, more than it reaches over at any
_PIECE: Final = 1 << 20  # samples that are resampled at once: a clip of 384,000 Hz took 75 MB more
_DRIFT: Final = 0.05  # seconds: slower than 20 Hz is no voice
_UNHEARD = 1e-4  # of the loudest channel's power: -40 dB
_ALIKE = 0.9  # correlation from which on channels are one voice: then their mean has less noise
_SPEECH = 0.5
_AT_ONCE = 0.5  # correlation of loudness: of one voice in two microphones it is 0.9 and more
_STEP = 0.02  # seconds
_STEPS = 5  # over which power is smoothed: 0.1 s
_LOUD = 20  # steps: 0.4 s, so that a knock on the microphone does not make speech a pause
_PAUSE = 1e-3  # of the power that is reached so long: -30 dB
_LONGEST_PAUSE = 1.4  # seconds: before and behind the corpora's clips it is 1.36 at most
_LONGEST_BREAK = 0.1
_NOMINAL: Final = 0.05


def resample(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return the wave at the wanted rate.

    The filter bank grows with both rates over what they share. Where that is too little, a rate
    counts as the nearest full 100 Hz, which moves the pitch by .6 % at most from 8,000 Hz on.
    """
    if rate * wanted > _MAX_KERNEL * gcd(rate, wanted) ** 2:
        rate = round(rate, -2)
    if rate == wanted:
        return wave
    once, other = (side // gcd(rate, wanted) for side in (rate, wanted))
    step = max(1, _PIECE // once) * once
    pieces = [
        _resample_piece(wave, start, min(start + step, len(wave)), once, other)
        for start in range(0, max(1, len(wave)), step)
    ]
    return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]


def _resample_piece(wave: np.ndarray, start: int, stop: int, once: int, other: int) -> np.ndarray:
    """Return ``other`` samples for each ``once`` of a part of the wave, whose start is a multiple.

    The part is heard with what stands around it, and the ends go on as they are, or the wave would
    begin at 0.
    """
    times = -(-max(_EDGE, _REACH * once // other) // once)
    around = times * once
    left, right = max(0, start - around), min(len(wave), stop + around)
    missing = around - (start - left), around - (right - stop)
    longer = torch.from_numpy(np.pad(wave[left:right], missing, "edge"))
    found = torchaudio.functional.resample(longer, once, other)[times * other :]
    return np.asarray(found[: -(-(stop - start) * other // once)].numpy())


def remove_drift(sound: np.ndarray, rate: int) -> np.ndarray:
    """Return the sound (samples, channels) without its offset and what is slower than 20 Hz."""
    width = max(1, int(_DRIFT * rate)) | 1
    if len(sound) < 2 * width:
        return sound - sound.mean(axis=0, keepdims=True)
    return (sound - _smooth(_smooth(sound, width), width)).astype(np.float32)


def _smooth(sound: np.ndarray, width: int) -> np.ndarray:
    """Return running means (samples, channels); at the ends a ramp goes on as it went."""
    half = width // 2
    first, last = 2 * sound[:1] - sound[half:0:-1], 2 * sound[-1:] - sound[-2 : -half - 2 : -1]
    padded = np.concatenate([np.zeros_like(sound[:1]), first, sound, last]).astype(np.float64)
    sums = np.cumsum(padded, axis=0)
    return np.asarray((sums[width:] - sums[:-width]) / width)


def mix_to_mono(sound: np.ndarray, rate: int) -> tuple[np.ndarray, bool]:
    """Return one waveform (samples,) of channels (samples, channels), and whether several speak.

    Channels that are one voice are averaged. One that is turned round is left out: the mean would
    leave nothing but the codec's noise, and turned back it costs Vorbis files much (of RAVDESS' dev
    clips .43 were right, and .51 without it). Of channels that differ, the one is taken that speaks
    most clearly; where another speaks at other times than it does, somebody else does.
    """
    if sound.shape[1] == 1:
        return sound[:, 0], False
    power = np.square(sound, dtype=np.float64).mean(axis=0)
    heard = sound[:, power >= _UNHEARD * power.max()]
    alike = _correlate(heard, int(np.square(heard).mean(axis=0).argmax()))
    several = False
    if (np.abs(alike) < _ALIKE).any():
        clear = [resample(heard[:, i], rate, RATE) for i in range(heard.shape[1])]
        spoken = speech_probability(clear)
        chosen = int(spoken.argmax())
        alike = _correlate(heard, chosen)
        loudness = np.stack([_loudness(wave, RATE) for wave in clear], axis=1)
        at_once = _correlate(loudness - loudness.mean(axis=0), chosen)
        several = bool(((spoken >= _SPEECH) & (at_once < _AT_ONCE)).any())
    return np.asarray(heard[:, alike >= _ALIKE].mean(axis=1), np.float32), several


def _correlate(sound: np.ndarray, chosen: int) -> np.ndarray:
    """Return the correlation of each channel (channels,) with the chosen one, 1 with itself."""
    sizes = np.sqrt(np.square(sound, dtype=np.float64).sum(axis=0))
    common = (sound.T @ sound[:, chosen]) / np.maximum(sizes * sizes[chosen], 1e-30)
    common[chosen] = 1.0
    return np.asarray(common)


def _loudness(wave: np.ndarray, rate: int) -> np.ndarray:
    """Return the power of each 20 ms, smoothed over 0.1 s; 0 where the wave is shorter."""
    step = int(_STEP * rate)
    count = len(wave) // step
    if count == 0:
        return np.zeros(1)
    power = np.square(wave[: count * step], dtype=np.float64).reshape(count, step).mean(axis=1)
    return np.convolve(power, np.ones(_STEPS) / _STEPS, "same")


def shorten_pauses(wave: np.ndarray, rate: int) -> np.ndarray:
    """Return the wave with each pause cut down to as long as the corpora's speakers make them.

    A level is measured over what carries the voice: with 6 s of zeros behind 3 s of speech it
    would be a third, and most frames silence.
    """
    step = int(_STEP * rate)
    count = len(wave) // step
    if count * _STEP <= _LONGEST_PAUSE:
        return wave
    power = _loudness(wave, rate)
    quiet = np.concatenate([[False], power < _PAUSE * np.sort(power)[-_LOUD], [False]])
    edges = np.flatnonzero(quiet[1:] != quiet[:-1]).reshape(-1, 2)
    kept = np.ones(len(wave), bool)
    for first, last in edges:
        inside = first > 0 and last < count
        most = round((_LONGEST_BREAK if inside else _LONGEST_PAUSE) / _STEP)
        begin = first if first == 0 else last - most
        if inside:
            begin = first + most // 2
        elif last == count:
            begin = first + most
        kept[begin * step : (begin + max(0, last - first - most)) * step] = False
    return wave[kept]


def finish(wave: np.ndarray, rate: int) -> np.ndarray:
    """Return one voice without long pauses and at a level of its own: what a model hears.

    The loudest second is set to -26 dB of full scale, the nominal level of speech (ITU-T P.56).
    """
    wave = shorten_pauses(wave, rate)
    loud = loudest_second(wave, rate).astype(np.float64)
    level = float(np.sqrt(np.mean(np.square(loud - loud.mean())))) if len(loud) else 0.0
    return wave if level == 0 else np.asarray(wave * (_NOMINAL / level), np.float32)
