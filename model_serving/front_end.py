"""Front ends: payload columns become padded tensors, and what can't be decoded gets a code.

Each front end turns one payload column into a ``Prepared``: which rows could be decoded, how long
they are, and how to collate any of them into the inputs of one forward pass.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from time import perf_counter_ns
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import soundfile
import torch
from PIL import Image
from torch import Tensor

from model_serving.face.crops import crop_faces, look
from model_serving.face.images import picture
from model_serving.text.language import EMOJI, Language, language_share, load_identifier, name_emoji
from model_serving.text.visible_text import readable
from model_serving.voice import activity as voice_activity
from model_serving.voice.waveforms import mono, resampled, steady, without_long_pauses
from schemas.arrow import vectors
from schemas.errors import DeadLetterCode, QualityCode, UndecodableError
from schemas.modalities import MOTION_FEATURES

MAX_TOKENS = 64
_LONG_TEXT = 2048  # characters: a piece of the shipped vocabularies has at most 16
_MOST_READ = 8 * _LONG_TEXT  # of which white space and what is not seen is left out
_WORDS = re.compile(r"[^\s,;:/|&，、；：\-]")  # what is no mere separator of placeholders
_DOUBT = 0.6  # under this the code of what is wrong is told
MAX_SECONDS = 15.0
MIN_SECONDS = 0.1  # shorter clips end in silence: an encoder's first frame needs 25 ms and more
_RATES = range(1_000, 384_001)
_MAX_CHANNELS = 8
_UNTOLD = 2**62  # frames: libsndfile says more of a FLAC that was written to a pipe
_MOST_SAMPLES = int(MAX_SECONDS) * _RATES[-1]
_SOME = 100_000  # samples of a channel, enough to tell 8 bits by
_AUDIO_FORMATS = {"WAV", "WAVEX", "FLAC", "OGG"}

Inputs = dict[str, Tensor]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Failure:
    """One row that could not be recognised; the detail never holds payload."""

    row: int
    code: DeadLetterCode
    detail: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Decoded rows: their positions in the column, their lengths, and how to collate some.

    ``quality`` (n,) in [0, 1] is how much of each can be judged, all of it where it is None, and
    ``codes`` what keeps the rest from it. ``net_us`` is the time that nets of the front end took.
    """

    rows: np.ndarray
    lengths: np.ndarray
    collate: Callable[[np.ndarray], Inputs]
    failures: tuple[Failure, ...] = ()
    quality: np.ndarray | None = None
    codes: tuple[QualityCode | None, ...] = ()
    net_us: int = 0


@dataclass(frozen=True, slots=True)
class Clip:
    """One voice as a float32 waveform, and how many different values the file's samples had."""

    wave: np.ndarray
    steps: int


class FrontEnd(Protocol):
    """Decodes ``column`` at most ``chunk_rows`` rows at a time, to bound what is decoded at once.

    Rows of different length share a forward pass only where ``pads`` is true: the model must mask
    the padding, or a row's scores would depend on its neighbours.
    """

    column: str
    chunk_rows: int
    micro_batch: int
    pads: bool

    def prepare(self, column: pa.Array) -> Prepared: ...


