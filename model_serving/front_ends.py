"""Front ends: payload columns become padded tensors, and what can't be decoded gets a code.

Each front end turns one payload column into a ``Prepared``: which rows could be decoded, how long
they are, and how to collate any of them into the inputs of one forward pass.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn, Protocol

import numpy as np
import pyarrow as pa
import soundfile
import torch
import torchaudio
from PIL import Image
from torch import Tensor

from schemas.arrow import vectors
from schemas.errors import DeadLetterCode
from schemas.events import MOTION_FEATURES

MAX_TOKENS = 64
MAX_SECONDS = 15.0
MIN_SECONDS = 0.1  # shorter clips end in silence: an encoder's first frame needs 25 ms and more
MAX_PIXELS = 4096 * 4096
_MAX_RATE = 384_000
_MAX_CHANNELS = 8
_AUDIO_FORMATS = {"WAV", "WAVEX", "FLAC", "OGG"}
_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")

Inputs = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Failure:
    """One row that could not be recognised; the detail never holds payload."""

    row: int
    code: DeadLetterCode
    detail: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Decoded rows: their positions in the column, their lengths, and how to collate some."""

    rows: np.ndarray
    lengths: np.ndarray
    collate: Callable[[np.ndarray], Inputs]
    failures: tuple[Failure, ...] = ()


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


class _UndecodableError(Exception):
    def __init__(self, code: DeadLetterCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class TextFrontEnd:
    """Tokenises text, at most 64 tokens a row."""

    column = "text"
    chunk_rows = 8192
    micro_batch = 64
    pads = True

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def prepare(self, column: pa.Array) -> Prepared:
        rows, failures = _present(column)
        texts = column.take(pa.array(rows)).to_pylist()
        if not texts:
            return Prepared(rows, rows, lambda _: {}, failures)
        limit = min(MAX_TOKENS, self._tokenizer.model_max_length)
        tokens = self._tokenizer(texts, truncation=True, max_length=limit)

        def collate(picked: np.ndarray) -> Inputs:
            chosen = {name: [values[i] for i in picked] for name, values in tokens.items()}
            return dict(self._tokenizer.pad(chosen, return_tensors="pt"))

        return Prepared(
            rows, np.array([len(ids) for ids in tokens["input_ids"]]), collate, failures
        )


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
        rows, items, failures = _decode(column, self._features, DeadLetterCode.AUDIO_UNDECODABLE)
        lengths = np.array([len(item) for item in items], np.int64)

        def collate(picked: np.ndarray) -> Inputs:
            chosen = [items[i] for i in picked]
            if not self.pads:
                return {self._name: torch.from_numpy(np.stack(chosen))}
            padded = self._extractor.pad(
                {self._name: chosen}, padding=True, return_attention_mask=True, return_tensors="pt"
            )
            return dict(padded)

        return Prepared(rows, lengths, collate, failures)

    def _features(self, media: bytes) -> np.ndarray:
        rate = self._extractor.sampling_rate
        found = self._extractor(waveform(media, rate), sampling_rate=rate, return_tensors="np")
        return np.asarray(found[self._name][0], np.float32)


class FaceFrontEnd:
    """Decodes images, grey where the model has one input channel, and resizes and normalises."""

    column = "media"
    chunk_rows = 256  # 256 images of 3 x 224 x 224 are 154 MB
    micro_batch = 64
    pads = False

    def __init__(self, processor: Any, channels: int) -> None:
        self._processor = processor
        self._mode = "L" if channels == 1 else "RGB"

    def prepare(self, column: pa.Array) -> Prepared:
        rows, grids, failures = _decode(column, self._grid, DeadLetterCode.IMAGE_UNDECODABLE)

        def collate(picked: np.ndarray) -> Inputs:
            # All at once: the processor takes 0.7 ms to check its own settings at every call.
            found = self._processor(
                [grids[i] for i in picked], input_data_format="channels_last", return_tensors="pt"
            )
            return {"pixel_values": found["pixel_values"].float()}

        return Prepared(rows, np.zeros(len(rows), np.int64), collate, failures)

    def _grid(self, media: bytes) -> np.ndarray:
        # As an array with its channels last: a 48 x 48 array alone leaves the layout to guessing.
        grid = np.asarray(picture(media, self._mode))
        return grid[:, :, None] if grid.ndim == 2 else grid


class MotionFrontEnd:
    """Hands on the 55 motion features of a row as they are."""

    column = "weights"
    chunk_rows = 8192
    micro_batch = 8192
    pads = False

    def prepare(self, column: pa.Array) -> Prepared:
        rows, failures = _present(column)
        values = torch.from_numpy(vectors(column, len(MOTION_FEATURES))[rows].astype(np.float32))

        def collate(picked: np.ndarray) -> Inputs:
            return {"motion_values": values[torch.from_numpy(picked)]}

        return Prepared(rows, np.zeros(len(rows), np.int64), collate, failures)


def waveform(media: bytes, rate: int) -> np.ndarray:
    """Decode a WAV, FLAC or Ogg file of at most 15 s to mono float32 at this rate."""
    with soundfile.SoundFile(BytesIO(media)) as audio:
        if audio.format not in _AUDIO_FORMATS:
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the file is not WAV, FLAC or Ogg")
        if audio.samplerate > _MAX_RATE or audio.channels > _MAX_CHANNELS:
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the header names an absurd rate or layout")
        if audio.frames > MAX_SECONDS * audio.samplerate:
            seconds = audio.frames / audio.samplerate
            detail = f"{seconds:.1f} s of audio, {MAX_SECONDS:.0f} s are allowed"
            _refuse(DeadLetterCode.AUDIO_TOO_LONG, detail)
        sound = audio.read(dtype="float32", always_2d=True)
        wave = sound[:, 0] if audio.channels == 1 else sound.mean(axis=1)
        if not len(wave) or len(wave) < audio.frames:
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the audio ends before its header says")
        if not np.isfinite(wave).all():
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "a sample is not a finite number")
        found = audio.samplerate
    if found != rate:
        wave = torchaudio.functional.resample(torch.from_numpy(wave), found, rate).numpy()
    return np.pad(wave, (0, max(0, int(MIN_SECONDS * rate) - len(wave))))


