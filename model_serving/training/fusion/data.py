"""What the fusion model learns from: the recognisers' estimates of their corpora's dev splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
from PIL import Image

from model_serving.corpora.motion import HARDER, PLAIN, motion_frames
from model_serving.corpora.text import CORPORA
from model_serving.loader import load_recogniser
from model_serving.training.face.data import FACE_LABELS, load_faces
from model_serving.training.fusion.windows import Pool
from model_serving.training.voice.channels import RATE
from model_serving.training.voice.data import load_clips
from schemas.arrow import vector_column
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS, to_ekman

_TEXT = ("GoEmotions", "SMP2020 usual", "MELD")
_TAKES = 4  # copies of each clip: there are few
_FRAMES = 8000
_COLUMNS = {"text": "text", "voice": "media", "face": "media", "motion": "weights"}


@dataclass(frozen=True, slots=True)
class Items:
    """Estimates of single items, of all modalities: one row for each.

    ``scores`` (n, 7); ``labels`` (n,) are places in EXPRESSIONS, ``modality`` (n,) in MODALITIES.
    ``source`` (n,) numbers what an item is a take of, and ``copied`` (n,) marks takes after the
    first, which only a model may learn from.
    """

    scores: np.ndarray
    labels: np.ndarray
    modality: np.ndarray
    source: np.ndarray
    copied: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Items":
        """Return these rows: positions or a mask."""
        return Items(*(getattr(self, field.name)[rows] for field in fields(self)))

    def without_copies(self) -> "Items":
        """Return the first take of each source."""
        return self.take(~self.copied)

    def pools(self) -> tuple[Pool, ...]:
        """Return one pool for each modality.

        Raises AffectstreamError where a modality has no item of some expression.
        """
        found = []
        for place, modality in enumerate(MODALITIES):
            rows = np.flatnonzero(self.modality == place)
            rows = rows[np.argsort(self.labels[rows], kind="stable")]
            pool = Pool(self.scores[rows], self.labels[rows])
            absent = np.setdiff1d(np.arange(len(EXPRESSIONS)), pool.labels)
            if len(absent):
                message = (
                    f"no {modality} item of this part shows {EXPRESSIONS[absent[0]]}: take fewer "
                    "folds, or another seed"
                )
                raise AffectstreamError(message)
            found.append(pool)
        return tuple(found)


def split_sources(items: Items, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Return the part (n,) of each item: all takes of a source together, each label in each part.

    ``shares`` are the parts' sizes and sum to 1.
    """
    part = np.zeros(len(items), int)
    for kind in np.unique(items.modality * len(EXPRESSIONS) + items.labels):
        rows = np.flatnonzero(items.modality * len(EXPRESSIONS) + items.labels == kind)
        sources, position = np.unique(items.source[rows], return_inverse=True)
        ends = np.cumsum(shares) * len(sources)
        dealt = np.searchsorted(ends[:-1], np.arange(len(sources)) + 0.5)
        part[rows] = rng.permutation(dealt)[position]
    return part


def read_items(data: Path, models: Mapping[str, Path], seed: int) -> Items:
    """Estimate the dev items of every modality by the model folder that is named for it."""
    found, sources = [], 0
    for place, modality in enumerate(MODALITIES):
        rng = np.random.default_rng([seed, place])
        column, labels = _READERS[modality](data, rng)
        takes = _TAKES if modality == "voice" else 0
        source = sources + np.tile(np.arange(len(labels)), 1 + takes)
        copied = np.arange(len(source)) >= len(labels)
        sources += len(labels)
        if takes:
            column = pa.concat_arrays([column, _record_again(column, takes, rng)])
        model = load_recogniser(modality, str(models[modality]), None, "cpu")
        estimates = model.estimate(pa.record_batch({_COLUMNS[modality]: column}))
        rows = estimates.rows
        of = np.full(len(rows), place)
        labels = np.tile(labels, 1 + takes)[rows]
        found.append(Items(estimates.scores, labels, of, source[rows], copied[rows]))
    return Items(*(np.concatenate([getattr(i, f.name) for i in found]) for f in fields(Items)))


def _read_texts(data: Path, _: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    parts = [corpus.splits["dev"](data).single() for corpus in CORPORA if corpus.name in _TEXT]
    texts = [text for rows, _ in parts for text in rows.texts]
    return pa.array(texts), np.concatenate([labels for _, labels in parts])


def _read_clips(data: Path, _: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    clips = load_clips(data)
    clips = clips.take(clips.split == "dev")
    labels = np.array([EXPRESSIONS.index(str(to_ekman(name))) for name in clips.emotion])
    return pa.array([_wav(wave) for wave in clips.waves]), labels


def _record_again(column: pa.Array, takes: int, rng: np.random.Generator) -> pa.Array:
    """Return more takes of every clip: within 10 % of its speed, under noise of 10 to 40 dB."""
    waves = [soundfile.read(BytesIO(clip.as_py()), dtype="float32")[0] for clip in column]
    return pa.array([_wav(_disturb(wave, rng)) for _ in range(takes) for wave in waves])


def _disturb(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    places = np.arange(0, len(wave) - 1, rng.uniform(0.9, 1.1))
    take = np.interp(places, np.arange(len(wave)), wave)
    return take + take.std() * 10 ** (-rng.uniform(10, 40) / 20) * rng.standard_normal(len(take))


def _read_faces(data: Path, _: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    faces = load_faces(data / "face" / "ferplus.npz", "valid")
    shown = np.array([EXPRESSIONS.index(str(to_ekman(name))) for name in FACE_LABELS])
    return pa.array([_png(image) for image in faces.images]), shown[faces.votes.argmax(axis=1)]


def _draw_frames(_: Path, rng: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    labels = rng.integers(0, len(EXPRESSIONS), _FRAMES)
    half = _FRAMES // 2
    parts = [motion_frames(labels[:half], rng, PLAIN), motion_frames(labels[half:], rng, HARDER)]
    return vector_column(np.concatenate(parts)), labels


_READERS = {"text": _read_texts, "voice": _read_clips, "face": _read_faces, "motion": _draw_frames}


def _wav(wave: np.ndarray) -> bytes:
    file = BytesIO()
    soundfile.write(file, wave, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def _png(image: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()