class TextFrontEnd:
    """Tokenises text, at most 64 tokens a row; emoji that it has no piece for become their names.

    What cannot be seen, placeholders and # are left out; a text of nothing else can't be judged.
    Where the card names ``languages``, neither can one in others. Of a long text only the
    beginning is read, and what can be judged falls once that is less than half of it.
    """

    column = "text"
    chunk_rows = 8192
    micro_batch = 64
    pads = True

    def __init__(self, tokenizer: Any, languages: Sequence[Language] = ()) -> None:
        self._tokenizer = tokenizer
        self._languages = languages
        if languages:
            load_identifier()  # before workers are forked, which then share its memory
        ids = tokenizer(list(EMOJI), add_special_tokens=False)["input_ids"]
        unknown = tokenizer.unk_token_id
        self._unknown = {emoji for emoji, own in zip(EMOJI, ids, strict=True) if unknown in own}

    def prepare(self, column: pa.Array) -> Prepared:
        rows, failures = _present(column)
        whole = column.take(pa.array(rows))
        if not len(whole):
            return Prepared(rows, rows, lambda _: {}, failures)
        started = readable(pc.utf8_slice_codeunits(whole, 0, _MOST_READ)).to_pylist()
        texts = [name_emoji(_beginning(t), self._unknown)[:_LONG_TEXT] for t in started]
        sizes = pc.utf8_length(whole).to_numpy()
        sizes = np.where(sizes > _MOST_READ, sizes, [len(t) for t in started])
        limit = min(MAX_TOKENS, self._tokenizer.model_max_length)
        tokens = self._tokenizer(texts, truncation=True, max_length=limit)
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        quality, codes = self._judge(sizes, texts, tokens.encodings, lengths >= limit)

        def collate(picked: np.ndarray) -> Inputs:
            chosen = {name: [values[i] for i in picked] for name, values in tokens.items()}
            return dict(self._tokenizer.pad(chosen, return_tensors="pt"))

        return Prepared(rows, lengths, collate, failures, quality, codes)

    def _judge(
        self, sizes: np.ndarray, texts: list[str], encodings: Any, full: np.ndarray
    ) -> tuple[np.ndarray, tuple[QualityCode | None, ...]]:
        """Return what share of each text can be judged, and what is wrong if much.

        ``sizes`` are the characters of the whole texts; ``full`` marks rows that may have been
        cut; ``encodings`` are None of a tokenizer in Python.
        """
        read = np.minimum(sizes, _LONG_TEXT) / np.maximum(sizes, 1)
        for row in np.flatnonzero(full) if encodings else ():
            end = max(stop for _, stop in encodings[row].offsets)
            read[row] *= end / max(len(texts[row]), 1)
        length = np.clip(2 * read, 0.0, 1.0)
        known = np.ones(len(texts))
        there = np.array([_WORDS.search(text) is not None for text in texts])
        if self._languages:
            known = np.array([language_share(text, self._languages) for text in texts])
        codes = tuple(
            QualityCode.TOO_SHORT
            if not some
            else None
            if min(long, ours) >= _DOUBT
            else QualityCode.TOO_LONG
            if long < ours
            else QualityCode.OTHER_LANGUAGE
            for some, long, ours in zip(there, length, known, strict=True)
        )
        return there * length * known, codes


