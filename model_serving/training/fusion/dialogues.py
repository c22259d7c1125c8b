"""Training of fusion on dialogues: scores of each modality, window by window, and their context."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model_serving.fusion_net import AttentionFusion, AttentionFusionConfig, Context

_BATCH = 8  # dialogues
_CLIP = 1.0
_ALIKE = 0.5  # of the dialogues lack the same modalities in all their windows


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Windows of dialogues: log-scores (n, m, k) of each modality, labels (n,), and their places.

    ``present`` (n, m) is true where a modality is there; ``dialogue`` (n,) numbers the dialogue
    of a window, ``position`` (n,) its place there.
    """

    logs: np.ndarray
    present: np.ndarray
    labels: np.ndarray
    dialogue: np.ndarray
    position: np.ndarray

    def take(self, rows: np.ndarray) -> "Dialogues":
        """Return these rows: positions or a mask."""
        return Dialogues(
            self.logs[rows],
            self.present[rows],
            self.labels[rows],
            self.dialogue[rows],
            self.position[rows],
        )

    def only(self, modalities: np.ndarray) -> "Dialogues":
        """Return the same windows with nothing but these modalities (m,) true."""
        return replace(self, present=self.present & modalities)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a training on dialogues can be given.

    ``missing`` is how often a modality is left out of a window; ``noise`` (m,) is the deviation of
    what is added to the log-odds of a modality whose vectors saw the labels, and ``worth`` (m,)
    what the configuration of the net says of each modality.
    """

    context: Context = "past"
    modalities: tuple[str, ...] = ("text",)
    width: int = 16
    epochs: int = 30
    learning_rate: float = 5e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    missing: float = 0.3
    noise: tuple[float, ...] = (0.0,)
    worth: tuple[float, ...] = (1.0,)


def fit_dialogues(
    train: Dialogues, settings: Settings, seed: int, features: Mapping[str, int] | None = None
) -> AttentionFusion:
    """Return a fusion net that was trained for all epochs on these dialogues, by AdamW.

    Of the modalities with ``features``, which are the widths of their vectors, the layer from
    vectors to scores stays at random: ``set_judges`` sets it.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    classes = train.logs.shape[2]
    net = AttentionFusion(
        AttentionFusionConfig(
            width=settings.width,
            dropout=settings.dropout,
            modalities=settings.modalities,
            num_labels=classes,
            features=features,
            gated=True,
            context=settings.context,
            worth=dict(zip(settings.modalities, settings.worth, strict=True)),
        )
    )
    names = np.unique(train.dialogue)
    steps = settings.epochs * -(-len(names) // _BATCH)
    learner = torch.optim.AdamW(
        net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(learner, settings.learning_rate, steps)
    noise = np.array(settings.noise)[:, None] / np.sqrt(2)  # of a difference of two
    scale = keep_spread(train.logs, noise)
    net.train()
    for _ in range(settings.epochs):
        order = rng.permutation(names)
        for start in range(0, len(names), _BATCH):
            part = train.take(np.isin(train.dialogue, order[start : start + _BATCH]))
            logs = scale * (part.logs + noise * rng.standard_normal(part.logs.shape))
            left = _leave_out(part, settings.missing, rng)
            part = replace(part, logs=logs, present=left)
            truth = torch.from_numpy(part.labels)
            loss = functional.cross_entropy(net(**to_inputs(part)).logits, truth)
            learner.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), _CLIP)
            learner.step()
            rate.step()
    return net.eval()


def keep_spread(logs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the factors (m, 1) by which log-scores with noise spread no wider than those without.

    Dialogues that a net has not seen come without noise, and it should find them in the same range.
    """
    apart = logs - logs.mean(axis=2, keepdims=True)
    own = (apart**2).mean(axis=(0, 2))[:, None]
    added = noise**2 * (1 - 1 / logs.shape[2])
    return np.asarray(np.sqrt(own / np.maximum(own + added, 1e-12)))


def _leave_out(part: Dialogues, missing: float, rng: np.random.Generator) -> np.ndarray:
    """Return (n, m) which modalities are left: window by window, or alike in a whole dialogue."""
    left = part.present & (rng.random(part.present.shape) >= missing)
    modalities = left.shape[1]
    for name in np.unique(part.dialogue):
        if missing and rng.random() < _ALIKE:
            some = rng.integers(1, 2**modalities) >> np.arange(modalities) & 1
            rows = part.dialogue == name
            left[rows] = part.present[rows] & (some > 0)
    return left


def set_judges(net: AttentionFusion, fitted: Mapping[str, Any]) -> None:
    """Set the layers from vectors to scores to these regressions of standardised vectors."""
    for name, (scaler, regression) in fitted.items():
        weight, bias = regression.coef_, regression.intercept_
        if len(weight) == 1:  # two classes: half of the log-odds to each
            weight, bias = (np.concatenate([-each, each]) / 2 for each in (weight, bias))
        weight = weight / scaler.scale_
        state = {"weight": weight, "bias": bias - weight @ scaler.mean_}
        net.judge[name].load_state_dict({key: torch.from_numpy(of) for key, of in state.items()})


def judge_vectors(
    net: AttentionFusion, vectors: Mapping[str, np.ndarray], windows: Dialogues
) -> np.ndarray:
    """Return the (n, k) probabilities of these windows by their vectors, not by their scores."""
    given = to_inputs(windows)
    every = [vectors[name] for name in net.config.modalities]
    given["features"] = torch.from_numpy(np.concatenate(every, axis=1)).float()
    with torch.inference_mode():
        return np.asarray(net(**given).logits.softmax(dim=1).numpy())


def judge_dialogues(net: AttentionFusion, windows: Dialogues) -> np.ndarray:
    """Return the (n, k) probabilities that the net gives these windows."""
    with torch.inference_mode():
        return np.asarray(net(**to_inputs(windows)).logits.softmax(dim=1).numpy())


def to_inputs(windows: Dialogues) -> dict[str, Tensor]:
    """Return what ``AttentionFusion`` takes of these windows."""
    scores = torch.from_numpy(windows.logs).float().softmax(dim=2)
    return {
        "counts": torch.from_numpy(windows.present.astype(np.int64)),
        "scores": scores,
        "confidence": scores.amax(dim=2),
        "dialogue": torch.from_numpy(windows.dialogue),
        "position": torch.from_numpy(windows.position),
    }
