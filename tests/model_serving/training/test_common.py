"""Trainings write folders that load, and find the models that they begin with."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from model_serving.card import ModelCard
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from model_serving.training.common import find_model, save_model
from model_serving.training.heads import SHARED, card_labels, id2label, label_maps
from schemas.errors import AffectstreamError
from tests.support import model_folders as folders


def test_saved_folder_loads_as_float32(tmp_path: Path) -> None:
    source = folders.tiny_text(tmp_path / "source")
    tokenizer = load_recogniser("text", str(source), None, "cpu").front_end._tokenizer  # type: ignore[attr-defined]
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        **label_maps(id2label((SHARED,))),
    )
    net = BertForSequenceClassification(config)
    labels = card_labels((SHARED,))
    card = ModelCard(name="x", version="1", modality="text", licence="open", labels=labels)
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
