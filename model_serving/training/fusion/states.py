"""States of text encoders: what each layer makes of a text, before anything is learnt of them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_serving.text.front_end import MAX_TOKENS
from model_serving.training.cache import load_or_make, model_files
from model_serving.training.common import find_model
from model_serving.training.text.start import build_base, fetch_start, prune
from model_serving.training.text.teacher import load, tokenizer

START = "multilingual-e5-small"
"""What text-base begins with: a package carries its weights, which learnt from no emotion."""

_QUERY = "query: "  # how e5's training marked a text
_PIECES = 100_000  # more than the texts of one corpus need
_BATCH = 32


def read_states(name: str, texts: list[str], build: Path) -> np.ndarray:
    """Return (n, layers, width) states of the texts; a cache under ``build`` saves them.

    ``name`` is ``START``, or a model folder under ``build/models`` or among the shipped weights.
    """
    cache = build / "answers"
    if name == START:
        return load_or_make(cache, [START, *texts], lambda: _encode_by_start(texts, build))
    folder = find_model(name, build)

    def encode() -> np.ndarray:
        return _encode(tokenizer(folder), load(folder), texts)

    return load_or_make(cache, ["states", *model_files(folder), *texts], encode)


def _encode_by_start(texts: list[str], build: Path) -> np.ndarray:
    marked = [_QUERY + text for text in texts]
    start = fetch_start(build)
    pieces, order = prune(start, marked, _PIECES, lower=False)
    net = build_base(start, order, {0: "unused", 1: "unused as well"})
    return _encode(pieces, net, marked)


def _encode(pieces: Any, net: Any, texts: list[str]) -> np.ndarray:
    """Return the mean over the tokens of each text, of every layer."""
    net.eval()
    found = []
    for start in range(0, len(texts), _BATCH):
        batch = pieces(
            texts[start : start + _BATCH],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
        ).to(net.device)
        given = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            layers = net(**given, output_hidden_states=True).hidden_states
        mask = given["attention_mask"].unsqueeze(2).float()
        means = [(layer * mask).sum(dim=1) / mask.sum(dim=1) for layer in layers]
        found.append(torch.stack(means, dim=1).float().cpu().numpy())
    return np.concatenate(found)
