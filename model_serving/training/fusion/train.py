"""Training of the fusion model on windows simulated from the dev splits of all modalities."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
import torch
from PIL import Image

from model_serving.calibration import calibrate, expected_calibration_error, softmax
from model_serving.card import CARD_FILE, Calibration, Figure, ModelCard, Source, read_card
from model_serving.corpora.motion import HARDER, PLAIN, motion_frames
from model_serving.corpora.text import CORPORA
from model_serving.fusion import AttentionFusion, AttentionFusionConfig
from model_serving.loader import load_recogniser
from model_serving.training.common import (
    ID2LABEL,
    LABELS,
    Batch,
    Schedule,
    figures,
    fit,
    save_model,
    seed_everything,
)
from model_serving.training.face.data import FACE_LABELS, load_faces
from model_serving.training.heads import named
from model_serving.training.voice.data import RATE, load_clips
from schemas.arrow import vector_column
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS, to_ekman

_BATCH = 512
_STEPS = 100
_DRAWS = 3
_MISMATCHED = 0.2
_HARD = 0.25  # of the items: without any, an unsure joy was fused to a disgust, which is rare
_TEXT = ("GoEmotions", "SMP2020 usual", "MELD")
_CARD_WINDOWS = 20_000
# Neutral is what windows mostly show; with the corpora's own shares joy would crowd out disgust.
_SHARES = np.where(np.array(EXPRESSIONS) == "neutral", 0.28, 0.12)
_PARTS = (0.5, 0.2, 0.3)  # of the items: to fit, to choose by, held out
_MEAN_COUNT = (1.3, 1.3, 5.0, 25.0)

_NOTES = """Attention over the four modalities of a window. **The windows it learned from are
simulated**: no corpus holds these four modalities of the same person, so each window pairs
estimates of texts, clips, faces and generated motion frames that carry the same label and come
from different people, out of the dev splits of the recognisers' corpora; modalities are missing
at random, a fifth of them shows an expression drawn anew, and a quarter of the estimates is
flattened as the recognisers flatten what is hard to judge. Three parts of the items are apart: to
fit, to choose the epoch and calibrate by, and held out for the figures; voices of the same three
speakers stand in all of them. Figures by number of modalities tell how fusion compares on
such windows with plain averaging and with the most confident modality; on recorded sessions, where
modalities belong together, they may be better or worse."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Score vectors (n, 7) of one modality's items, sorted by their labels (n,)."""

    scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, slots=True)
class Windows:
    """Simulated windows: what ``Fusion.fuse`` takes, and the labels."""

    counts: np.ndarray
    scores: np.ndarray
    confidence: np.ndarray
    labels: np.ndarray


def simulate(pools: tuple[Pool, ...], count: int, rng: np.random.Generator) -> Windows:
    """Draw windows: one to four modalities, a mean of one to three of the modality's items each.

    The event count tells how many events a window of 5 s may hold; that few distinct items stand
    behind it keeps the mean as uncertain as neighbouring frames of one face are.
    """
    labels = rng.choice(len(EXPRESSIONS), size=count, p=_SHARES)
    ranks = rng.random((count, len(MODALITIES))).argsort(axis=1).argsort(axis=1)
    present = ranks < rng.integers(1, len(MODALITIES) + 1, count)[:, None]
    counts = present * (1 + rng.poisson(np.array(_MEAN_COUNT) - 1.0, present.shape))
    scores = np.zeros((count, len(MODALITIES), len(EXPRESSIONS)))
    confidence = np.zeros(present.shape)
    for place, pool in enumerate(pools):
        other = rng.choice(len(EXPRESSIONS), size=count, p=_SHARES)
        shown = np.where(rng.random(count) < _MISMATCHED, other, labels)
        first = np.searchsorted(pool.labels, shown)
        size = np.searchsorted(pool.labels, shown, side="right") - first
        picks = first[:, None] + (rng.random((count, _DRAWS)) * size[:, None]).astype(int)
        drawn = _lowered(pool.scores[picks], rng)  # (count, draws, 7)
        distinct = np.minimum(counts[:, place], rng.integers(1, _DRAWS + 1, count))
        weight = drawn.max(axis=2) * (np.arange(_DRAWS) < distinct[:, None])
        total = weight.sum(axis=1)
        mean = (drawn * weight[:, :, None]).sum(axis=1) / np.maximum(total, 1e-9)[:, None]
        scores[:, place] = mean * present[:, place, None]
        confidence[:, place] = present[:, place] * total / np.maximum(distinct, 1)
    return Windows(counts, scores, confidence, labels)


