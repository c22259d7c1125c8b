"""How right and how sure a voice model is of what comes through the channels of the field."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from model_serving.loader import load_recogniser
from model_serving.recogniser import Recogniser
from model_serving.training.evaluation import Measured
from model_serving.training.heads import SHARED, columns
from model_serving.training.voice.data import HEADS, Clips, targets
from model_serving.training.voice.field_channels import CHANNELS, Send
from schemas.errors import AffectstreamError

SURE: Final = "mean confidence"
SPLIT: Final = "RAVDESS actors 21-24, as shipped, channel: "


def measure_channels(folder: Path, clips: Clips) -> list[Measured]:
    """Return accuracy and mean confidence of a model folder behind each of ``CHANNELS``."""
    model = load_recogniser("voice", str(folder), None, "cpu")
    truth = targets(clips)[:, columns(HEADS, SHARED.name)].argmax(axis=1)
    found = []
    for title, send in CHANNELS.items():
        scores = _answer(model, send_all(clips, title, send))
        right = float((scores.argmax(axis=1) == truth).mean())
        sure = float(scores.max(axis=1).mean())
        found.append(Measured(SPLIT + title, "accuracy", right, len(truth)))
        found.append(Measured(SPLIT + title, SURE, sure, len(truth)))
    return found


def send_all(clips: Clips, title: str, send: Send) -> list[bytes]:
    """Return a file for each clip; the second voice is that of another speaker."""
    rng = np.random.default_rng(list(title.encode()))
    half = len(clips) // 2
    others = clips.waves[half:] + clips.waves[:half]
    return [send(wave, other, rng) for wave, other in zip(clips.waves, others, strict=True)]


def _answer(model: Recogniser, media: list[bytes]) -> np.ndarray:
    found = model.estimate(pa.record_batch({"media": pa.array(media, pa.binary())}))
    if found.failures:
        message = f"{model.model_id} could not read a clip: {found.failures[0].detail}"
        raise AffectstreamError(message)
    return found.scores
