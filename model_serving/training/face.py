"""Training of the face model: a small ResNet on the vote distributions of FER+."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

from model_serving.calibration import calibrate
from model_serving.card import Calibration, Figure, ModelCard, Source
from model_serving.training.common import (
    ID2LABEL,
    LABEL2ID,
    LABELS,
    Batch,
    Schedule,
    figures,
    fit,
    logits_of,
    save_model,
    scores_of,
    seed_everything,
    shuffled,
)
from schemas.vocabularies import EXPRESSIONS, to_ekman

SIDE = 72
"""Pixels of the square the model sees; the stem divides by 4, so 48 would leave 12 x 12."""

_SMALL_SIDE = 48  # the first epochs: less than half of the work, and it learns as much
_SMALL_SHARE = 0.7
_BATCH = 128
_MEAN, _STD = 0.5, 0.25

_NOTES = """A ResNet of four basic blocks on grey images of 72 x 72 pixels, trained on the vote
distributions of FER+ (48 x 48 faces found on the web, ten votes each). Contempt counts as disgust.
Images whose largest vote is unknown or not-a-face are left out; the other rows count with their
largest vote, and the split "majority" holds those where it has more than half of the votes. The
rights of the images are unclear, so the weights are for research. Disgust and fear are rare in
the data and weak in the model; faces were not sampled by age, sex or skin, and no claim is made
that all groups are served equally."""


@dataclass(frozen=True, slots=True)
class Faces:
    """One split of FER+: images (n, 48, 48) uint8 and votes over EXPRESSIONS (n, 7) in [0, 1]."""

    images: np.ndarray
    votes: np.ndarray
    majority: np.ndarray


def load_faces(path: Path, split: str) -> Faces:
    """Read a split; rows whose largest vote is unknown or not-a-face are left out.

    Contempt counts as disgust, as ``schemas.vocabularies`` maps it. ``majority`` marks rows where
    one expression has more than half of all ten votes, the rows that FER+'s paper reports on.
    """
    with np.load(path) as archive:
        columns = [str(name) for name in archive["columns"]]
        raw = archive[f"{split}_votes"].astype(np.float32)
        images = archive[f"{split}_x"]
    votes = np.zeros((len(raw), len(EXPRESSIONS)), np.float32)
    other = np.zeros(len(raw), np.float32)
    for column, name in enumerate(columns):
        expression = to_ekman(name)
        if expression is None:
            other = np.maximum(other, raw[:, column])
        else:
            votes[:, EXPRESSIONS.index(expression)] += raw[:, column]
    usable = votes.max(axis=1) > other
    majority = votes.max(axis=1) > raw.sum(axis=1) / 2
    votes = votes[usable]
    return Faces(images[usable], votes / votes.sum(axis=1, keepdims=True), majority[usable])


def build_model() -> ResNetForImageClassification:
    """The untrained network: 1.2 M parameters, 53 MFLOP an image."""
    config = ResNetConfig(
        num_channels=1,
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        id2label=ID2LABEL,
        label2id=LABEL2ID,
    )
    return ResNetForImageClassification(config)


def build_processor() -> ViTImageProcessorPil:
    """The stock processor that resizes and scales a grey image; it keeps a single channel."""
    return ViTImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[_MEAN], image_std=[_STD], resample=2
    )


def augment(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Turn, shift, scale, mirror, light and blot images (n, 1, 48, 48) onto ``side`` pixels."""
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

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
    noise = torch.randn(moved.shape, generator=generator) * uniform(0, 0.12).view(column)
    return _blot(moved + noise, generator)


