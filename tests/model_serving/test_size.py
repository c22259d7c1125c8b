"""A model folder that claims to be huge is refused before it is allocated, and read at all."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download
from transformers import AutoConfig, AutoModelForSequenceClassification

from model_serving.card import check_files, read_card, write_card
from model_serving.fusion import SHIPPED, load_fusion
from model_serving.loader import load_recogniser
from pipelines.config import WEIGHTS
from schemas.errors import AffectstreamError
from tests.support import model_folders as folders

LABELS = {"NEG": "sadness", "POS": "joy", "MAD": "anger"}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return folders.tiny_text(tmp_path / "text")


def with_settings(model: Path, **changes: Any) -> None:
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_header(path: Path, header: dict[str, Any], more: bytes = b"") -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + more)


def refused(model: Path, reason: str) -> None:
    """Expect this reason within a tenth of the memory that the claim would take."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AffectstreamError, match=reason):
        load_recogniser("text", str(model), None, "cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # kB


def test_a_net_of_many_layers_takes_memory_without_that_look(text: Path) -> None:
    """The attack: 2,000 of its 100,000 layers, built where nothing has memory yet."""
    with_settings(text, num_hidden_layers=2_000)
    net = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(text))
    assert len(list(net.parameters())) > 30_000


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_hidden_layers": 100_000}, "num_hidden_layers 100,000, and its weights hold"),
        ({"encoder": {"n_layer": 5_000}}, "n_layer 5,000"),
        ({"depths": [3, 100_000]}, "depths 100,000"),
        ({"hidden_size": 1 << 40}, "hidden_size"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"num_labels": 10**9, "id2label": None, "label2id": None}, "num_labels"),
        ({"hidden_size": 1 << 20, "intermediate_size": 1 << 20}, "config.json asks for"),
        ({"type_vocab_size": 1 << 20, "vocab_size": 1 << 20}, "config.json asks for"),
        ({"padding": "x" * (2 << 20)}, "config.json has 2,0"),
    ],
)
def test_settings_that_the_weights_cannot_fill(
    text: Path, changes: dict[str, Any], reason: str
) -> None:
    with_settings(text, **changes)
    refused(text, reason)


def test_a_tensor_of_a_terabyte(text: Path) -> None:
    tensor = {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}
    with_header(text / "model.safetensors", {"huge": tensor})
    refused(
        text,
        "not a whole safetensors file: it declares 1,099,511,627,776 bytes of tensors, and holds 0",
    )


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "more.txt"])
def test_a_sparse_file_of_a_terabyte(text: Path, name: str) -> None:
    with (text / name).open("ab") as file:
        file.truncate(1 << 40)
    write = text / "card.json"
    card = json.loads(write.read_text()) | {"sha256": {name: "0" * 64}}
    write.write_text(json.dumps(card))
    refused(text, "more than the 17,179,869,184 of a model")


def test_a_tokenizer_of_a_gigabyte(text: Path) -> None:
    with (text / "tokenizer.json").open("ab") as file:
        file.truncate(1 << 30)
    refused(text, r"tokenizer\.json has 1,073,741,824 bytes")


def test_too_many_tensors_and_headers_that_are_none(text: Path) -> None:
    weights = text / "model.safetensors"
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    with_header(weights, {f"t{number}": tensor for number in range(10_001)})
    refused(text, "10,001 tensors, more than the 10,000")
    for header in ([], {"a": 1}, {"a": {"shape": "x", "data_offsets": [0, 0]}}, {"a": {}}):
        with_header(weights, header)  # type: ignore[arg-type]
        refused(text, r"model\.safetensors is not a whole safetensors file: its header is none")
    weights.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    refused(text, "its header has 1,099,511,627,776 bytes")
    weights.write_bytes(b"")
    with pytest.raises(AffectstreamError, match=r"model\.safetensors|can't be loaded"):
        load_recogniser("text", str(text), None, "cpu")


@pytest.mark.parametrize("folder", sorted(path.name for path in WEIGHTS.iterdir()))
def test_what_ships_is_within_the_bounds(folder: str) -> None:
    held = check_files(WEIGHTS / folder, read_card(WEIGHTS / folder / "card.json"))
    assert held.tensors > 3
    assert held.numbers > 1_000


def test_a_fusion_model_is_looked_at_too(tmp_path: Path) -> None:
    for path in SHIPPED.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with_settings(tmp_path, width=1 << 20)
    write_card(tmp_path, read_card(tmp_path / "card.json"))
    with pytest.raises(AffectstreamError, match=r"config\.json asks for"):
        load_fusion(tmp_path)


REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a hub's model where the hub's own client keeps them, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / REVISION
    place.mkdir(parents=True)
    for path in text.iterdir():
        if path.name not in ("card.json", "CARD.md"):
            (place / path.name).write_bytes(path.read_bytes())
    found = snapshot_download("someone/tiny", revision=REVISION, cache_dir=str(tmp_path / "hub"))
    assert Path(found) == place
    return place


def card_of(text: Path, **changes: Any) -> str:
    write_card(text, read_card(text / "card.json"))
    path = text / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return str(path)


def test_a_model_of_a_hub_is_the_commit_and_the_files_of_its_card(text: Path, cached: Path) -> None:
    found = load_recogniser("text", "someone/tiny", card_of(text, revision=REVISION), "cpu")
    assert found.model_id == "tiny-text@0"
    weights = cached / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    again = card_of(text, revision=REVISION, version="1")
    with pytest.raises(AffectstreamError, match="not the file its card describes"):
        load_recogniser("text", "someone/tiny", again, "cpu")


@pytest.mark.parametrize(
    "changes", [{}, {"revision": REVISION, "sha256": {}}, {"revision": None}], ids=str
)
def test_a_model_of_a_hub_whose_files_may_change_is_refused(
    text: Path, cached: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(AffectstreamError, match="is a Hugging Face id, whose files may change"):
        load_recogniser("text", "someone/tiny", card_of(text, **changes), "cpu")


@pytest.mark.parametrize("revision", ["main", REVISION[:-1], REVISION.upper(), f"{REVISION}\n"])
def test_a_branch_is_no_revision(text: Path, revision: str) -> None:
    with pytest.raises(AffectstreamError, match="revision"):
        load_recogniser("text", "someone/tiny", card_of(text, revision=revision), "cpu")