def _lowered(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flatten a part of the score vectors, as the recognisers do of what is hard to judge."""
    share = np.where(rng.random(scores.shape[:2]) < _HARD, rng.random(scores.shape[:2]), 1.0)
    return share[:, :, None] * scores + (1 - share[:, :, None]) / len(EXPRESSIONS)


def train(data: Path, out: Path, weights: Path, seed: int = 13, epochs: int = 25) -> ModelCard:
    """Train on estimates of the models in ``weights`` and write the folder ``out``.

    ``weights`` holds the folders text-compact, voice-compact, face-compact and motion-compact.
    About five minutes on one core.
    """
    rng = seed_everything(seed)
    models = {name: weights / f"{name}-compact" for name in MODALITIES}
    fitted, known, held_out, learnt = _pools(data, models, rng)
    net = AttentionFusion(AttentionFusionConfig(**named(ID2LABEL)))
    dev = simulate(known, 8192, np.random.default_rng(seed + 1))

    def batches(_: int) -> Iterator[Batch]:
        for _step in range(_STEPS):
            windows = simulate(fitted, _BATCH, rng)
            yield _tensors(windows) | {"labels": torch.from_numpy(windows.labels)}

    def score() -> float:
        chances = softmax(_logits(net, dev))[np.arange(len(dev.labels)), dev.labels]
        return float(np.log(chances).mean())

    schedule = Schedule(epochs=epochs, steps_per_epoch=_STEPS, learning_rate=2e-3)
    fit(net, batches, score, schedule)
    calibration = calibrate(_logits(net, dev), dev.labels)
    test = simulate(held_out, _CARD_WINDOWS, np.random.default_rng(seed + 2))
    return save_model(out, net, None, _card(net, learnt, test, calibration, seed))


def build_average(out: Path, weights: Path) -> ModelCard:
    """Write the fusion that learnt nothing and may be used for anything: a plain average.

    With every parameter at zero the net weighs all modalities alike, so its scores are the
    geometric mean of theirs; one modality alone stays as it is, and so does its threshold, which is
    that of text-compact-open in the folder ``weights``.
    """
    net = AttentionFusion(AttentionFusionConfig(**named(ID2LABEL)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    text = read_card(weights / "text-compact-open" / CARD_FILE).calibration
    card = ModelCard(
        name="fusion-open",
        version="1.0.0",
        modality="fusion",
        licence="open",
        labels=LABELS,
        calibration=Calibration(threshold=text.threshold),
        command="affectstream train fusion --recipe fusion-open --data DATA",
        notes=_AVERAGE_NOTES,
    )
    return save_model(out, net, None, card)


def _card(
    net: AttentionFusion,
    learnt: Mapping[str, int],
    test: Windows,
    calibration: Calibration,
    seed: int,
) -> ModelCard:
    return ModelCard(
        name="fusion-compact",
        version="2.0.0",
        modality="fusion",
        licence="research",
        labels=LABELS,
        training_data=tuple(
            Source(
                name=f"dev estimates of {model_id}, the part to fit",
                licence="as the recogniser's data",
                rows=rows,
            )
            for model_id, rows in learnt.items()
        ),
        figures=tuple(_figures(net, test, calibration.temperature)),
        calibration=calibration,
        command=f"affectstream train fusion --data DATA --seed {seed}",
        notes=_NOTES,
    )


_AVERAGE_NOTES = """\
The geometric mean of the modalities that are there. It learnt from nothing, so no data's licence
binds it. Trained attention does better where several modalities are there (the card of `fusion`).
It abstains where text-compact-open would."""


def _tensors(windows: Windows) -> Batch:
    return {
        "counts": torch.from_numpy(windows.counts).float(),
        "scores": torch.from_numpy(windows.scores).float(),
        "confidence": torch.from_numpy(windows.confidence).float(),
    }


def _logits(net: AttentionFusion, windows: Windows) -> np.ndarray:
    net.eval()
    with torch.inference_mode():
        return net(**_tensors(windows)).logits.numpy()


def _figures(net: AttentionFusion, test: Windows, temperature: float) -> list[Figure]:
    """Accuracy and ECE of fusion, plain average and most confident modality, by modalities."""
    many = (test.counts > 0).sum(axis=1)
    best = test.confidence.argmax(axis=1)
    methods = {
        "fusion": softmax(_logits(net, test), temperature),
        "plain average": test.scores.sum(axis=1) / many[:, None],
        "most confident modality": test.scores[np.arange(len(many)), best],
    }
    found: list[Figure] = []
    for size in range(len(MODALITIES) + 1):
        rows = many == size if size else many > 0
        split = f"held-out windows, {size or '1-4'} modalities"
        for name, scores in methods.items():
            right = scores[rows].argmax(axis=1) == test.labels[rows]
            error = expected_calibration_error(scores[rows], test.labels[rows])
            found += figures(split, {f"{name}: accuracy": right.mean(), f"{name}: ece": error})
    return found


def _pools(
    data: Path, models: Mapping[str, Path], rng: np.random.Generator
) -> tuple[tuple[Pool, ...], tuple[Pool, ...], tuple[Pool, ...], dict[str, int]]:
    """Estimate every modality's dev items: those to fit, to choose by, held out.

    Then how many items there are to fit, by the id of the model that estimated them.
    """
    pools: list[list[Pool]] = [[], [], []]
    learnt = {}
    for modality in MODALITIES:
        column, labels = _READERS[modality](data, rng)
        part = rng.choice(3, len(labels), p=_PARTS)
        model = load_recogniser(modality, str(models[modality]), None, "cpu")
        learnt[model.model_id] = int((part == 0).sum())
        if modality == "voice":  # few clips: those to fit are heard again in other rooms
            column, labels, part = _more_clips(column, labels, part, rng)
        found = model.estimate(pa.record_batch({_COLUMNS[modality]: column}))
        for number, pool in enumerate(pools):
            rows = part[found.rows] == number
            pool.append(_pool(found.scores, labels[found.rows], rows))
    fitted, known, held_out = (tuple(pool) for pool in pools)
    return fitted, known, held_out, learnt


_COLUMNS = {"text": "text", "voice": "media", "face": "media", "motion": "weights"}


def _pool(scores: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Pool:
    order = np.argsort(labels[rows], kind="stable")
    return Pool(scores[rows][order], labels[rows][order])


def _texts(data: Path, _: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    parts = [corpus.splits["dev"](data).single() for corpus in CORPORA if corpus.name in _TEXT]
    texts = [text for rows, _ in parts for text in rows.texts]
    return pa.array(texts), np.concatenate([labels for _, labels in parts])


def _clips(data: Path, _: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    clips = load_clips(data)
    clips = clips.take(clips.split == "dev")
    labels = np.array([EXPRESSIONS.index(str(to_ekman(name))) for name in clips.emotion])
    return pa.array([_wav(wave) for wave in clips.waves]), labels


def _more_clips(
    column: pa.Array, labels: np.ndarray, part: np.ndarray, rng: np.random.Generator
) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    rows = np.repeat(np.flatnonzero(part == 0), 4)
    waves = [soundfile.read(BytesIO(column[row].as_py()), dtype="float32")[0] for row in rows]
    more = pa.array([_wav(_another_take(wave, rng)) for wave in waves])
    labels = np.concatenate([labels, labels[rows]])
    return pa.concat_arrays([column, more]), labels, np.concatenate([part, part[rows]])


def _another_take(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clip within 10 % of its speed, and noise at 10 to 40 dB."""
    places = np.arange(0, len(wave) - 1, rng.uniform(0.9, 1.1))
    take = np.interp(places, np.arange(len(wave)), wave)
    return take + take.std() * 10 ** (-rng.uniform(10, 40) / 20) * rng.standard_normal(len(take))


def _faces(data: Path, _: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    faces = load_faces(data / "face" / "ferplus.npz", "valid")
    shown = np.array([EXPRESSIONS.index(str(to_ekman(name))) for name in FACE_LABELS])
    return pa.array([_png(image) for image in faces.images]), shown[faces.votes.argmax(axis=1)]


def _frames(_: Path, rng: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    labels = rng.integers(0, len(EXPRESSIONS), 8000)
    half = len(labels) // 2
    parts = [motion_frames(labels[:half], rng, PLAIN), motion_frames(labels[half:], rng, HARDER)]
    return vector_column(np.concatenate(parts)), labels


_READERS = {"text": _texts, "voice": _clips, "face": _faces, "motion": _frames}


def _wav(wave: np.ndarray) -> bytes:
    file = BytesIO()
    soundfile.write(file, wave, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def _png(image: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()