def picture(media: bytes, mode: str) -> Image.Image:
    """Decode a JPEG, PNG or WebP file of at most 4096 x 4096 pixels, all of it, to this mode."""
    with Image.open(BytesIO(media), formats=_IMAGE_FORMATS) as image:
        # The size stands in the header: a bomb is refused before anything is inflated.
        if image.width * image.height > MAX_PIXELS:
            _refuse(DeadLetterCode.IMAGE_UNDECODABLE, "the image has more than 4096 x 4096 pixels")
        image.load()
        return image.convert(mode)


def _refuse(code: DeadLetterCode, detail: str) -> NoReturn:
    raise _UndecodableError(code, detail)


def _present(column: pa.Array) -> tuple[np.ndarray, tuple[Failure, ...]]:
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    missing = np.flatnonzero(~valid)
    code = DeadLetterCode.RECOGNISER_FAILED
    return np.flatnonzero(valid), tuple(Failure(int(i), code, "no payload") for i in missing)


def _decode(
    column: pa.Array, decode: Callable[[bytes], np.ndarray], code: DeadLetterCode
) -> tuple[np.ndarray, list[np.ndarray], tuple[Failure, ...]]:
    """Decode every payload, on all cores: libsndfile and Pillow let go of the interpreter.

    An Opus clip of 3 s takes 6.5 ms of one core, as long as the forward pass that follows it.
    """

    def attempt(row: int, media: bytes) -> np.ndarray | Failure:
        try:
            return decode(media)
        except _UndecodableError as error:
            return Failure(row, error.code, str(error))
        except Exception as error:  # a decoder may raise anything on hostile bytes
            return Failure(row, code, f"{type(error).__name__} while decoding")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(attempt, range(len(column)), (m.as_py() or b"" for m in column)))
    failures = tuple(item for item in found if isinstance(item, Failure))
    items = [item for item in found if not isinstance(item, Failure)]
    rows = [row for row, item in enumerate(found) if not isinstance(item, Failure)]
    return np.array(rows, np.int64), items, failures
