"""Evaluation of a face model on FER+: the published protocol, then blur, noise and averages."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from model_serving.calibration import apply_calibration
from model_serving.card import CARD_FILE, read_card
from model_serving.labels import output_names
from model_serving.training.cache import load_or_make, model_files
from model_serving.training.evaluation import (
    ACCURACY,
    COVERAGE,
    Evaluation,
    Measured,
    Tier,
    exclude_ece,
    measure_as_shipped,
    measure_single_label,
    other_tier,
)
from model_serving.training.face.data import FACE_LABELS, Faces, load_faces
from model_serving.training.face.train import FERPLUS
from model_serving.training.harness import pass_batch_through, predict
from schemas.vocabularies import EXPRESSIONS, to_ekman

_SPLIT = "FER+ test, majority vote, 8 classes"
_SHIPPED = "FER+ test, majority vote, as shipped, 7 expressions"
_SHOWN = np.array([EXPRESSIONS.index(str(to_ekman(label))) for label in FACE_LABELS])
_DISTURBED_METRICS = {"accuracy", "ece, disturbed", COVERAGE, ACCURACY}
_BLURS = (0.5, 1.0, 1.5, 2.0)  # pixels of a 48 x 48 face
_NOISES = (10, 25, 50)  # grey levels
_DISTURBED = 600  # faces of the test split


def evaluate(folder: Path, data: Path, tier: Tier, cache: Path) -> Evaluation:
    """Measure the face model in ``folder`` on the test faces that most votes agree on."""
    faces = load_faces(data / FERPLUS, "test")
    clear = faces.take(faces.majority)
    labels = clear.votes.argmax(axis=1)
    chances = answers(folder, clear, cache)
    measured = measure_single_label(_SPLIT, chances, labels, keys={"accuracy": "ferplus_accuracy"})
    every = answers(folder, faces, cache)
    largest = faces.votes.argmax(axis=1)
    measured += _measure_part("FER+ test, largest vote, 8 classes", every, largest, "largest vote")
    some = clear.take(np.arange(min(_DISTURBED, len(clear))))
    measured += _measure_shipped(_SHIPPED, folder, clear.images, labels)
    for name, images in _disturb(some.images):
        harder = answers(folder, replace(some, images=images), cache)
        part = f"first {len(some)}, {name}"
        measured += _measure_part(f"{_SPLIT}, {part}", harder, labels[: len(some)], "disturbed")
        found = _measure_shipped(f"{_SHIPPED}, {part}", folder, images, labels[: len(some)])
        measured += [m for m in exclude_ece(found, "disturbed") if m.metric in _DISTURBED_METRICS]
    if other := other_tier(folder, cache.parent):
        mean = (chances + answers(other, clear, cache)) / 2
        measured += _measure_part(f"{_SPLIT}, average with {other.name}", mean, labels, "average")
    card = read_card(folder / CARD_FILE)
    return Evaluation(folder.name, "face", tier, card.licence, tuple(measured))


def answers(folder: Path, faces: Faces, cache: Path) -> np.ndarray:
    """Return calibrated (n, 8) probabilities; the logits are cached for the next time.

    A model of the seven expressions gives none to contempt.
    """
    card = read_card(folder / CARD_FILE)

    def answer() -> np.ndarray:
        net = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
        side = int(AutoImageProcessor.from_pretrained(folder).size["height"])
        return predict(net, replace(faces, side=side), pass_batch_through)

    logits = load_or_make(cache, [*model_files(folder), faces.images.tobytes()], answer)
    given = apply_calibration(card.calibration, logits)
    names = output_names(card.model_id, AutoConfig.from_pretrained(folder))
    found = np.zeros((len(given), len(FACE_LABELS)))
    for column, label in enumerate(FACE_LABELS):
        name = label if label in names or label == "contempt" else str(to_ekman(label))
        if name in names:
            found[:, column] = given[:, names.index(name)]
    return found


def _disturb(images: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return the images blurred and with noise, each under the name of its level."""
    found = [
        (f"blur of {sigma} px", np.stack([gaussian_filter(image, sigma) for image in images]))
        for sigma in _BLURS
    ]
    rng = np.random.default_rng(0)
    for level in _NOISES:
        noisy = images + rng.normal(0, level, images.shape)
        found.append((f"noise of {level} grey levels", noisy.clip(0, 255).astype(np.uint8)))
    return found


def _measure_part(split: str, chances: np.ndarray, labels: np.ndarray, what: str) -> list[Measured]:
    """Return accuracy, and calibration error under a name of its own.

    Rows without a majority have no one true label, and disturbed images are no test set.
    """
    found = exclude_ece(measure_single_label(split, chances, labels), what)
    return [m for m in found if m.metric in {"accuracy", f"ece, {what}"}]


def _measure_shipped(
    split: str, folder: Path, images: np.ndarray, labels: np.ndarray
) -> list[Measured]:
    """Judge what the pipeline would say of these images of 48 x 48 pixels."""
    media = []
    for image in images:
        file = BytesIO()
        Image.fromarray(image).save(file, "PNG")
        media.append(file.getvalue())
    return measure_as_shipped(split, "face", folder, media, _SHOWN[labels])
