"""Windows for the fusion model to learn from, simulated from estimates of single items."""

from dataclasses import dataclass

import numpy as np
import torch

from model_serving.training.harness import Batch
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS

_DRAWS = 3
_MISMATCHED = 0.2
_HARD = 0.25  # of the items: without any, an unsure joy was fused to a disgust, which is rare
# Neutral is what windows mostly show; with the corpora's own shares joy would crowd out disgust.
_SHARES = np.where(np.array(EXPRESSIONS) == "neutral", 0.28, 0.12)
_MEAN_COUNT = (1.3, 1.3, 5.0, 25.0)


@dataclass(frozen=True, slots=True)
class Pool:
    """Score vectors (n, 7) of one modality's items, sorted by their labels (n,).

    There is an item of every expression.
    """

    scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, slots=True)
class Windows:
    """Simulated windows: what ``Fusion.fuse`` takes, and the labels (n,)."""

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
        drawn = _flatten_some(_draw_items(pool, shown, rng), rng)
        distinct = np.minimum(counts[:, place], rng.integers(1, _DRAWS + 1, count))
        weight = drawn.max(axis=2) * (np.arange(_DRAWS) < distinct[:, None])
        total = weight.sum(axis=1)
        mean = (drawn * weight[:, :, None]).sum(axis=1) / np.maximum(total, 1e-9)[:, None]
        scores[:, place] = mean * present[:, place, None]
        confidence[:, place] = present[:, place] * total / np.maximum(distinct, 1)
    return Windows(counts, scores, confidence, labels)


def _draw_items(pool: Pool, shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the scores (n, draws, 7) of items that show these expressions (n,)."""
    first = np.searchsorted(pool.labels, shown)
    size = np.searchsorted(pool.labels, shown, side="right") - first
    picks = first[:, None] + (rng.random((len(shown), _DRAWS)) * size[:, None]).astype(int)
    return pool.scores[picks]


def _flatten_some(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flatten a part of the score vectors, as the recognisers do of what is hard to judge."""
    share = np.where(rng.random(scores.shape[:2]) < _HARD, rng.random(scores.shape[:2]), 1.0)
    return share[:, :, None] * scores + (1 - share[:, :, None]) / len(EXPRESSIONS)


def to_batch(windows: Windows) -> Batch:
    """Return the inputs of ``AttentionFusion``, and one-hot labels (n, 7)."""
    return {
        "counts": torch.from_numpy(windows.counts).float(),
        "scores": torch.from_numpy(windows.scores).float(),
        "confidence": torch.from_numpy(windows.confidence).float(),
        "labels": torch.from_numpy(np.eye(len(EXPRESSIONS), dtype=np.float32)[windows.labels]),
    }


def draw_batch(pools: tuple[Pool, ...], count: int, rng: np.random.Generator) -> Batch:
    """Return a training batch of newly simulated windows."""
    return to_batch(simulate(pools, count, rng))
