"""The voice clips of a recorded log as a model hears them: the statistics of each."""

import functools
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import torch

from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser, micro_batches
from model_serving.voice.net import VoiceStatistics
from pipelines.config import Config
from pipelines.models.adapt.gather import Judge, gather
from schemas.errors import AffectstreamError, QualityCode

_VOICE: Final = "voice"
_UNUSABLE: Final = {QualityCode.NO_SPEECH, QualityCode.TOO_SHORT, QualityCode.SEVERAL_VOICES}


@dataclass(frozen=True, slots=True)
class Clips:
    """Speakers (n,) and statistics (n, features) of clips, in the order of their ids.

    ``unusable`` counts clips that cannot be read, or hold no speech, too little, or that of several
    people; ``refused`` those that law or consent kept from inference.
    """

    speakers: np.ndarray
    statistics: np.ndarray
    unusable: int
    refused: int


def load_voice_model(folder: str) -> NetRecogniser:
    """Return a voice model of this project's network, whose centre can be moved.

    Raises AffectstreamError for any other.
    """
    found = load_recogniser(_VOICE, folder, None, "cpu")
    if not isinstance(found, NetRecogniser) or not isinstance(found.net, VoiceStatistics):
        message = (
            f"{folder} is not a model of the kind voice_statistics, which alone has a centre to "
            "move: name voice-base or voice-compact, or a folder that was trained from their recipe"
        )
        raise AffectstreamError(message)
    return found


def hear_clips(config: Config, folder: str) -> Clips:
    """Run the log of the configuration up to the statistics of its voice clips."""
    found = gather(config, _VOICE, functools.partial(_hearer, folder))
    return Clips(found.subjects, found.vectors, found.unusable, found.refused)


def _hearer(folder: str) -> Judge:
    model = load_voice_model(folder)
    return lambda events: statistics_of(model, events["media"])


def statistics_of(model: NetRecogniser, media: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return which files (n,) hold one voice that can be judged, and its statistics (n, k)."""
    prepared = model.front_end.prepare(media)
    found = np.zeros((len(prepared.rows), model.net.config.features), np.float32)
    for picked in micro_batches(prepared.lengths, model.front_end):
        inputs = prepared.collate(picked)
        lengths = inputs["attention_mask"].sum(dim=1).long()
        with torch.inference_mode():
            found[picked] = model.net.statistics(inputs["input_values"].float(), lengths).numpy()
    usable = np.array([code not in _UNUSABLE for code in prepared.codes], bool)
    usable &= np.isfinite(found).all(axis=1)
    return prepared.rows[usable], found[usable]
