"""Heads: which output is which, and what each kind of answer costs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from model_serving.corpora.head import Head
from model_serving.training.heads import (
    DEFAULT_HEADS,
    HeadLoss,
    blank_targets,
    card_labels,
    class_weights,
    columns,
    id2label,
)
from schemas.vocabularies import EXPRESSIONS

OWN = Head("own", ("good", "bad"), "multi", 0.5)
HEADS = (*DEFAULT_HEADS, OWN)


def loss(logits: torch.Tensor, targets: np.ndarray, **more: object) -> float:
    settings = {name: more.pop(name) for name in ("share", "temperature") if name in more}
    batch = {"labels": torch.from_numpy(targets), **more}
    return float(HeadLoss(HEADS, **settings)(SimpleNamespace(logits=logits), batch))  # type: ignore[arg-type]


def test_only_the_shared_head_speaks_for_the_pipeline() -> None:
    names = list(id2label(HEADS).values())
    assert names == [*EXPRESSIONS, "valence", "arousal", "own:good", "own:bad"]
    labels = card_labels(HEADS)
    assert [name for name, target in labels.items() if target] == list(EXPRESSIONS)


def test_each_head_counts_the_rows_that_know_it() -> None:
    logits = torch.randn(2, 11, generator=torch.Generator().manual_seed(0))
    targets = blank_targets(2, HEADS)
    assert loss(logits, targets) == 0
    targets[0, :7] = np.eye(7)[3]
    single = functional.cross_entropy(logits[:1, :7], torch.tensor([3]))
    assert loss(logits, targets) == pytest.approx(float(single) / 2)
    targets[1, columns(HEADS, "own")] = [1, 0]
    multi = functional.binary_cross_entropy_with_logits(
        logits[1, 9:], torch.tensor([1.0, 0.0]), reduction="sum"
    )
    assert loss(logits, targets) == pytest.approx(float(single + 0.5 * multi) / 2, rel=1e-5)
    targets[1, columns(HEADS, "circumplex")] = [0.5, -0.5]
    value = (logits[1, 7:9] - torch.tensor([0.5, -0.5])).square().sum()
    whole = single + 0.5 * multi + value
    assert loss(logits, targets) == pytest.approx(float(whole) / 2, rel=1e-5)


def test_a_student_that_answers_as_its_teacher_has_no_single_label_loss() -> None:
    logits = torch.randn(3, 11)
    teacher = logits.clone()
    teacher[:, 7:] = torch.nan
    targets = blank_targets(3, HEADS)
    found = loss(logits, targets, teacher=teacher, share=1.0, temperature=2.0)
    assert found == pytest.approx(0, abs=1e-6)
    teacher[:, 0] += 3
    assert loss(logits, targets, teacher=teacher, share=1.0, temperature=2.0) > 0.1


def test_class_weights_are_one_on_average_and_higher_for_the_rare() -> None:
    targets = np.eye(7, dtype=np.float32)[[0] * 90 + [1] * 10 + [2]]
    targets[-1] = np.nan
    weights = class_weights(targets, power=0.5)
    assert float((weights * torch.tensor([90.0, 10, 0, 0, 0, 0, 0])).sum() / 100) == pytest.approx(
        1
    )
    assert float(weights[1] / weights[0]) == pytest.approx(3)
    assert float(weights[2]) == 0
