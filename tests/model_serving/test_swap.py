"""A model folder replaced under a running handler: no batch fails, no worse model comes in."""

import gc
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import torch
from apache_beam.ml.inference.base import RunInference
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

import model_serving.handler as handler_module
from model_serving.card import read_card, write_card
from model_serving.handler import Recognised, RecogniserHandler
from model_serving.loader import load_recogniser
from schemas.arrow import vectors
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS
from tests.support import model_folders as folders

JOY, SADNESS, ANGER = (EXPRESSIONS.index(name) for name in ("joy", "sadness", "anger"))


def recognise(modality: str, model: Path | str, batch: pa.RecordBatch, **more: str) -> Recognised:
    handler = RecogniserHandler(modality=modality, model=str(model), **more)
    (found,) = handler.run_inference([batch], handler.load_model())
    return found


def scores(found: Recognised) -> np.ndarray:
    return vectors(found.observations["scores"], len(EXPRESSIONS))


LABELS = {"NEG": "sadness", "POS": "joy", "MAD": "anger"}


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text model's folder, which handlers look at before each batch."""
    monkeypatch.setattr(handler_module, "_CHECK_EVERY_S", 0.0)
    return folders.tiny_text(tmp_path / "live")


def test_a_folder_is_swapped_under_a_running_handler(live: Path) -> None:
    handler = RecogniserHandler(modality="text", model=str(live))
    model = handler.load_model()
    batch = folders.events("text", ["abc", "hello"])

    def ids() -> list[str]:
        (found,) = handler.run_inference([batch], model)
        assert found.observations.num_rows == 2
        return found.observations["model_id"].to_pylist()

    assert ids() == ["tiny-text@0"] * 2
    digest = {"model.safetensors": "0" * 64}
    folders.write_card(live, "text", LABELS, version="1", sha256=digest)  # its weights are to come
    assert ids() == ["tiny-text@0"] * 2
    folders.write_card(live, "text", LABELS, version="2.0")
    assert ids() == ["tiny-text@2.0"] * 2
    assert load_recogniser("text", str(live), None, "cpu") is model.model


def test_a_swap_lets_go_of_the_model_before(live: Path) -> None:
    handler = RecogniserHandler(modality="text", model=str(live))
    loaded = handler.load_model()
    first = weakref.ref(loaded.model)
    folders.write_card(live, "text", LABELS, version="2.0")
    handler.run_inference([folders.events("text", ["abc"])], loaded)
    gc.collect()
    assert first() is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weights: weights[: len(weights) // 2],
        lambda weights: b"\xff" * 8 + weights[8:],
    ],
    ids=["half", "no header"],
)
def test_weights_that_are_still_being_written_fail_no_batch(
    live: Path, spoil: Callable[[bytes], bytes]
) -> None:
    """Of a card without digests nothing tells beforehand that they are not whole."""
    handler = RecogniserHandler(modality="text", model=str(live))
    model = handler.load_model()
    weights = live / "model.safetensors"
    weights.write_bytes(spoil(weights.read_bytes()))
    folders.write_card(live, "text", LABELS, version="1")
    (found,) = handler.run_inference([folders.events("text", ["abc"])], model)
    assert found.observations["model_id"].to_pylist() == ["tiny-text@0"]


def test_a_model_that_can_not_answer_does_not_take_the_place_of_one_that_does(live: Path) -> None:
    handler = RecogniserHandler(modality="text", model=str(live))
    model = handler.load_model()
    weights = load_file(live / "model.safetensors")
    weights["classifier.weight"].fill_(float("nan"))
    save_file(weights, live / "model.safetensors", {"format": "pt"})
    folders.write_card(live, "text", LABELS, version="1")
    (found,) = handler.run_inference([folders.events("text", ["abc"])], model)
    assert found.observations["model_id"].to_pylist() == ["tiny-text@0"]
    with pytest.raises(AffectstreamError, match=r"does not answer: .* not finite"):
        handler.load_model()


def test_research_weights_do_not_take_the_place_of_open_ones(live: Path) -> None:
    strict = RecogniserHandler(modality="text", model=str(live), licence="open")
    lax = RecogniserHandler(modality="text", model=str(live))
    held = {"0": strict.load_model(), "1": lax.load_model()}
    folders.write_card(live, "text", LABELS, version="1", licence="research")
    batch = folders.events("text", ["abc"])
    for handler, version in ((strict, "0"), (lax, "1")):
        (found,) = handler.run_inference([batch], held[version])
        assert found.observations["model_id"].to_pylist() == [f"tiny-text@{version}"]
    with pytest.raises(AffectstreamError, match="refuses tiny-text@1: its weights are for"):
        strict.load_model()


class _Swap(beam.DoFn):
    """Puts new weights in place before batch 15 and their card before batch 30, then goes on."""

    def __init__(self, live: Path, new: Path) -> None:
        self._live, self._new = live, new

    def process(self, numbered: tuple[int, pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        number, batch = numbered
        names = {15: "model.safetensors", 30: "card.json"}
        if number in names:
            shutil.copy(self._new / names[number], self._live / "next")
            (self._live / "next").rename(self._live / names[number])
        yield batch


def test_a_job_loses_no_row_while_its_model_is_swapped(live: Path, tmp_path: Path) -> None:
    new = folders.tiny_text(tmp_path / "new")
    net = BertForSequenceClassification.from_pretrained(new)
    net.classifier.bias.data[:] = torch.tensor([9.0, 0.0, 0.0])
    net.save_pretrained(new)
    for folder, version in ((live, "1"), (new, "2")):
        card = read_card(folder / "card.json")
        write_card(folder, card.model_copy(update={"version": version}))
    batches = [(n, folders.events("text", ["abc", "hello", "zz"])) for n in range(60)]

    def whole(found: list[Recognised]) -> None:
        assert len(found) == 60
        assert all(part.dead_letters.num_rows == 0 for part in found)
        rows = pa.Table.from_batches([part.observations for part in found])
        assert rows.num_rows == 180
        ids = rows["model_id"].to_pylist()
        assert ids == sorted(ids)
        assert ids.count("tiny-text@2") in {90, 93}  # Beam holds one element back to batch it
        sad = scores(found[-1])[:, SADNESS]
        assert (sad > 0.8).all()  # by the new weights: all steps that there are

    pipeline = beam.Pipeline(runner=FnApiRunner())
    recognised = (
        pipeline
        | beam.Create(batches, reshuffle=False)
        | beam.ParDo(_Swap(live, new))
        | RunInference(RecogniserHandler(modality="text", model=str(live)))
    )
    assert_that(recognised, whole)
    result = pipeline.run()
    result.wait_until_finish()
    counted = result.metrics().query(beam.metrics.MetricsFilter().with_name("rows_out"))["counters"]
    assert sum(found.committed for found in counted) == 180
