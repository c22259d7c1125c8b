"""Attribution of voice: which moments of a clip the estimate rests on."""

from collections.abc import Iterator
from io import BytesIO
from typing import Final

import numpy as np
import pyarrow as pa
import soundfile

from model_serving.attribution.occlusion import Attribution, Place, attribution, probabilities
from model_serving.recogniser import Recogniser
from model_serving.voice.decoding import read_sound
from schemas.errors import UndecodableError

_LEAST_S: Final = 0.25  # about a syllable
_MOST_RANGES: Final = 24


def attribute_voice(
    recogniser: Recogniser, event: pa.RecordBatch, expression: int
) -> Attribution | None:
    """Return the attribution of one voice event, None where its sound cannot be decoded.

    Silence also lowers how much of a clip can be judged, and so every expression's probability
    goes towards that of a guess; the figures have that in them.
    """
    try:
        sound, rate = read_sound(event["media"][0].as_py())
    except UndecodableError:
        return None
    places = list(_ranges(len(sound) / rate))
    whole = _probability(recogniser, sound, rate, expression)
    without = [
        _probability(recogniser, _silenced(sound, rate, place), rate, expression)
        for place in places  # one after the other: 24 clips of 15 s could be gigabytes
    ]
    return attribution(places, whole, np.array(without), "seconds", "silence")


def _ranges(seconds: float) -> Iterator[Place]:
    count = int(np.clip(np.ceil(seconds / _LEAST_S), 1, _MOST_RANGES))
    edges = np.linspace(0.0, seconds, count + 1)
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield Place(f"{start:.2f}-{end:.2f} s", start, end)


def _silenced(sound: np.ndarray, rate: int, place: Place) -> np.ndarray:
    out = sound.copy()
    out[round((place.start or 0) * rate) : round((place.end or 0) * rate)] = 0
    return out


def _probability(recogniser: Recogniser, sound: np.ndarray, rate: int, expression: int) -> float:
    file = BytesIO()
    soundfile.write(file, sound, rate, format="WAV", subtype="FLOAT")
    media = pa.array([file.getvalue()], pa.binary())
    return float(probabilities(recogniser, "media", media, expression)[0])