def _blot(images: Tensor, generator: torch.Generator) -> Tensor:
    """Grey out one rectangle in half of the images, as hands and hair do."""
    n, side = len(images), images.shape[-1]
    size = (torch.rand(2, n, generator=generator) * 0.3 + 0.1) * side
    corner = torch.rand(2, n, generator=generator) * (side - size)
    line = torch.arange(side).view(1, -1)
    inside = [
        (line >= corner[axis].view(-1, 1)) & (line < (corner[axis] + size[axis]).view(-1, 1))
        for axis in (0, 1)
    ]
    hit = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    hit &= (torch.rand(n, generator=generator) < 0.5).view(-1, 1, 1)
    return images.masked_fill(hit.unsqueeze(1), 0.0)


def to_pixels(images: np.ndarray) -> Tensor:
    """Scale uint8 images (n, 48, 48) to what ``build_processor`` gives, at their own size."""
    pixels = torch.from_numpy(images).unsqueeze(1).float() / 255.0
    return (pixels - _MEAN) / _STD


def upscaled(images: np.ndarray, size: int = 256) -> Iterator[Batch]:
    """Yield batches of images (n, 48, 48) as ``build_processor`` would scale them."""
    for start in range(0, len(images), size):
        pixels = to_pixels(images[start : start + size])
        grown = functional.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear")
        yield {"pixel_values": grown.contiguous(memory_format=torch.channels_last)}


def train(data: Path, out: Path, seed: int = 13, epochs: int = 20) -> ModelCard:
    """Train on FER+ under ``data`` and write the model folder ``out``; half an hour on one core."""
    rng = seed_everything(seed)
    noise = torch.Generator().manual_seed(seed)
    path = data / "face" / "ferplus.npz"
    known, dev, test = (load_faces(path, split) for split in ("train", "valid", "test"))
    pixels, votes = to_pixels(known.images), torch.from_numpy(known.votes)
    net = build_model().to(memory_format=torch.channels_last)

    def batches(epoch: int) -> Iterator[Batch]:
        side = _SMALL_SIDE if epoch < _SMALL_SHARE * epochs else SIDE
        for rows in shuffled(len(pixels), _BATCH, rng):
            moved = augment(pixels[rows], side, noise)
            moved = moved.contiguous(memory_format=torch.channels_last)
            yield {"pixel_values": moved, "labels": votes[rows]}

    def score() -> float:
        logits = logits_of(net, upscaled(dev.images))
        return float((logits.argmax(axis=1) == dev.votes.argmax(axis=1)).mean())

    schedule = Schedule(
        epochs=epochs,
        steps_per_epoch=len(pixels) // _BATCH,
        learning_rate=3e-3,
        weight_decay=0.05,
        warm_up=0.1,
        label_smoothing=0.0,  # the votes are soft already
        patience=epochs,
    )
    fit(net, batches, score, schedule)
    calibration = calibrate(logits_of(net, upscaled(dev.images)), dev.votes.argmax(axis=1))
    found = _figures(net, dev, test, calibration.temperature)
    card = _card(found, len(pixels), calibration, seed)
    return save_model(out, net.to(memory_format=torch.contiguous_format), build_processor(), card)


def _card(found: list[Figure], rows: int, calibration: Calibration, seed: int) -> ModelCard:
    return ModelCard(
        name="face-compact",
        version="1.0.0",
        modality="face",
        licence="research",
        labels=LABELS,
        training_data=(Source(name="FER+", licence="labels MIT, images unclear", rows=rows),),
        figures=tuple(found),
        calibration=calibration,
        command=f"affectstream train face --data DATA --seed {seed}",
        notes=_NOTES,
    )


def _figures(
    net: ResNetForImageClassification, dev: Faces, test: Faces, temperature: float
) -> list[Figure]:
    found: list[Figure] = []
    for name, faces in (("FER+ valid", dev), ("FER+ test", test)):
        logits, labels = logits_of(net, upscaled(faces.images)), faces.votes.argmax(axis=1)
        found += figures(name, scores_of(logits, labels, temperature))
        clear = scores_of(logits[faces.majority], labels[faces.majority], temperature)
        found += figures(f"{name}, majority", clear, ("accuracy", "macro_f1"))
    return found