class VoiceFrontEnd:
    """Decodes audio files to mono at the extractor's rate, and extracts features row by row.

    Extracting a row alone keeps its normalisation its own; an extractor of fixed length (AST,
    Whisper) pads by itself, another (Wav2Vec2) pads here with a mask.
    """

    column = "media"
    chunk_rows = 256  # 256 clips of 15 s at 16 kHz are 245 MB
    micro_batch = 16

    def __init__(self, extractor: Any, *, pads: bool) -> None:
        self.pads = pads
        self._extractor = extractor
        self._name = extractor.model_input_names[0]

    def prepare(self, column: pa.Array) -> Prepared:
        rate = self._extractor.sampling_rate
        rows, clips, failures = _decode(
            column, lambda media: hear(media, rate), DeadLetterCode.AUDIO_UNDECODABLE
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
        heard = [resampled(clip.wave, rate, voice_activity.RATE) for clip in clips]
        quality, codes = voice_activity.judge_speech(heard, [clip.steps for clip in clips])
        return quality, tuple(codes), (perf_counter_ns() - started) // 1000

    def _features(self, wave: np.ndarray, rate: int) -> np.ndarray:
        found = self._extractor(wave, sampling_rate=rate, return_tensors="np")
        return np.asarray(found[self._name][0], np.float32)


class FaceFrontEnd:
    """Decodes images, finds the face, grey where the model has one channel, and normalises."""

    column = "media"
    chunk_rows = 256  # 256 images of 3 x 224 x 224 are 154 MB
    micro_batch = 64
    pads = False

    def __init__(self, processor: Any, channels: int) -> None:
        self._processor = processor
        self._mode = "L" if channels == 1 else "RGB"

    def prepare(self, column: pa.Array) -> Prepared:
        rows, seen, failures = _decode(
            column, lambda media: look(picture(media)), DeadLetterCode.IMAGE_UNDECODABLE
        )
        crops, net_us = crop_faces(seen)
        grids = [self._grid(crop.image) for crop in crops]

        def collate(picked: np.ndarray) -> Inputs:
            # All at once: the processor takes 0.7 ms to check its own settings at every call.
            found = self._processor(
                [grids[i] for i in picked], input_data_format="channels_last", return_tensors="pt"
            )
            return {"pixel_values": found["pixel_values"].float()}

        quality = np.array([crop.quality for crop in crops])
        codes = tuple(crop.code for crop in crops)
        lengths = np.zeros(len(rows), np.int64)
        return Prepared(rows, lengths, collate, failures, quality, codes, net_us)

    def _grid(self, image: Image.Image) -> np.ndarray:
        # As an array with its channels last: a 48 x 48 array alone leaves the layout to guessing.
        grid = np.asarray(image.convert(self._mode))
        return grid[:, :, None] if grid.ndim == 2 else grid


class MotionFrontEnd:
    """Hands on the 55 motion features of a row as they are."""

    column = "weights"
    chunk_rows = 8192
    micro_batch = 8192
    pads = False

    def prepare(self, column: pa.Array) -> Prepared:
        rows, failures = _present(column)
        found = vectors(column, len(MOTION_FEATURES))[rows].astype(np.float32)
        sound = np.isfinite(found).all(axis=1)
        code, detail = DeadLetterCode.RECOGNISER_FAILED, "a weight is not a finite number"
        failures += tuple(Failure(int(row), code, detail) for row in rows[~sound])
        rows, values = rows[sound], torch.from_numpy(found[sound])

        def collate(picked: np.ndarray) -> Inputs:
            return {"motion_values": values[torch.from_numpy(picked)]}

        return Prepared(rows, np.zeros(len(rows), np.int64), collate, failures)


def _beginning(text: str) -> str:
    """Return as much of a visible text as 64 tokens can hold: a book takes no longer."""
    if len(text) > _LONG_TEXT:
        text = " ".join(text.split())[:_LONG_TEXT]
    plain = unicodedata.normalize("NFKC", text)  # one letter may unfold to eighteen
    return text if len(plain) <= _LONG_TEXT else plain[:_LONG_TEXT]


def hear(media: bytes, rate: int) -> Clip:
    """Decode a WAV, FLAC or Ogg file of at most 15 s to one voice at this rate."""
    with soundfile.SoundFile(BytesIO(media)) as audio:
        if audio.format not in _AUDIO_FORMATS:
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the file is not WAV, FLAC or Ogg")
        if audio.samplerate not in _RATES or audio.channels > _MAX_CHANNELS:
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the header names an absurd rate or layout")
        if audio.frames >= _UNTOLD:
            detail = "the header does not tell the length: an encoder can't fill it in on a pipe"
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, detail)
        if audio.frames > MAX_SECONDS * audio.samplerate:
            seconds = audio.frames / audio.samplerate
            detail = f"{seconds:.1f} s of audio, {MAX_SECONDS:.0f} s are allowed"
            _refuse(DeadLetterCode.AUDIO_TOO_LONG, detail)
        if audio.frames * audio.channels > _MOST_SAMPLES:  # silence packs 46 million in some kB
            detail = f"more than {_MOST_SAMPLES:,} samples in all its channels"
            _refuse(DeadLetterCode.AUDIO_TOO_LONG, detail)
        sound = audio.read(dtype="float32", always_2d=True)
        if not len(sound) or len(sound) < audio.frames:
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the audio ends before its header says")
        if not np.isfinite(sound).all():
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "a sample is not a finite number")
        found = audio.samplerate
    some = sound[:: 1 + len(sound) // _SOME]
    steps = max(len(np.unique(channel)) for channel in some.T)
    channels = [resampled(np.ascontiguousarray(channel), found, rate) for channel in sound.T]
    wave = without_long_pauses(mono(steady(np.stack(channels, axis=1), rate), rate), rate)
    return Clip(np.pad(wave, (0, max(0, int(MIN_SECONDS * rate) - len(wave)))), steps)


def _refuse(code: DeadLetterCode, detail: str) -> NoReturn:
    raise UndecodableError(code, detail)


def _present(column: pa.Array) -> tuple[np.ndarray, tuple[Failure, ...]]:
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    missing = np.flatnonzero(~valid)
    code = DeadLetterCode.RECOGNISER_FAILED
    return np.flatnonzero(valid), tuple(Failure(int(i), code, "no payload") for i in missing)


def _decode(
    column: pa.Array, decode: Callable[[bytes], Item], code: DeadLetterCode
) -> tuple[np.ndarray, list[Item], tuple[Failure, ...]]:
    """Decode every payload, on all cores: libsndfile and Pillow let go of the interpreter.

    An Opus clip of 3 s takes 6.5 ms of one core, as long as the forward pass that follows it.
    """

    def attempt(row: int, media: bytes) -> Item | Failure:
        try:
            return decode(media)
        except UndecodableError as error:
            return Failure(row, error.code, str(error))
        except Exception as error:  # a decoder may raise anything on hostile bytes
            return Failure(row, code, f"{type(error).__name__} while decoding")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(attempt, range(len(column)), (m.as_py() or b"" for m in column)))
    failures = tuple(item for item in found if isinstance(item, Failure))
    items = [item for item in found if not isinstance(item, Failure)]
    rows = [row for row, item in enumerate(found) if not isinstance(item, Failure)]
    return np.array(rows, np.int64), items, failures
