"""The shared training loop learns, keeps its best state, and writes folders that load."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from model_serving.card import ModelCard
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from model_serving.training.common import (
    ID2LABEL,
    LABELS,
    Schedule,
    find_model,
    fit,
    save_model,
    seed_everything,
)
from model_serving.training.heads import named
from schemas.errors import AffectstreamError
from tests.support import model_folders as folders


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

    def right() -> float:
        with torch.inference_mode():
            return float((net(values).logits.argmax(axis=1) == labels).float().mean())

    def score() -> float:
        seen.append(right())
        return seen[-1] if len(seen) < 4 else 0.0  # later epochs count as worse

    schedule = Schedule(epochs=9, steps_per_epoch=8, learning_rate=0.2, patience=2)
    best = fit(
        net,
        lambda _: (
            {"values": values[rows], "labels": labels[rows]}
            for rows in rng.permutation(512).reshape(8, 64)
        ),
        score,
        schedule,
    )
    assert best == max(seen[:3]) > 0.9
    assert len(seen) <= 3 + schedule.patience
    assert right() == best


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
        **named(ID2LABEL),
    )
    net = BertForSequenceClassification(config)
    card = ModelCard(name="x", version="1", modality="text", licence="open", labels=LABELS)
    save_model(tmp_path / "out", net, tokenizer, card)
    found = load_recogniser("text", str(tmp_path / "out"), None, "cpu")
    assert isinstance(found, NetRecogniser)
    assert {parameter.dtype for parameter in found.net.parameters()} == {torch.float32}
    assert {"config.json", "model.safetensors"} <= set(found.card.sha256)
    assert (tmp_path / "out" / "CARD.md").read_text().startswith("# x 1")
    assert net.classifier.weight.dtype == torch.float32
    assert torch.allclose(found.net.classifier.weight, net.classifier.weight, atol=1e-3)


def test_a_model_to_begin_with_is_the_one_built_here_or_the_shipped_one(tmp_path: Path) -> None:
    shipped = find_model("face-base", tmp_path)
    assert shipped.parent.name == "weights"
    (tmp_path / "models" / "face-base").mkdir(parents=True)
    assert find_model("face-base", tmp_path) == shipped  # a folder that a kill left half written
    (tmp_path / "models" / "face-base" / "card.json").write_text("{}")
    assert find_model("face-base", tmp_path) == tmp_path / "models" / "face-base"
    with pytest.raises(AffectstreamError, match=r"no model face-huge in .*models nor among"):
        find_model("face-huge", tmp_path)
