"""Voice quality: how much of each clip can be judged, and what keeps the rest from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from model_serving.voice.activity import RATE, loudest_second, speech_probability
from model_serving.voice.channel import MEASURES, is_hum, measure_channel, powers_of
from schemas.errors import AffectstreamError, QualityCode

_SILENCE = 1e-7  # root mean square of the loudest second, less than a step of 24 bits
_SPEECH = 0.5
_SHORT, _LONG_ENOUGH = 0.3, 0.8  # seconds: a syllable, and the shortest clips of the corpora
_DOUBT = 0.6
_ENOUGH_STEPS: Final = 2**6
_CODES: Final[Mapping[str, QualityCode]] = MappingProxyType(
    {
        "band": QualityCode.NARROW_BAND,
        "muffled": QualityCode.NARROW_BAND,
        "noise": QualityCode.NOISY,
        "clipping": QualityCode.CLIPPED,
        "steps": QualityCode.COARSE,
        "background": QualityCode.BACKGROUND,
        "voices": QualityCode.SEVERAL_VOICES,
    }
)
UNCALIBRATED: Final[Mapping[str, float]] = MappingProxyType(
    {
        "band": 0.2,
        "muffled": 0.3,
        "noise": 0.7,
        "clipping": 1.3,
        "steps": 0.6,
        "background": 0.1,
        "voices": 0.35,
    }
)
"""What each measure takes from the log of the share where a card does not say it."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One voice as a float32 waveform, and what its file tells of it.

    ``steps`` is how many different values the samples had, ``several`` whether its channels carry
    the voices of several people.
    """

    wave: np.ndarray
    steps: int = _ENOUGH_STEPS
    several: bool = False


def check_weights(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Return the weights of a card, or the usual ones where it has none.

    Raises AffectstreamError for a name that is no measure.
    """
    unknown = sorted(set(weights) - set(MEASURES))
    if unknown:
        message = f"the card weighs {unknown[0]} of a voice's channel: name {', '.join(MEASURES)}"
        raise AffectstreamError(message)
    return weights or UNCALIBRATED


def judge_speech(
    clips: Sequence[Clip], weights: Mapping[str, float] = UNCALIBRATED
) -> tuple[np.ndarray, list[QualityCode | None]]:
    """Return what share in [0, 1] of each 16 kHz clip can be judged, and what is wrong if much.

    Whether anybody speaks is judged on the loudest second, and where nobody does there, on the
    whole clip.
    """
    waves = [clip.wave - clip.wave.mean() for clip in clips]
    loudest = [loudest_second(wave, RATE) for wave in waves]
    quiet = np.array([np.sqrt(np.mean(np.square(wave))) < _SILENCE for wave in loudest], bool)
    silent = np.ones(len(waves), bool)
    for heard in (loudest, waves):
        rows = np.flatnonzero(silent & ~quiet).tolist()
        silent[rows] = speech_probability([heard[row] for row in rows]) < _SPEECH
    given = np.array([weights.get(name, 0.0) for name in MEASURES])
    shares = np.zeros(len(waves))
    codes: list[QualityCode | None] = []
    for row, (clip, wave) in enumerate(zip(clips, waves, strict=True)):
        shares[row], code = _judge(wave, clip, given, silent=bool(silent[row]))
        codes.append(code)
    return shares, codes


def _judge(
    wave: np.ndarray, clip: Clip, weights: np.ndarray, *, silent: bool
) -> tuple[float, QualityCode | None]:
    seconds = len(wave) / RATE
    if seconds < _SHORT:
        return 0.0, QualityCode.TOO_SHORT
    if silent:
        return 0.0, QualityCode.NO_SPEECH
    found = measure_channel(wave, clip.steps, several=clip.several)
    share = float(np.exp(-found @ weights))
    whole = min(1.0, seconds / _LONG_ENOUGH)
    if whole < _DOUBT:
        return share * whole, QualityCode.TOO_SHORT
    return share * whole, _worst(wave, found)


def _worst(wave: np.ndarray, found: np.ndarray) -> QualityCode | None:
    """Return the code of the largest of the measures (7,) that reach 1.

    Whatever else is wrong fills the gaps of speech too, so ``background`` is named where it is all.
    """
    reached = {name: size for name, size in zip(MEASURES, found, strict=True) if size >= 1}
    named = {name: size for name, size in reached.items() if name != "background"} or reached
    if not named:
        return None
    code = _CODES[max(named, key=lambda name: named[name])]
    if code is QualityCode.NOISY and is_hum(powers_of(wave)):
        return QualityCode.HUM
    return code
