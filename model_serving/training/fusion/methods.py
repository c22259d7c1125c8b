"""What fusion is compared with on feature vectors: each modality alone, and four plain ways."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

FOLDS = 5
# Inverse of the penalty on a logistic regression. Of .0003, .001, .003 and .01 it was right most
# often on train videos that were held out, by e5's tenth layer: .833.
_PENALTY = 1e-3


def regress() -> Any:
    """Return a logistic regression of standardised vectors, not fitted yet."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=1000))


def held_out_accuracy(vectors: np.ndarray, labels: np.ndarray, dialogue: np.ndarray) -> float:
    """Return how often a regression is right on dialogues that it did not see."""
    found = cross_val_score(regress(), vectors, labels, groups=dialogue, cv=GroupKFold(FOLDS))
    return float(found.mean())


@dataclass(frozen=True, slots=True)
class Alone:
    """What a regression of each modality's vectors says alone, by modality: log-scores (n, k).

    ``held_out`` is of the training rows, each by a regression that saw nothing of its dialogue;
    ``test`` is of the test rows, by ``fitted``, which saw all of the training rows.
    """

    held_out: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    fitted: dict[str, Any]


def judge_alone(
    train: Mapping[str, np.ndarray],
    labels: np.ndarray,
    dialogue: np.ndarray,
    test: Mapping[str, np.ndarray],
) -> Alone:
    """Return what each modality says alone: vectors (n, width) by modality."""
    folds = GroupKFold(FOLDS)
    held_out, judged, fitted = {}, {}, {}
    for name, vectors in train.items():
        held_out[name] = cross_val_predict(
            regress(), vectors, labels, groups=dialogue, cv=folds, method="predict_log_proba"
        )
        fitted[name] = regress().fit(vectors, labels)
        judged[name] = fitted[name].predict_log_proba(test[name])
    return Alone(held_out, judged, fitted)


def fuse_early(
    train: Mapping[str, np.ndarray], labels: np.ndarray, test: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return the (n, k) scores of one regression on all vectors side by side."""
    every = np.concatenate(list(train.values()), axis=1)
    fitted = regress().fit(every, labels)
    return np.asarray(fitted.predict_proba(np.concatenate(list(test.values()), axis=1)))


def fuse_late(alone: Alone, labels: np.ndarray) -> np.ndarray:
    """Return the (n, k) scores of a regression on the held-out scores of the modalities."""
    fitted = LogisticRegression().fit(np.concatenate(list(alone.held_out.values()), axis=1), labels)
    return np.asarray(fitted.predict_proba(np.concatenate(list(alone.test.values()), axis=1)))


def average(logs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the mean (n, k) of the scores of the modalities."""
    return np.asarray(np.mean([np.exp(each) for each in logs.values()], axis=0))


class _TensorFusion(nn.Module):
    """The outer product of all modalities' projections, each with a 1 (Zadeh et al., 2017)."""

    def __init__(self, widths: list[int], classes: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        sizes = [16, *[8] * (len(widths) - 1)]
        self.project = nn.ModuleList(
            nn.Linear(wide, size) for wide, size in zip(widths, sizes, strict=True)
        )
        self.decide = nn.Linear(int(np.prod([size + 1 for size in sizes])), classes)

    def forward(self, vectors: list[Tensor]) -> Tensor:
        product = vectors[0].new_ones(len(vectors[0]), 1)
        for layer, vector in zip(self.project, vectors, strict=True):
            each = functional.pad(functional.relu(layer(self.dropout(vector))), (1, 0), value=1.0)
            product = torch.einsum("ni,nj->nij", product, each).flatten(1)
        return self.decide(self.dropout(product))


def fuse_tensors(
    train: Mapping[str, np.ndarray], labels: np.ndarray, test: Mapping[str, np.ndarray], seed: int
) -> np.ndarray:
    """Return the (n, k) scores of tensor fusion after 15 epochs of AdamW."""
    torch.manual_seed(seed)
    scalers = [StandardScaler().fit(vectors) for vectors in train.values()]
    given, asked = (
        [
            torch.from_numpy(scaler.transform(vectors)).float()
            for scaler, vectors in zip(scalers, part.values(), strict=True)
        ]
        for part in (train, test)
    )
    truth = torch.from_numpy(labels)
    net = _TensorFusion([each.shape[1] for each in given], int(labels.max()) + 1)
    learner = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.1)
    for _ in range(15):
        for rows in torch.split(torch.randperm(len(labels)), 64):
            learner.zero_grad()
            loss = functional.cross_entropy(net([each[rows] for each in given]), truth[rows])
            torch.autograd.backward(loss)
            learner.step()
    with torch.inference_mode():
        return np.asarray(net.eval()(asked).softmax(dim=1).numpy())
