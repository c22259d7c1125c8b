"""Evaluation of the motion model on generated frames: other seeds, harder ones, parts of a face."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from transformers import AutoModel

import model_serving.motion.net  # noqa: F401 - registers ``motion_mlp``
from model_serving.calibration import apply_calibration
from model_serving.card import CARD_FILE, read_card
from model_serving.corpora.motion import HARDER, PLAIN
from model_serving.labels import order_by_name, output_names
from model_serving.motion.tracked import judge_frames, mirror_sides
from model_serving.training.evaluation import Evaluation, Measured, Tier, measure_single_label
from model_serving.training.motion.train import draw
from schemas.arkit import AU_BLENDSHAPES, BLENDSHAPES
from schemas.vocabularies import EXPRESSIONS

_TEST_SEED = 70_001  # far from any seed a person would train with
_ROWS = 7000
_SPLITS: Final = (
    ("generated, other seed", PLAIN, ()),
    ("generated, harder", HARDER, ()),
    ("generated, without brows", PLAIN, (1, 2, 4)),
    ("generated, without the upper face", PLAIN, (1, 2, 4, 5, 6, 7)),
)
"""Name, style, and action units of which no shape is tracked."""


def evaluate(folder: Path, data: Path, tier: Tier, cache: Path) -> Evaluation:
    """Measure the motion model in ``folder``; neither corpora nor a cache are needed."""
    del data, cache
    card = read_card(folder / CARD_FILE)
    net = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rng = np.random.default_rng(_TEST_SEED)
    measured: list[Measured] = []
    for split, style, units in _SPLITS:
        test = draw(_ROWS, rng, style)
        frames = test["motion_values"].numpy()
        quality = _leave_out(frames, units)[:, None]
        with torch.inference_mode():
            logits = net(torch.from_numpy(frames)).logits.numpy()
        logits = order_by_name(logits, output_names(card.model_id, net.config), EXPRESSIONS)
        chances = apply_calibration(card.calibration, logits)
        chances = quality * chances + (1 - quality) / len(EXPRESSIONS)
        measured += measure_single_label(split, chances, test["labels"].argmax(dim=1).numpy())
    return Evaluation(folder.name, "motion", tier, card.licence, tuple(measured))


def _leave_out(frames: np.ndarray, units: tuple[int, ...]) -> np.ndarray:
    """Leave the shapes of these units out of frames, in place; return how much can be judged."""
    tracked = np.ones((len(frames), len(BLENDSHAPES)), bool)
    tracked[:, [BLENDSHAPES.index(name) for unit in units for name in AU_BLENDSHAPES[unit]]] = False
    shapes = frames[:, : len(BLENDSHAPES)]
    shapes[~tracked] = 0
    mirror_sides(shapes, tracked)
    return judge_frames(shapes, tracked)[0]
