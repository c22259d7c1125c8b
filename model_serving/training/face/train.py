"""Training of the face models on the vote distributions of FER+.

*base* is a MobileNet that starts from HSE-FaceRes, which knows people's faces; *compact* is a
small ResNet that learns from the votes and from base's answers.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessorPil,
)

from model_serving.calibration import calibrate, count_answers
from model_serving.card import (
    CARD_FILE,
    Calibration,
    ModelCard,
    Source,
    read_card,
    write_card,
)
from model_serving.corpora.head import Head
from model_serving.labels import order_by_name, output_names
from model_serving.metrics import accuracy
from model_serving.training.average import Averaged
from model_serving.training.common import find_model, save_model
from model_serving.training.face.data import FACE_LABELS, MEAN, STD, Faces, load_faces
from model_serving.training.face.start import build_faceres, fetch_faceres, renormalise
from model_serving.training.harness import Problem, Run, fit, is_main, pass_batch_through, predict
from model_serving.training.heads import HeadLoss, label_maps
from model_serving.training.recipe import Recipe
from schemas.errors import AffectstreamError
from schemas.vocabularies import to_ekman

FERPLUS = "face/ferplus.npz"
HEAD = Head("ferplus", FACE_LABELS, "single")
_LABELS = dict(enumerate(FACE_LABELS))
_NORM_ROWS = 256  # images that the norms of the start take their statistics from


def train(recipe: Recipe, data: Path, out: Path, run: Run) -> ModelCard:
    """Train by the recipe on FER+ under ``data`` and write the model folder ``out``."""
    torch.manual_seed(recipe.seed)
    side = int(recipe.net["side"])
    known, dev = (load_faces(data / FERPLUS, split, side) for split in ("train", "valid"))
    net, frozen = build(recipe, known, run)
    problem = _problem(recipe, net, frozen, known, dev, run)
    fit(problem, recipe, run)
    kept = problem.net.average.module  # type: ignore[union-attr]
    card = _card(recipe, known, kept, dev)
    return save_model(out, kept, build_processor(side), card) if is_main() else card


def cross_validate(recipe: Recipe, data: Path, run: Run) -> list[dict[str, float]]:
    """Refuse: FER+ has a published split, and its faces have no names to make folds by."""
    del data, run
    message = (
        f"{recipe.name} is judged on FER+'s published split: its faces have no names, so no folds "
        "can keep a person on one side; train without --folds"
    )
    raise AffectstreamError(message)


def build(recipe: Recipe, known: Faces, run: Run) -> tuple[nn.Module, list[nn.Module]]:
    """Return the net before training, and the parts of it that stay as they are."""
    settings = recipe.net
    if recipe.body("mobilenet", "resnet") == "mobilenet":
        net = build_faceres(fetch_faceres(run.build), _LABELS, int(settings["side"]))
        first = known.take(np.arange(min(_NORM_ROWS, len(known))))
        renormalise(net, first.__getitems__(list(range(len(first))))["pixel_values"])
        body = net.mobilenet_v1
        return net, [body.conv_stem, *body.layer[: int(settings["frozen_layers"])]]
    net = build_resnet()
    if "start" in settings:
        _start(net, find_model(str(settings["start"]), run.build))
    return net, []


def build_resnet() -> ResNetForImageClassification:
    """The untrained compact network: 1.2 M parameters, 24 MFLOP for an image of 48 pixels."""
    config = ResNetConfig(
        num_channels=1,
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        **label_maps(_LABELS),
    )
    return ResNetForImageClassification(config)


def build_processor(side: int) -> ViTImageProcessorPil:
    """The stock processor that resizes and scales a grey image; it keeps a single channel."""
    return ViTImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[MEAN], image_std=[STD], resample=2
    )


def majority_accuracy(logits: np.ndarray, faces: Faces) -> float:
    """Return the share of majority rows whose expression stands first."""
    clear = faces.majority
    return accuracy(faces.votes[clear].argmax(axis=1), logits[clear].argmax(axis=1))


def _start(net: ResNetForImageClassification, folder: Path) -> None:
    """Take the weights of an earlier model, but a head that answers other labels."""
    earlier = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
    same = earlier.config.id2label == net.config.id2label
    kept = {k: v for k, v in earlier.state_dict().items() if same or "classifier" not in k}
    net.load_state_dict(kept, strict=same)


def _problem(
    recipe: Recipe, net: nn.Module, frozen: list[nn.Module], known: Faces, dev: Faces, run: Run
) -> Problem:
    training = replace(known, augmented=True)
    if recipe.distil:
        teachers = [find_model(name, run.build) for name in recipe.distil.teachers]
        training = replace(training, teacher=teach(teachers, known))
    return Problem(
        net=Averaged(net, float(recipe.net["average"]), frozen),
        train=training,
        dev={"valid": dev},
        collate=pass_batch_through,
        loss=HeadLoss.of(recipe, (HEAD,)),
        score=lambda found: majority_accuracy(found["valid"], dev),
        heads=("net.classifier",),
    )


def teach(folders: Sequence[Path], faces: Faces) -> np.ndarray:
    """Return the teachers' mean logits (n, 8) to the faces as they are."""
    found = []
    for folder in folders:
        teacher = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
        seen = replace(faces, side=int(getattr(teacher.config, "image_size", faces.side)))
        logits = predict(teacher, seen, pass_batch_through, title=f"answers of {folder.name}")
        found.append(order_by_name(logits, output_names(folder.name, teacher.config), FACE_LABELS))
        if np.isnan(found[-1]).any():
            message = f"{folder.name} can't teach: its outputs are not {', '.join(FACE_LABELS)}"
            raise AffectstreamError(message)
    return np.asarray(np.mean(found, axis=0))


def recalibrate(folder: Path, data: Path) -> Calibration:
    """Fit the calibration of a model in a folder anew and write its card; its weights stay.

    Its figures go, since they were measured with another calibration.
    """
    card = read_card(folder / CARD_FILE)
    net = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
    if tuple(output_names(card.model_id, net.config)) != FACE_LABELS:
        message = f"{folder.name} can't be calibrated: its outputs are not {', '.join(FACE_LABELS)}"
        raise AffectstreamError(message)
    side = int(AutoImageProcessor.from_pretrained(folder).size["height"])
    known, dev = (load_faces(data / FERPLUS, split, side) for split in ("train", "valid"))
    coverage = card.calibration.coverage or 0.9
    calibration = _calibrate(net, known, dev, coverage)
    write_card(folder, card.model_copy(update={"calibration": calibration, "figures": ()}))
    return calibration


def _calibrate(net: Any, known: Faces, dev: Faces, coverage: float) -> Calibration:
    clear = dev.take(dev.majority)
    logits = predict(net, clear, pass_batch_through)
    labels = clear.votes.argmax(axis=1)
    found = calibrate(logits, labels, coverage, known.votes.mean(axis=0))
    return found.model_copy(update={"answers": count_answers(found, logits, labels)})


def _card(recipe: Recipe, known: Faces, net: Any, dev: Faces) -> ModelCard:
    return ModelCard(
        name=recipe.name,
        version=recipe.version,
        modality="face",
        licence=recipe.licence,
        labels={name: to_ekman(name) for name in FACE_LABELS},
        training_data=(Source(name="FER+", licence="labels MIT, images unclear", rows=len(known)),),
        calibration=_calibrate(net, known, dev, recipe.coverage),
        command=recipe.command,
        notes=recipe.notes.strip(),
    )
