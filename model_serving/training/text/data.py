"""The rows of the text models: which corpora a recipe may use, token ids, targets, batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from model_serving.corpora.head import Head
from model_serving.corpora.text import CORPORA, Corpus, Rows
from model_serving.text.front_end import Reader
from model_serving.training.harness import Batch
from model_serving.training.heads import CIRCUMPLEX, SHARED, blank_targets, columns
from model_serving.training.recipe import Recipe
from schemas.errors import AffectstreamError

PAD = 1
_COMMON_LENGTH = 10  # shorter texts ("Yeah.") are everybody's and stay in training


def corpora_of(recipe: Recipe) -> list[Corpus]:
    """Return the corpora of the recipe; an open one that names research corpora is refused."""
    known = {corpus.name: corpus for corpus in CORPORA}
    unknown = sorted(set(recipe.corpora) - set(known))
    if unknown:
        message = f"recipe {recipe.name}: {unknown} are no text corpora: {sorted(known)}"
        raise AffectstreamError(message)
    chosen = [known[name] for name in recipe.corpora]
    closed = [corpus.name for corpus in chosen if not corpus.open]
    if recipe.licence == "open" and closed:
        message = (
            f"recipe {recipe.name} has `licence: open`, but {', '.join(closed)} may be used for "
            "research only: take them out, or set `licence: research`"
        )
        raise AffectstreamError(message)
    return chosen


def heads_of(corpora: Sequence[Corpus]) -> tuple[Head, ...]:
    """Return the shared head, valence and arousal, and the head of each corpus that has one."""
    return (SHARED, CIRCUMPLEX, *(corpus.head for corpus in corpora if corpus.head is not None))


def targets(corpus: Corpus, rows: Rows, heads: Sequence[Head]) -> np.ndarray:
    """Return (n, outputs) targets; a row of several expressions shares the shared head's mass."""
    found = blank_targets(len(rows), heads)
    if rows.shown is not None:
        found[:, columns(heads, SHARED.name)] = rows.shown / rows.shown.sum(axis=1, keepdims=True)
    if rows.own is not None and corpus.head is not None and corpus.head in heads:
        found[:, columns(heads, corpus.head.name)] = rows.own
    if rows.circumplex is not None:
        found[:, columns(heads, CIRCUMPLEX.name)] = rows.circumplex
    return found


def remove_texts(known: Mapping[str, Rows], unseen: Sequence[Rows]) -> dict[str, Rows]:
    """Take the texts of the ``unseen`` splits out of ``known``, but for very short ones."""
    taboo = {t.strip() for rows in unseen for t in rows.texts if len(t.strip()) > _COMMON_LENGTH}
    return {
        name: rows.take(np.array([i for i, t in enumerate(rows.texts) if t.strip() not in taboo]))
        for name, rows in known.items()
    }


def read_training(recipe: Recipe, data: Path) -> dict[str, Rows]:
    """Read the training rows of the recipe's corpora, less what is in any dev or test split."""
    corpora = corpora_of(recipe)
    unseen = [
        corpus.splits[split](data)
        for corpus in CORPORA
        for split in ("dev", "test")
        if split in corpus.splits
    ]
    return remove_texts({corpus.name: corpus.splits["train"](data) for corpus in corpora}, unseen)


@dataclass(frozen=True)
class Encoded(Dataset[Any]):
    """Rows as token ids and targets; ``teacher`` (n, outputs) where there is one.

    ``picked`` says which row an item is: a corpus that counts twice has each of its rows twice.
    """

    ids: list[list[int]]
    targets: np.ndarray
    picked: np.ndarray
    teacher: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.picked)

    def __getitem__(self, item: int) -> tuple[list[int], np.ndarray, np.ndarray | None]:
        row = int(self.picked[item])
        taught = None if self.teacher is None else self.teacher[row]
        return self.ids[row], self.targets[row], taught

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each item."""
        return np.array([len(ids) for ids in self.ids])[self.picked]


def encode(tokenizer: Any, texts: list[str], found: np.ndarray, tokens: int) -> Encoded:
    """Tokenise texts as the pipeline reads them, at most ``tokens`` each, beside their targets."""
    read = Reader(tokenizer).read_all(texts)
    ids = tokenizer(read, truncation=True, max_length=tokens)["input_ids"]
    return Encoded(ids, found, np.arange(len(texts)))


def collate(items: list[tuple[list[int], np.ndarray, np.ndarray | None]]) -> Batch:
    """Return the padded batch of these items."""
    ids = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(item[0]) for item in items], batch_first=True, padding_value=PAD
    )
    batch = {
        "input_ids": ids,
        "attention_mask": (ids != PAD).long(),
        "labels": torch.from_numpy(np.stack([item[1] for item in items])),
    }
    taught = [item[2] for item in items if item[2] is not None]
    if taught:
        batch["teacher"] = torch.from_numpy(np.stack(taught))
    return batch
