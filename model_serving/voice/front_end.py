"""The front end of voice: each audio file becomes one waveform, and that becomes features."""

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from time import perf_counter_ns
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import model_serving.voice.net  # noqa: F401 - registers this project's nets
from model_serving.card import ModelCard
from model_serving.front_end import Inputs, Prepared, decode_rows
from model_serving.voice.activity import RATE
from model_serving.voice.decoding import read_sound
from model_serving.voice.opus import set_decoding_rate
from model_serving.voice.quality import Clip, check_weights, judge_speech
from model_serving.voice.waveforms import finish, mix_to_mono, remove_drift, resample
from schemas.errors import DeadLetterCode, QualityCode

NET_CLASS = AutoModelForAudioClassification
MIN_SECONDS = 0.1  # shorter clips end in silence: an encoder's first frame needs 25 ms and more
_SOME = 100_000  # samples of a channel, enough to recognise 8 bits
_LEAST_PEAK = 1e-7  # less than a step of 24 bits: nothing was recorded


class VoiceFrontEnd:
    """Decodes audio files to mono at the extractor's rate, and extracts features row by row.

    Each row is extracted alone, so that its normalisation depends on nothing else; an extractor of
    fixed length (AST, Whisper) pads by itself, another (Wav2Vec2) pads here with a mask.
    """

    column = "media"
    chunk_rows = 256  # 256 clips of 15 s at 16 kHz are 245 MB
    micro_batch = 16

    def __init__(self, extractor: Any, *, pads: bool, weights: Mapping[str, float]) -> None:
        self.pads = pads
        self._weights = weights
        self._extractor = extractor
        self._name = extractor.model_input_names[0]

    def prepare(self, column: pa.Array) -> Prepared:
        rate = self._extractor.sampling_rate
        rows, clips, failures = decode_rows(
            column, lambda media: decode_clip(media, rate), DeadLetterCode.AUDIO_UNDECODABLE
        )
        quality, codes, net_us = self._judge(clips, rate)
        items = [self._features(clip.wave, rate) for clip in clips]
        lengths = np.array([len(item) for item in items], np.int64)

        def collate(picked: np.ndarray) -> Inputs:
            chosen = [items[i] for i in picked]
            if not self.pads:
                return {self._name: torch.from_numpy(np.stack(chosen))}
            padded = self._extractor.pad(
                {self._name: chosen}, padding=True, return_attention_mask=True, return_tensors="pt"
            )
            return dict(padded)

        return Prepared(rows, lengths, collate, failures, quality, codes, net_us)

    def _judge(
        self, clips: list[Clip], rate: int
    ) -> tuple[np.ndarray, tuple[QualityCode | None, ...], int]:
        started = perf_counter_ns()
        heard = [replace(clip, wave=resample(clip.wave, rate, RATE)) for clip in clips]
        quality, codes = judge_speech(heard, self._weights)
        return quality, tuple(codes), (perf_counter_ns() - started) // 1000

    def _features(self, wave: np.ndarray, rate: int) -> np.ndarray:
        found = self._extractor(wave, sampling_rate=rate, return_tensors="np")
        return np.asarray(found[self._name][0], np.float32)


def load_front_end(card: ModelCard, model: str, net: Any, options: dict[str, Any]) -> VoiceFrontEnd:
    """Load the feature extractor of a model; ``options`` are those of ``from_pretrained``."""
    weights = check_weights(card.calibration.channel)
    extractor = AutoFeatureExtractor.from_pretrained(model, **options)
    # Group normalisation (wav2vec2-base) takes its statistics over the padding too.
    masked = getattr(extractor, "return_attention_mask", False)
    group = getattr(net.config, "feat_extract_norm", "layer") == "group"
    fixed = getattr(extractor, "max_length", None) is not None
    return VoiceFrontEnd(extractor, pads=bool(masked) and not group and not fixed, weights=weights)


def probe() -> pa.RecordBatch:
    """Return rows that every voice model has to answer: a tone of a second, and two shorter."""
    files = [BytesIO(), BytesIO(), BytesIO()]
    shapes = ((16_000, 10), (7_000, 10), (7_000, 20))  # samples, and samples of a radian
    for (samples, slow), file in zip(shapes, files, strict=True):
        tone = 0.1 * np.sin(np.arange(samples) / slow)
        soundfile.write(file, tone, 16_000, format="WAV", subtype="PCM_16")
    return pa.record_batch({"media": pa.array([file.getvalue() for file in files], pa.binary())})


def decode_clip(media: bytes, rate: int) -> Clip:
    """Decode a sound file of at most 15 s to one voice at this rate."""
    sound, found = read_sound(set_decoding_rate(media, rate))
    some = sound[:: 1 + len(sound) // _SOME]
    steps = max(len(np.unique(channel)) for channel in some.T)
    sound = _set_peak(sound)
    channels = [resample(np.ascontiguousarray(channel), found, rate) for channel in sound.T]
    voice, several = mix_to_mono(remove_drift(np.stack(channels, axis=1), rate), rate)
    wave = finish(voice, rate)
    wave = np.pad(wave, (0, max(0, int(MIN_SECONDS * rate) - len(wave))))
    return Clip(wave, steps, several)


def _set_peak(sound: np.ndarray) -> np.ndarray:
    """Return the sound with a peak of 1: floating-point files have any scale."""
    peak = float(np.abs(sound).max())
    return np.zeros_like(sound) if peak < _LEAST_PEAK else np.asarray(sound / np.float32(peak))
