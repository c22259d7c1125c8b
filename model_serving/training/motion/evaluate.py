"""Evaluation of the motion model on generated frames: by other seeds, and in a harder setting."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

import model_serving.motion.net  # noqa: F401 - registers ``motion_mlp``
from model_serving.calibration import apply_calibration
from model_serving.card import CARD_FILE, read_card
from model_serving.corpora.motion import HARDER, PLAIN
from model_serving.labels import order_by_name, output_names
from model_serving.training.evaluation import Evaluation, Measured, Tier, measure_single_label
from model_serving.training.motion.train import draw
from schemas.vocabularies import EXPRESSIONS

_TEST_SEED = 70_001  # far from any seed a person would train with
_ROWS = 7000


def evaluate(folder: Path, data: Path, tier: Tier, cache: Path) -> Evaluation:
    """Measure the motion model in ``folder``; neither corpora nor a cache are needed."""
    del data, cache
    card = read_card(folder / CARD_FILE)
    net = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rng = np.random.default_rng(_TEST_SEED)
    measured: list[Measured] = []
    for split, style in (("generated, other seed", PLAIN), ("generated, harder", HARDER)):
        test = draw(_ROWS, rng, style)
        with torch.inference_mode():
            logits = net(test["motion_values"]).logits.numpy()
        logits = order_by_name(logits, output_names(card.model_id, net.config), EXPRESSIONS)
        chances = apply_calibration(card.calibration, logits)
        measured += measure_single_label(split, chances, test["labels"].argmax(dim=1).numpy())
    return Evaluation(folder.name, "motion", tier, card.licence, tuple(measured))
