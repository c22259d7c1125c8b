"""Heads: what each output of a net answers, and the loss of each kind of answer.

A net gives ``logits`` (n, outputs). The first seven are the shared head, the expressions of the
vocabulary; ``valence`` and ``arousal`` are values in [-1, 1]; a corpus that asks in its own
vocabulary has a head of its own beside them. Targets are (n, outputs) floats, NaN where a row does
not answer that head.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model_serving.corpora.head import Head
from model_serving.training.recipe import Recipe
from schemas.vocabularies import EXPRESSIONS

SHARED = Head("expression", EXPRESSIONS, "single")
CIRCUMPLEX = Head("circumplex", ("valence", "arousal"), "value")
DEFAULT_HEADS = (SHARED, CIRCUMPLEX)


def id2label(heads: Sequence[Head]) -> dict[int, str]:
    """Name every output: labels of the shared and circumplex heads as they are, others prefixed."""
    names = [
        label if head.name in {SHARED.name, CIRCUMPLEX.name} else f"{head.name}:{label}"
        for head in heads
        for label in head.labels
    ]
    return dict(enumerate(names))


def label_maps(labels: Mapping[int, str]) -> dict[str, Any]:
    """Return what a transformers configuration wants to know of these outputs' names."""
    return {"id2label": labels, "label2id": {name: index for index, name in labels.items()}}


def card_labels(heads: Sequence[Head]) -> dict[str, str | None]:
    """Return the card's ``labels``: only the shared head speaks for the pipeline."""
    return {name: name if name in EXPRESSIONS else None for name in id2label(heads).values()}


def slices(heads: Sequence[Head]) -> Iterator[tuple[Head, slice]]:
    """Yield each head with the columns that it has in logits and targets."""
    start = 0
    for head in heads:
        yield head, slice(start, start + len(head.labels))
        start += len(head.labels)


def columns(heads: Sequence[Head], name: str) -> slice:
    """Return the columns of the head of this name."""
    return next(part for head, part in slices(heads) if head.name == name)


def blank_targets(count: int, heads: Sequence[Head]) -> np.ndarray:
    """Return (count, outputs) targets of which nothing is known yet."""
    return np.full((count, sum(len(head.labels) for head in heads)), np.nan, np.float32)


def class_weights(targets: np.ndarray, power: float) -> Tensor:
    """Return a loss weight a class from (n, k) targets: frequency to minus this power, mean 1."""
    known = targets[~np.isnan(targets).any(axis=1)]
    counts = known.sum(axis=0)
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0.0)
    total = (weights * counts).sum()
    scale = counts.sum() / total if total else 1.0
    return torch.tensor(weights * scale, dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class HeadLoss:
    """Cross-entropy, binary cross-entropy or squared error of each head, by the rows that know it.

    ``weights`` are class weights by head name. Where a batch has ``teacher`` logits (n, outputs;
    NaN where there are none), ``share`` of the loss is the divergence from them at ``temperature``
    (Hinton et al., 2015).
    """

    heads: tuple[Head, ...]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    smoothing: float = 0.0
    share: float = 0.0
    temperature: float = 1.0

    @classmethod
    def of(
        cls, recipe: Recipe, heads: tuple[Head, ...], weights: Mapping[str, Tensor] | None = None
    ) -> "HeadLoss":
        """Return the recipe's loss: its label smoothing, and its teachers' share."""
        taught = recipe.distil
        share, temperature = (taught.share, taught.temperature) if taught else (0.0, 1.0)
        smoothing = recipe.schedule.label_smoothing
        return cls(heads, weights or {}, smoothing, share, temperature)

    def __call__(self, output: Any, batch: Mapping[str, Tensor]) -> Tensor:
        logits = output.logits.float()
        teacher = batch.get("teacher")
        share = self.share if teacher is not None else 0.0
        total = logits.sum() * 0.0  # a batch without any label still has a gradient
        for head, part in slices(self.heads):
            if share < 1:
                total = total + (1 - share) * self._label_loss(
                    head, logits[:, part], batch["labels"][:, part]
                )
            if teacher is not None:
                total = total + share * self._teacher_loss(head, logits[:, part], teacher[:, part])
        return total

    def _label_loss(self, head: Head, logits: Tensor, targets: Tensor) -> Tensor:
        known = ~targets.isnan().any(dim=1)
        if not known.any():
            return logits.new_zeros(())
        logits, targets = logits[known], targets[known]
        weight = self.weights.get(head.name)
        weight = None if weight is None else weight.to(logits.device)
        if head.kind == "single":
            loss = functional.cross_entropy(
                logits, targets, weight, label_smoothing=self.smoothing, reduction="none"
            )
        elif head.kind == "multi":
            loss = functional.binary_cross_entropy_with_logits(
                logits, targets, weight=weight, reduction="none"
            ).sum(dim=1)
        else:
            loss = (logits - targets).square().sum(dim=1)
        return head.weight * loss.sum() / len(known)

    def _teacher_loss(self, head: Head, logits: Tensor, teacher: Tensor) -> Tensor:
        known = ~teacher.isnan().any(dim=1)
        if not known.any():
            return logits.new_zeros(())
        logits, teacher, heat = logits[known], teacher[known], self.temperature
        if head.kind == "single":
            loss = functional.kl_div(
                (logits / heat).log_softmax(dim=1),
                (teacher / heat).log_softmax(dim=1),
                reduction="none",
                log_target=True,
            ).sum(dim=1) * (heat * heat)
        elif head.kind == "multi":
            loss = functional.binary_cross_entropy_with_logits(
                logits / heat, (teacher / heat).sigmoid(), reduction="none"
            ).sum(dim=1) * (heat * heat)
        else:
            loss = (logits - teacher).square().sum(dim=1)
        return head.weight * loss.sum() / len(known)
