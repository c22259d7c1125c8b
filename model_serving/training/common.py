"""The loop of the fusion model's training, and what all share: labels, writing a model folder.

A batch is a dict of tensors for the net's ``forward`` plus ``labels``, indices into EXPRESSIONS;
the net returns an object with ``logits`` of width 7.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from model_serving.card import CARD_FILE, Figure, ModelCard, read_card, write_card
from model_serving.labels import read_outputs
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS

Batch = dict[str, Tensor]

_WEIGHT_DECAY = 0.01
_WARM_UP = 0.06

_SHIPPED = Path(__file__).resolve().parents[1] / "weights"

ID2LABEL = dict(enumerate(EXPRESSIONS))
LABELS: dict[str, str | None] = {name: name for name in EXPRESSIONS}
"""The ``labels`` of the card of a model that was trained on the vocabulary itself."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Epochs, and a learning rate with linear warm-up and cosine decay; stops after ``patience``.

    ``patience`` counts evaluations on dev without a better score.
    """

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    patience: int = 3


def seed_everything(seed: int) -> np.random.Generator:
    """Seed Python, numpy and torch, and return a generator for shuffles and augmentation."""
    random.seed(seed)
    np.random.seed(seed)  # libraries below draw from the global state
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def fit(
    net: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    score: Callable[[], float],
    schedule: Schedule,
) -> float:
    """Train in place and keep the state with the best dev score, which is returned.

    ``batches(epoch)`` gives the shuffled batches of an epoch, ``score()`` the dev score (higher
    is better) of the net as it stands.
    """
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=schedule.learning_rate, weight_decay=_WEIGHT_DECAY
    )
    steps = schedule.epochs * schedule.steps_per_epoch
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, _warm_up_cosine(steps))
    criterion = nn.CrossEntropyLoss()
    best, kept, stale = -np.inf, _state(net), 0
    for epoch in range(schedule.epochs):
        net.train()
        name = f"epoch {epoch + 1}/{schedule.epochs}"
        losses = []
        for batch in track(batches(epoch), description=name, total=schedule.steps_per_epoch):
            losses.append(_step(net, batch, criterion, optimiser))
            rates.step()
        found = score()
        print(f"{name}: loss {np.mean(losses):.4f}, dev score {found:.4f}", flush=True)
        if found > best:
            best, kept, stale = found, _state(net), 0
        else:
            stale += 1
        if stale >= schedule.patience:
            break
    net.load_state_dict(kept)
    return float(best)


def figures(split: str, found: dict[str, float]) -> list[Figure]:
    """Return these scores as dated figures for the card."""
    day = datetime.now(UTC).date().isoformat()
    return [
        Figure(split=split, metric=name, value=round(value, 4), date=day)
        for name, value in found.items()
    ]


def find_model(name: str, build: Path) -> Path:
    """Return the folder of a model that a training begins with: built here, else shipped.

    Raises AffectstreamError where it is in neither place.
    """
    places = (build / "models" / name, _SHIPPED / name)
    found = next((place for place in places if (place / CARD_FILE).is_file()), None)
    if found is None:
        message = (
            f"no model {name} in {places[0].parent} nor among the shipped weights: train it first, "
            "or put it there as the recipe's notes say"
        )
        raise AffectstreamError(message)
    return found


def save_model(folder: Path, net: Any, processor: Any | None, card: ModelCard) -> ModelCard:
    """Write a model folder: fp16 weights, config, processor files, card; return the card as read.

    Half precision halves the folder; the handler loads it as float32. Raises AffectstreamError, and
    writes nothing, where the card's labels are not the names of the net's outputs.
    """
    read_outputs(card, net.config)
    folder.mkdir(parents=True, exist_ok=True)
    net.half().save_pretrained(folder, safe_serialization=True)
    net.float()
    if processor is not None:
        processor.save_pretrained(folder)
    write_card(folder, card)
    return read_card(folder / CARD_FILE)


def _inputs(batch: Batch) -> Batch:
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def _step(
    net: nn.Module, batch: Batch, criterion: nn.Module, optimiser: torch.optim.Optimizer
) -> float:
    loss = criterion(net(**_inputs(batch)).logits, batch["labels"])
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def _warm_up_cosine(steps: int) -> Callable[[int], float]:
    first = max(1, int(_WARM_UP * steps))

    def rate(step: int) -> float:
        if step < first:
            return (step + 1) / first
        return 0.5 * (1 + float(np.cos(np.pi * (step - first) / max(1, steps - first))))

    return rate
