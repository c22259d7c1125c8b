"""What loads a model refuses: a card that is missing or wrong, other files, pickles, no GPU."""

from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification

from model_serving.card import check_files, read_card, write_card
from model_serving.handler import RecogniserHandler
from model_serving.loader import load_recogniser
from schemas.errors import AffectstreamError
from tests.support import model_folders as folders


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.tiny_text(tmp_path_factory.mktemp("text"))


def test_model_is_loaded_once_a_process(text: Path) -> None:
    first, second = (
        RecogniserHandler(modality="text", model=str(text)).load_model() for _ in range(2)
    )
    assert second.model is first.model


def test_missing_card(tmp_path: Path, text: Path) -> None:
    with pytest.raises(AffectstreamError, match="no model card at"):
        load_recogniser("text", str(tmp_path), None, "cpu")
    with pytest.raises(AffectstreamError, match="no model card at"):
        load_recogniser("text", "someone/some-model", None, "cpu")
    with pytest.raises(AffectstreamError, match="no model card at"):
        load_recogniser("text", str(text), str(tmp_path / "card.json"), "cpu")


def test_wrong_digest(tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path)
    labels = {"NEG": "sadness", "POS": "joy", "MAD": "anger"}
    folders.write_card(model, "text", labels, sha256={"model.safetensors": "0" * 64})
    with pytest.raises(AffectstreamError, match="not the file its card describes"):
        load_recogniser("text", str(model), None, "cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_every_file_is_the_one_that_the_card_describes(name: str, tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path)
    write_card(model, read_card(model / "card.json"))
    load_recogniser("text", str(model), None, "cpu")
    (model / name).write_bytes((model / name).read_bytes() + b" ")
    with pytest.raises(AffectstreamError, match=f"{name} is not the file its card describes"):
        check_files(model, read_card(model / "card.json"))


def test_a_file_without_a_digest_is_refused_and_a_card_without_any_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = folders.tiny_text(tmp_path)
    check_files(model, read_card(model / "card.json"))
    assert "names no sha256" in caplog.text
    write_card(model, read_card(model / "card.json"))
    caplog.clear()
    check_files(model, read_card(model / "card.json"))
    assert not caplog.text
    (model / "vocab.txt").write_text("a")
    with pytest.raises(AffectstreamError, match=r"gives no sha256 of vocab\.txt"):
        check_files(model, read_card(model / "card.json"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin", "model.pt"])
def test_a_pickle_is_refused(name: str, tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path)
    net = BertForSequenceClassification.from_pretrained(model)
    torch.save(net.state_dict(), model / name)
    with pytest.raises(AffectstreamError, match=f"holds {name}, and a pickle is never loaded"):
        load_recogniser("text", str(model), None, "cpu")
    (model / "model.safetensors").unlink()
    with pytest.raises(AffectstreamError, match="a pickle is never loaded"):
        load_recogniser("text", str(model), None, "cpu")


def test_what_stands_in_a_folder_below_is_checked_too(tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path)
    write_card(model, read_card(model / "card.json"))
    (model / "shards").mkdir()
    (model / "shards" / "more.safetensors").write_bytes(b"weights")
    with pytest.raises(AffectstreamError, match=r"no sha256 of shards/more\.safetensors"):
        load_recogniser("text", str(model), None, "cpu")
    (model / "shards" / "w.bin").write_bytes(b"pickle")
    with pytest.raises(AffectstreamError, match=r"holds shards/w\.bin, and a pickle is never"):
        load_recogniser("text", str(model), None, "cpu")


def test_card_that_does_not_fit(tmp_path: Path, text: Path) -> None:
    card = tmp_path / "card.json"
    folders.write_card(tmp_path, "text", {"NEG": "sadness", "POS": "joy"})
    with pytest.raises(AffectstreamError, match="does not name MAD, which its model gives"):
        load_recogniser("text", str(text), str(card), "cpu")
    folders.write_card(tmp_path, "text", {"MAD": "anger", "POS": "joy", "NEGG": "sadness"})
    with pytest.raises(AffectstreamError, match=r"names NEGG, .* labels \(NEG, POS, MAD\)"):
        load_recogniser("text", str(text), str(card), "cpu")
    labels = {"NEG": "sadness", "POS": "joy", "MAD": None}
    folders.write_card(tmp_path, "text", labels, calibration={"bias": [0.1, 0.2, 0.3]})
    with pytest.raises(AffectstreamError, match="has a bias of 3 values for 2 labels that map"):
        load_recogniser("text", str(text), str(card), "cpu")
    folders.write_card(tmp_path, "voice", {"NEG": "sadness", "POS": "joy", "MAD": "anger"})
    with pytest.raises(AffectstreamError, match="is for voice by its card, not for text"):
        load_recogniser("text", str(text), str(card), "cpu")


def test_folder_without_weights(tmp_path: Path) -> None:
    folders.write_card(tmp_path, "text", {"NEG": "sadness"})
    with pytest.raises(AffectstreamError, match="can't be loaded from folder"):
        load_recogniser("text", str(tmp_path), None, "cpu")


def test_base_model_without_a_trained_head(tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path)
    BertForSequenceClassification.from_pretrained(model).bert.save_pretrained(model)
    with pytest.raises(AffectstreamError, match=r"lack classifier\.bias .* no classifier"):
        load_recogniser("text", str(model), None, "cpu")


def test_folder_without_tokenizer(tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    with pytest.raises(AffectstreamError, match="can't be loaded from folder"):
        load_recogniser("text", str(model), None, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
def test_missing_gpu_is_an_error(text: Path) -> None:
    with pytest.raises(AffectstreamError, match="device cuda was asked for"):
        load_recogniser("text", str(text), None, "cuda")
    with pytest.raises(AffectstreamError, match="device warp was asked for"):
        load_recogniser("text", str(text), None, "warp")


@pytest.mark.parametrize(
    "name",
    [
        "training_args.bin",
        "optimizer.pt",
        "scheduler.pt",
        "scaler.pt",
        "rng_state.pth",
        "rng_state_3.pth",
        "random_states_0.pkl",
        "checkpoint-500/pytorch_model.bin",
        "global_step20/mp_rank_00_model_states.pt",
        "onnx/model.onnx",
        "openvino_model.bin",
    ],
)
def test_what_is_never_read_does_not_refuse_a_model(name: str, tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path)
    write_card(model, read_card(model / "card.json"))
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"a pickle, or not")
    load_recogniser("text", str(model), None, "cpu")
    write_card(model, read_card(model / "card.json"))
    assert name not in read_card(model / "card.json").sha256


@pytest.mark.parametrize(
    ("index", "refusal"),
    [
        ('{"weight_map": {"a": "checkpoint-1/model.safetensors"}}', "which is not beside it"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "which is not beside it"),
        ('{"weight_map": {"a": "checkpoint-1/optimizer.pt"}}', "names pickled weights"),
        ('{"weight_map": ["a"]}', "is not an index of weights"),
        ("nothing", "is not an index of weights"),
    ],
)
def test_an_index_of_weights_names_files_that_were_looked_at(
    index: str, refusal: str, tmp_path: Path
) -> None:
    model = folders.tiny_text(tmp_path)
    (model / "model.safetensors.index.json").write_text(index)
    with pytest.raises(AffectstreamError, match=refusal):
        load_recogniser("text", str(model), None, "cpu")
