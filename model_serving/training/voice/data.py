"""The clips of RAVDESS and EMO-DB, their disturbed copies, and the statistics of all of them."""

import csv
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import torch
from rich.progress import track
from transformers import Wav2Vec2FeatureExtractor

from model_serving.corpora.head import Head
from model_serving.corpora.speakers import emodb_split, ravdess_split
from model_serving.training.cache import load_or_make
from model_serving.training.heads import SHARED, blank_targets, columns
from model_serving.training.voice import channels
from model_serving.training.voice.channels import RATE, disturb
from model_serving.voice.net import VoiceStatistics
from model_serving.voice.waveforms import finish, remove_drift
from schemas.vocabularies import EXPRESSIONS, to_ekman

RAVDESS: Final = Head(
    "ravdess",
    ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"),
    "single",
)
EMODB: Final = Head(
    "emodb", ("neutral", "boredom", "happy", "sad", "angry", "fear", "disgust"), "single"
)
HEADS: Final = (SHARED, RAVDESS, EMODB)
CORPORA: Final = {"ravdess": RAVDESS, "emodb": EMODB}
_SPLITS = {"ravdess": ravdess_split, "emodb": emodb_split}
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Clips:
    """Decoded clips, and of each its corpus, its emotion there, its speaker and its split."""

    waves: list[np.ndarray]
    corpus: np.ndarray
    emotion: np.ndarray
    speaker: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.waves)

    def take(self, rows: np.ndarray) -> "Clips":
        """Return these rows: a mask or positions."""
        waves = [self.waves[i] for i in np.arange(len(self))[rows]]
        parts = (self.corpus, self.emotion, self.speaker, self.split)
        return Clips(waves, *(part[rows] for part in parts))


def load_clips(data: Path, corpora: Sequence[str] = tuple(CORPORA)) -> Clips:
    """Read every clip of these corpora, in the order of the manifest."""
    rows, waves = [], []
    with (data / "audio" / "manifest.csv").open(encoding="utf-8", newline="") as manifest:
        for row in csv.DictReader(manifest):
            if row["dataset"] in corpora:
                split = _SPLITS[row["dataset"]](row["speaker"])
                rows.append((row["dataset"], row["emotion"], row["speaker"], split))
                waves.append(soundfile.read(data / "audio" / row["path"], dtype="float32")[0])
    table = np.array(rows, dtype=object).reshape(-1, 4)
    return Clips(waves, *(table[:, i].astype(str) for i in range(4)))


def targets(clips: Clips) -> np.ndarray:
    """Return (n, outputs) targets: the shared head's, and those of the clip's own corpus."""
    found = blank_targets(len(clips), HEADS)
    for row, (corpus, emotion) in enumerate(zip(clips.corpus, clips.emotion, strict=True)):
        head = CORPORA[corpus]
        found[row, columns(HEADS, SHARED.name)] = 0.0
        found[row, EXPRESSIONS.index(str(to_ekman(emotion)))] = 1.0
        own = columns(HEADS, head.name)
        found[row, own] = 0.0
        found[row, own.start + head.labels.index(emotion)] = 1.0
    return found


def build_extractor() -> Wav2Vec2FeatureExtractor:
    """The stock extractor: raw waveforms at zero mean and unit variance, padded, with a mask."""
    return Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=RATE, do_normalize=True, return_attention_mask=True
    )


def statistics_of(net: VoiceStatistics, waves: Sequence[np.ndarray], name: str) -> np.ndarray:
    """Return the (n, features) statistics of clips as the recogniser hears and collates them."""
    waves = [finish(remove_drift(wave[:, None], RATE)[:, 0], RATE) for wave in waves]
    extractor = build_extractor()
    order = np.argsort([len(wave) for wave in waves], kind="stable")
    found = np.zeros((len(waves), net.config.features), np.float32)
    starts = range(0, len(waves), _BATCH)
    for start in track(starts, description=f"statistics of {name}"):
        rows = order[start : start + _BATCH]
        batch = extractor(
            [waves[i] for i in rows], sampling_rate=RATE, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            lengths = batch["attention_mask"].sum(dim=1)
            found[rows] = net.statistics(batch["input_values"], lengths).numpy()
    return found


def views(net: VoiceStatistics, clips: Clips, cache: Path, disturbed: int, seed: int) -> np.ndarray:
    """Return (n, 1 + disturbed, features): each clip as it is, and disturbed copies of it.

    They are cached in ``cache``, from where a run that was killed continues; other channels than
    those of before are heard anew.
    """
    heard = [inspect.getsource(channels).encode(), *(wave.tobytes() for wave in clips.waves)]
    if net.encoder is not None:
        heard += [tensor.numpy().tobytes() for tensor in net.encoder.state_dict().values()]

    def view(number: int) -> np.ndarray:
        rng = np.random.default_rng([seed, number])
        waves = [disturb(wave, rng) for wave in clips.waves] if number else clips.waves
        return statistics_of(net, waves, f"view {number}")

    found = [
        load_or_make(
            cache, [f"{seed} {number} {net.config.features}", *heard], partial(view, number)
        )
        for number in range(disturbed + 1)
    ]
    return np.stack(found, axis=1)
