"""What the teachers of a compact model answer to its texts: the mean over one or more bases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import model_serving.text.net  # noqa: F401 - registers the base's architecture
from model_serving.card import read_card
from model_serving.labels import order_by_name, output_names
from model_serving.text.front_end import MAX_TOKENS, Reader
from model_serving.training.cache import load_or_make, model_files
from model_serving.training.harness import predict
from model_serving.training.heads import blank_targets, id2label
from model_serving.training.recipe import Recipe
from model_serving.training.text.data import collate, encode
from schemas.errors import AffectstreamError


def answers(
    teachers: Sequence[Path], recipe: Recipe, texts: list[str], heads: Sequence[Any], cache: Path
) -> np.ndarray:
    """Return the teachers' mean logits (texts, outputs), NaN where they lack an output.

    They are cached in ``cache`` by teacher and texts, so that a training that goes on after a kill
    finds them. A recipe for open use refuses a teacher that learnt from research data.
    """
    return np.mean([_of(folder, recipe, texts, heads, cache) for folder in teachers], axis=0)


def _of(
    folder: Path, recipe: Recipe, texts: list[str], heads: Sequence[Any], cache: Path
) -> np.ndarray:
    card = read_card(folder / "card.json")
    if recipe.licence == "open" and card.licence != "open":
        message = f"recipe {recipe.name} has `licence: open`, its teacher {card.name} has not"
        raise AffectstreamError(message)
    net, pieces = load(folder), tokenizer(folder)

    def answer() -> np.ndarray:
        encoded = encode(pieces, texts, blank_targets(len(texts), heads), MAX_TOKENS)
        lengths, title = encoded.lengths.tolist(), f"answers of {card.name}"
        return predict(net, encoded, collate, batch=256, lengths=lengths, title=title)

    read = Reader(pieces).read_all(texts)
    logits = load_or_make(cache, [*model_files(folder), *read], answer)
    names = output_names(card.model_id, net.config)
    return order_by_name(logits, names, list(id2label(heads).values()))


def load(folder: Path) -> Any:
    """Return the net of a model folder as float32, on the GPU where there is one."""
    net = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32
    )
    return net.to("cuda" if torch.cuda.is_available() else "cpu")


def tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder."""
    return AutoTokenizer.from_pretrained(folder)
