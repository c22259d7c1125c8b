"""The faces of FER+: votes as distributions over its own eight labels, and augmentation."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from model_serving.training.harness import Batch

FACE_LABELS: Final = (
    "anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise",
)  # fmt: skip
MEAN: Final = 0.5
STD: Final = 0.25
_OTHER = ("unknown", "NF")


@dataclass(frozen=True, slots=True)
class Faces(Dataset[Batch]):
    """Images (n, 48, 48) uint8 and votes over ``FACE_LABELS`` (n, 8), which sum to 1.

    ``majority`` marks rows that one expression has more than half of the votes of. Batches come
    at ``side`` pixels; ``augmented`` ones are moved at random, by torch's own generator, whose
    state a checkpoint holds. ``teacher`` (n, 8) are the logits of a model to learn from.
    """

    images: np.ndarray
    votes: np.ndarray
    majority: np.ndarray
    side: int = 48
    augmented: bool = False
    teacher: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        """Return a whole batch, for ``harness.pass_batch_through``."""
        pixels = to_pixels(self.images[rows])
        if self.augmented:
            pixels = augment(pixels, self.side)
        elif self.side != pixels.shape[-1]:
            pixels = functional.interpolate(pixels, size=(self.side, self.side), mode="bilinear")
        batch = {
            "pixel_values": pixels.contiguous(memory_format=torch.channels_last),
            "labels": torch.from_numpy(self.votes[rows]),
        }
        if self.teacher is not None:
            batch["teacher"] = torch.from_numpy(self.teacher[rows])
        return batch

    def take(self, rows: np.ndarray) -> "Faces":
        """Return these rows: positions or a mask."""
        teacher = None if self.teacher is None else self.teacher[rows]
        return replace(
            self,
            images=self.images[rows],
            votes=self.votes[rows],
            majority=self.majority[rows],
            teacher=teacher,
        )


def load_faces(path: Path, split: str, side: int = 48) -> Faces:
    """Read a split by the rules of FER+'s paper (Barsoum et al., 2016).

    An expression with a single vote is an outlier and has none; rows whose largest vote is unknown
    or not-a-face are left out; ``majority`` rows are those that the paper reports accuracy on.
    """
    with np.load(path) as archive:
        columns = [str(name) for name in archive["columns"]]
        raw = archive[f"{split}_votes"].astype(np.float32)
        images = archive[f"{split}_x"]
    raw = np.where(raw > 1, raw, 0)
    votes = raw[:, [columns.index(name) for name in FACE_LABELS]]
    other = raw[:, [columns.index(name) for name in _OTHER]].max(axis=1)
    best = votes.max(axis=1)
    usable = best > other
    majority = best > raw.sum(axis=1) / 2
    votes = votes[usable]
    return Faces(images[usable], votes / votes.sum(axis=1, keepdims=True), majority[usable], side)


def to_pixels(images: np.ndarray) -> Tensor:
    """Scale uint8 images (n, h, w) as the processor does, at their own size: (n, 1, h, w)."""
    return (torch.from_numpy(images).unsqueeze(1).float() / 255.0 - MEAN) / STD


def augment(images: Tensor, side: int) -> Tensor:
    """Turn, shift, scale, mirror, light and blot images (n, 1, 48, 48) onto ``side`` pixels."""
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n) * (high - low) + low

    angle, scale = uniform(-0.26, 0.26), uniform(0.82, 1.12)  # 15 degrees
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [cos * flip, -sin, uniform(-0.14, 0.14), sin * flip, cos, uniform(-0.14, 0.14)], dim=1
    ).view(n, 2, 3)
    grid = functional.affine_grid(theta, [n, 1, side, side], align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    column = (n, 1, 1, 1)
    contrast, light = uniform(0.7, 1.35).view(column), uniform(-0.5, 0.5).view(column)
    moved = moved * contrast + light
    noise = torch.randn(moved.shape) * uniform(0, 0.12).view(column)
    return _blot(moved + noise)


def _blot(images: Tensor) -> Tensor:
    """Grey out one rectangle in half of the images, as hands and hair do."""
    n, side = len(images), images.shape[-1]
    size = (torch.rand(2, n) * 0.3 + 0.1) * side
    corner = torch.rand(2, n) * (side - size)
    line = torch.arange(side).view(1, -1)
    inside = [
        (line >= corner[axis].view(-1, 1)) & (line < (corner[axis] + size[axis]).view(-1, 1))
        for axis in (0, 1)
    ]
    hit = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    hit &= (torch.rand(n) < 0.5).view(-1, 1, 1)
    return images.masked_fill(hit.unsqueeze(1), 0.0)
