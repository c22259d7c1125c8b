"""The shared training loop learns, keeps its best state, and writes folders that load."""

from pathlib import Path
from types import SimpleNamespace

import model_folders as folders
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from model_serving.card import ModelCard
from model_serving.recogniser import NetRecogniser, load_recogniser
from model_serving.training.common import (
    ID2LABEL,
    LABEL2ID,
    LABELS,
    Schedule,
    class_weights,
    fit,
    logits_of,
    save_model,
    seed_everything,
    shuffled,
)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 7)

    def forward(self, values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.layer(values))


def test_loop_learns_and_keeps_the_best_state() -> None:
    rng = seed_everything(3)
    values = torch.randn(512, 2)
    labels = (values[:, 0] > 0).long()
    net = Linear()
    seen: list[float] = []

    def score() -> float:
        logits = logits_of(net, [{"values": values}])
        seen.append(float((logits.argmax(axis=1) == labels.numpy()).mean()))
        return seen[-1] if len(seen) < 4 else 0.0  # later epochs count as worse

    schedule = Schedule(epochs=9, steps_per_epoch=8, learning_rate=0.2, patience=2)
    best = fit(
        net,
        lambda _: ({"values": values[i], "labels": labels[i]} for i in shuffled(512, 64, rng)),
        score,
        schedule,
    )
    assert best == max(seen[:3]) > 0.9
    assert len(seen) <= 3 + schedule.patience
    kept = logits_of(net, [{"values": values}]).argmax(axis=1)
    assert (kept == labels.numpy()).mean() == best


def test_an_epoch_has_every_full_batch_once() -> None:
    rng = np.random.default_rng(0)
    parts = list(shuffled(10, 3, rng))
    assert [len(part) for part in parts] == [3, 3, 3]
    assert len(set(np.concatenate(parts).tolist())) == 9
    assert [len(part) for part in shuffled(2, 3, rng)] == [2]


def test_class_weights_are_one_on_average_and_higher_for_the_rare() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    weights = class_weights(labels, power=0.5)
    assert float(weights[torch.from_numpy(labels)].mean()) == pytest.approx(1)
    assert float(weights[1] / weights[0]) == pytest.approx(3)
    assert float(weights[2]) == 0


def test_seed_makes_runs_equal() -> None:
    first = (seed_everything(5).random(), torch.rand(1).item())
    assert (seed_everything(5).random(), torch.rand(1).item()) == first
    assert seed_everything(6).random() != first[0]


def test_saved_folder_loads_as_float32(tmp_path: Path) -> None:
    source = folders.tiny_text(tmp_path / "source")
    tokenizer = load_recogniser("text", str(source), None, "cpu").front_end._tokenizer  # type: ignore[attr-defined]
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=ID2LABEL,
        label2id=LABEL2ID,
    )
    net = BertForSequenceClassification(config)
    card = ModelCard(name="x", version="1", modality="text", licence="open", labels=LABELS)
    save_model(tmp_path / "out", net, tokenizer, card)
    found = load_recogniser("text", str(tmp_path / "out"), None, "cpu")
    assert isinstance(found, NetRecogniser)
    assert {parameter.dtype for parameter in found.net.parameters()} == {torch.float32}
    assert set(found.card.sha256) == {"model.safetensors"}
    assert (tmp_path / "out" / "CARD.md").read_text().startswith("# x 1")
    assert net.classifier.weight.dtype == torch.float32
    assert torch.allclose(found.net.classifier.weight, net.classifier.weight, atol=1e-3)
