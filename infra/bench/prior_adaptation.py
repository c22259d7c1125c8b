"""What ``affectstream adapt text`` and ``adapt face`` bring: on other corpora, and other shares.

``python -m infra.bench.prior_adaptation --data CORPORA`` prints a table for each shipped model. Of
texts, every test split is a deployment of its own, as it is, and drawn again with other shares of
the expressions; of faces so are the clear test faces of FER+, and their darkest and brightest
fifths. Ten rows count as one subject.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageClassification

from model_serving.calibration import answer_of, scale_logits, softmax
from model_serving.card import CARD_FILE, ModelCard, read_card
from model_serving.corpora.text import CORPORA
from model_serving.metrics import (
    accuracy,
    confidence_and_hits,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
)
from model_serving.training.face.data import load_faces
from model_serving.training.face.train import FERPLUS
from model_serving.training.harness import pass_batch_through, predict
from model_serving.training.text.evaluate import Answers
from pipelines.config import WEIGHTS
from pipelines.models.adapt.priors import find_priors
from pipelines.models.adapt.shares import LEAST_DIFFERENCE, LEAST_EXPLAINED
from pipelines.show.markdown import markdown_table
from schemas.vocabularies import EXPRESSIONS

MOST_ROWS: Final = 2_500
DRAWN: Final = 1_500
SPREADS: Final = (1, 2, 4)
"""Parameters of the Dirichlet distribution that other shares are drawn from."""

HEAD: Final = (
    "deployment", "rows", "differs", "explained", "let through",
    "accuracy", "change", "macro-F1", "change", "ECE", "after",
)  # fmt: skip

Split = tuple[str, np.ndarray, np.ndarray]
"""A title, calibrated logits (n, k) and labels (n,)."""


def text_splits(folder: Path, data: Path, cache: Path) -> list[Split]:
    """Return the test splits of the corpora, and NLPCC, which has but one, as they are and drawn.

    NLPCC was learnt from by the model that is for research only.
    """
    found: list[Split] = []
    answers, rng = Answers(folder, cache), np.random.default_rng(1)
    columns = [answers.outputs.index(name) for name in EXPRESSIONS]
    for corpus in CORPORA:
        read = corpus.splits.get("test") or corpus.splits["train"]
        rows, labels = read(data).single()
        if not len(labels):
            continue
        some = np.sort(np.random.default_rng(0).permutation(len(labels))[:MOST_ROWS])
        logits = answers.to([rows.texts[row] for row in some])[:, columns]
        split = (corpus.name, scale_logits(answers.card.calibration, logits), labels[some])
        found.append(split)
        found += [draw_again(split, spread, rng) for spread in SPREADS]
    return found


def face_splits(folder: Path, data: Path) -> list[Split]:
    """Return the clear test faces of FER+ as they are, by light, and drawn with other shares."""
    net = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
    side = int(getattr(AutoConfig.from_pretrained(folder), "image_size", 48))
    faces = load_faces(data / FERPLUS, "test", side)
    clear = faces.take(faces.majority)
    calibration = read_card(folder / CARD_FILE).calibration
    logits = scale_logits(calibration, predict(net, clear, pass_batch_through))
    labels, light = clear.votes.argmax(axis=1), clear.images.mean(axis=(1, 2))
    rng = np.random.default_rng(1)
    dark, bright = light < np.quantile(light, 0.2), light > np.quantile(light, 0.8)
    parts = {"FER+ clear": np.ones(len(labels), bool), "darkest": dark, "brightest": bright}
    found: list[Split] = []
    for title, kept in parts.items():
        split = (title, logits[kept], labels[kept])
        found.append(split)
        found += [draw_again(split, spread, rng) for spread in SPREADS]
    return found


def draw_again(split: Split, spread: float, rng: np.random.Generator) -> Split:
    """Return rows of a split drawn with other shares of the labels."""
    title, logits, labels = split
    counts = np.bincount(labels, minlength=logits.shape[1])
    shares = rng.dirichlet(np.full(logits.shape[1], float(spread)))
    weights = shares[labels] / counts[labels]
    picked = rng.choice(len(labels), DRAWN, p=weights / weights.sum())
    return f"{title}, drawn ({spread})", logits[picked], labels[picked]


def measure(split: Split, card: ModelCard) -> list[str]:
    """Return the row of a deployment: how it differs, and its figures before and after."""
    title, logits, labels = split
    counts = np.array(card.calibration.answers)
    priors = find_priors(answer_of(softmax(logits)), np.arange(len(labels)) // 10, counts)
    least = max(LEAST_DIFFERENCE, 2 * priors.by_chance)
    passes = priors.differs >= least and priors.explained >= LEAST_EXPLAINED[card.modality]
    before, after = (_figures(each, labels) for each in (logits, logits + priors.bias))
    return [
        title,
        f"{len(labels):,}",
        f"{priors.differs:.2f}",
        f"{priors.explained:.2f}",
        "yes" if passes else "no",
        f"{before[0]:.3f}",
        f"{after[0] - before[0]:+.3f}",
        f"{before[1]:.3f}",
        f"{after[1] - before[1]:+.3f}",
        f"{before[2]:.3f}",
        f"{after[2]:.3f}",
    ]


def _figures(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Return accuracy, macro-F1 and ECE."""
    chances = softmax(logits)
    found = chances.argmax(axis=1)
    balance = macro_f1(confusion_matrix(labels, found, chances.shape[1]))
    error = expected_calibration_error(*confidence_and_hits(chances, labels))
    return accuracy(labels, found), balance, error


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("build/prior-adaptation"))
    given = parser.parse_args()
    for name in ("text-compact", "text-compact-open", "face-compact", "face-base"):
        folder = WEIGHTS / name
        card = read_card(folder / CARD_FILE)
        if card.modality == "text":
            splits = text_splits(folder, given.data, given.cache)
        else:
            splits = face_splits(folder, given.data)
        table = markdown_table(list(HEAD), [measure(split, card) for split in splits])
        print(f"## {card.model_id}\n\n{table}\n", flush=True)


if __name__ == "__main__":
    main()
