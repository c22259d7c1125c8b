"""What base answered while it learnt, kept for the compact model to learn from.

An answer is recorded in the training pass itself, before the step that learns from that row: in
the last epoch it costs nothing, and no row's answer is one that was learnt by heart.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from model_serving.training.harness import Batch
from model_serving.training.heads import HeadLoss
from schemas.errors import AffectstreamError

_ANSWERS, _NAMES, _TEXTS = "answers.npy", "answers.txt", "answers-texts.txt"


class Recorder:
    """A loss that also writes the net's answers, by row, to a file in the run's folder."""

    def __init__(
        self, loss: HeadLoss, folder: Path, texts: list[str], labels: Mapping[int, str]
    ) -> None:
        self._loss = loss
        self._path = folder / _ANSWERS
        self._shape = (len(texts), len(labels))
        self._about = {
            _NAMES: "\n".join(labels.values()),
            _TEXTS: "\n".join(map(_digest, texts)),
        }
        self._answers: np.memmap[Any, Any] | None = None

    def __call__(self, output: Any, batch: Batch) -> Tensor:
        if self._answers is None:
            self._answers = self._open()
        self._answers[batch["rows"].cpu().numpy()] = output.logits.detach().float().cpu().numpy()
        return self._loss(output, batch)

    def _open(self) -> "np.memmap[Any, Any]":
        """Open the file of a run that goes on, or a new one in which nothing is known."""
        if self._path.is_file():
            return np.lib.format.open_memmap(self._path, mode="r+")
        for name, text in self._about.items():
            (self._path.parent / name).write_text(text, encoding="utf-8")
        answers = np.lib.format.open_memmap(self._path, "w+", np.float32, self._shape)
        answers[:] = np.nan
        return answers


def read(folder: Path, texts: list[str], labels: Mapping[int, str]) -> np.ndarray:
    """Return the recorded answers (texts, outputs) to these texts; NaN where there is none.

    Raises AffectstreamError where base was not trained in this run folder.
    """
    if not (folder / _ANSWERS).is_file():
        message = f"no answers of a base model in {folder}: train the recipe {folder.name} first"
        raise AffectstreamError(message)
    answers = np.load(folder / _ANSWERS)
    names = (folder / _NAMES).read_text(encoding="utf-8").split("\n")
    digests = (folder / _TEXTS).read_text(encoding="utf-8").split("\n")
    at = {digest: row for row, digest in enumerate(digests)}
    found = np.full((len(texts), len(labels)), np.nan, np.float32)
    rows = np.array([at.get(_digest(text), -1) for text in texts])
    for output, name in labels.items():
        if name in names:
            found[rows >= 0, output] = answers[rows[rows >= 0], names.index(name)]
    return found


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
