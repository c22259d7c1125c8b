"""Any model of the task drops in; a bad element is a dead letter and its batch goes on."""

import io
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import torch
from apache_beam.ml.inference.base import RunInference
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from PIL import Image

from model_serving.coarse import round_scores
from model_serving.handler import Recognised, RecogniserHandler
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from schemas.arrow import vectors
from schemas.errors import AffectstreamError
from schemas.events import EMBEDDING_WIDTH
from schemas.stages import recognition_stage
from schemas.tables import DEAD_LETTERS, OBSERVED
from schemas.vocabularies import CIRCUMPLEX, EXPRESSIONS
from tests.support import model_folders as folders

PURPOSE = "avatar_mirroring"
JOY, SADNESS, ANGER = (EXPRESSIONS.index(name) for name in ("joy", "sadness", "anger"))


def recognise(modality: str, model: Path | str, batch: pa.RecordBatch, **more: Any) -> Recognised:
    handler = RecogniserHandler(modality=modality, model=str(model), **more)
    (found,) = handler.run_inference([batch], handler.load_model())
    return found


def scores(found: Recognised) -> np.ndarray:
    return vectors(found.observations["scores"], len(EXPRESSIONS))


def exact(model: Path, batch: pa.RecordBatch, card: Path | None = None) -> np.ndarray:
    """The scores of a text model before they are made coarse."""
    return load_recogniser("text", str(model), card and str(card), "cpu").estimate(batch).scores


def codes(found: Recognised) -> list[tuple[int, str]]:
    letters = found.dead_letters
    return list(zip(letters["offset"].to_pylist(), letters["code"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.tiny_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.tiny_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.tiny_face(tmp_path_factory.mktemp("face"))


def test_observations_are_whole_rows(text: Path) -> None:
    batch = folders.events("text", ["abc", "zzzzzz", "b"])
    found = recognise("text", text, batch, embeddings_for=(PURPOSE,))
    rows = found.observations
    assert rows.schema.equals(OBSERVED, check_metadata=True)
    assert found.dead_letters.schema.equals(DEAD_LETTERS, check_metadata=True)
    assert found.dead_letters.num_rows == 0
    assert rows["event_id"].to_pylist() == ["event-0", "event-1", "event-2"]
    assert [str(day) for day in rows["event_date"].to_pylist()] == [
        "2026-09-01",
        "2026-09-02",
        "2026-09-02",
    ]
    table = scores(found)
    assert table.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (table[:, [JOY, SADNESS, ANGER]] > 0).all()
    assert table == pytest.approx(round_scores(exact(text, batch)), abs=1e-6)
    assert np.delete(table, [JOY, SADNESS, ANGER], axis=1).max() < 0.02
    assert rows["confidence"].to_pylist() == pytest.approx(table.max(axis=1))
    assert rows["expression"].to_pylist() == [EXPRESSIONS[i] for i in table.argmax(axis=1)]
    both = np.column_stack([rows["valence"].to_numpy(), rows["arousal"].to_numpy()])
    assert both == pytest.approx(table @ CIRCUMPLEX, abs=1e-6)
    embedding = vectors(rows["embedding"], EMBEDDING_WIDTH)
    assert np.abs(embedding[0] - embedding[1]).max() > 1e-3
    assert set(rows["model_id"].to_pylist()) == {"tiny-text@0"}


def test_scores_are_those_of_the_model_alone(text: Path) -> None:
    found = exact(text, folders.events("text", ["hello", "abc"]))
    recogniser = load_recogniser("text", str(text), None, "cpu")
    assert isinstance(recogniser, NetRecogniser)
    ids = [2, *(4 + folders.LETTERS.index(letter) for letter in "hello"), 3]
    with torch.inference_mode():
        logits = recogniser.net(input_ids=torch.tensor([ids])).logits
    expected = torch.softmax(logits, 1)[0].numpy()
    assert found[0, [SADNESS, JOY, ANGER]] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("modality", ["text", "voice", "face", "motion"])
def test_empty_batch(modality: str, request: pytest.FixtureRequest) -> None:
    model = "constant" if modality == "motion" else request.getfixturevalue(modality)
    found = recognise(modality, model, folders.events(modality, []))
    assert (found.observations.num_rows, found.dead_letters.num_rows) == (0, 0)
    assert found.observations.schema.equals(OBSERVED)


def test_batch_of_another_kind_goes_through_as_it_came(text: Path) -> None:
    batch = folders.events("voice", [folders.tone(0.2)])
    found = recognise("text", text, batch)
    assert found.observations.equals(batch)
    assert found.dead_letters.num_rows == 0
    observed = recognise("text", text, folders.events("text", ["abc"])).observations
    assert recognise("text", text, observed).observations.equals(observed)
    assert recognise("text", text, folders.events("voice", [])).observations.num_rows == 0


def test_batch_composition_does_not_matter(text: Path, voice: Path, face: Path) -> None:
    texts = ["a", "hello there", "b" * 50, "zebra", "q" * 200, "xyz"] * 20
    clips = [folders.tone(s, hertz=h) for s, h in ((0.3, 200), (1.1, 330), (0.7, 150), (1.1, 99))]
    images = [folders.image(shade, size=size) for shade, size in ((0, 40), (90, 64), (200, 33))]
    for modality, model, payloads in (
        ("text", text, texts),
        ("voice", voice, clips),
        ("face", face, images),
    ):
        kept = {"embeddings_for": (PURPOSE,)}
        together = recognise(modality, model, folders.events(modality, payloads), **kept)
        width = EMBEDDING_WIDTH
        for row in (0, 1, 2, len(payloads) - 1):
            alone = recognise(modality, model, folders.events(modality, [payloads[row]]), **kept)
            assert scores(alone)[0] == pytest.approx(scores(together)[row], abs=1e-6)
            state = vectors(alone.observations["embedding"], width)[0]
            assert state == pytest.approx(
                vectors(together.observations["embedding"], width)[row], abs=1e-3
            )


def test_voice_model_that_cannot_mask_is_never_padded(tmp_path: Path) -> None:
    model = folders.tiny_voice(tmp_path, norm="group")
    clips = [folders.tone(s) for s in (0.3, 1.1, 0.7)]
    together = recognise("voice", model, folders.events("voice", clips))
    for row, clip in enumerate(clips):
        alone = recognise("voice", model, folders.events("voice", [clip]))
        assert scores(alone)[0] == pytest.approx(scores(together)[row], abs=1e-4)


def test_broken_audio_is_dead_lettered_and_the_rest_goes_on(voice: Path) -> None:
    flac = folders.tone(1.0, file="FLAC")
    payloads = [
        folders.tone(0.5),
        b"RIFFnonsense",
        flac,
        flac[: len(flac) // 2],
        folders.tone(15.5),
        folders.tone(0.8, rate=48_000, file="OGG"),
        None,
        folders.tone(15.0, rate=8_000),
        folders.tone(0.001),
    ]
    found = recognise("voice", voice, folders.events("voice", payloads))
    assert found.observations["event_id"].to_pylist() == [f"event-{i}" for i in (0, 2, 5, 7, 8)]
    assert codes(found) == [
        (101, "audio_undecodable"),
        (103, "audio_undecodable"),
        (104, "audio_too_long"),
        (106, "audio_undecodable"),
    ]
    assert set(found.dead_letters["stage"].to_pylist()) == {"RecogniseVoice"}
    assert found.dead_letters["detail"][2].as_py() == "15.5 s of audio, 15 s are allowed"


def test_broken_images_are_dead_lettered_and_the_rest_goes_on(face: Path) -> None:
    jpeg = folders.image(10, file="JPEG")
    payloads = [
        jpeg,
        jpeg[: len(jpeg) // 2],
        folders.image(50, file="WEBP"),
        b"\x89PNG\r\n\x1a\nnothing",
        folders.image(9, file="BMP"),
        folders.image(70, mode="L"),
        folders.image(1, size=4200, mode="1"),
    ]
    found = recognise("face", face, folders.events("face", payloads))
    assert found.observations["event_id"].to_pylist() == ["event-0", "event-2", "event-5"]
    assert codes(found) == [(i, "image_undecodable") for i in (101, 103, 104, 106)]


def test_grey_model_gets_one_channel(tmp_path: Path) -> None:
    model = folders.tiny_face(tmp_path, channels=1)
    found = recognise("face", model, folders.events("face", [folders.image(0), folders.image(99)]))
    assert found.observations.num_rows == 2


def test_one_culprit_loses_only_itself(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recogniser = load_recogniser("text", str(text), None, "cpu")
    assert isinstance(recogniser, NetRecogniser)
    whole = recogniser.net.forward

    def fragile(input_ids: torch.Tensor, **rest: torch.Tensor) -> object:
        if (input_ids == 4 + folders.LETTERS.index("q")).any():
            message = "device-side assert"
            raise RuntimeError(message)
        return whole(input_ids=input_ids, **rest)

    monkeypatch.setattr(recogniser.net, "forward", fragile)
    found = recognise("text", text, folders.events("text", ["abc", "xqx", "hello", None]))
    assert found.observations["event_id"].to_pylist() == ["event-0", "event-2"]
    assert codes(found) == [(101, "recogniser_failed"), (103, "recogniser_failed")]
    assert found.dead_letters["detail"].to_pylist() == [
        "RuntimeError in the forward pass",
        "no payload",
    ]


def test_scores_that_are_not_finite_are_dead_letters(
    text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = load_recogniser("text", str(text), None, "cpu")
    assert isinstance(recogniser, NetRecogniser)
    whole = recogniser.net.forward

    passes = []

    def sick(input_ids: torch.Tensor, **rest: torch.Tensor) -> object:
        passes.append(len(input_ids))
        output = whole(input_ids=input_ids, **rest)
        output.logits[(input_ids == 4).any(dim=1)] = torch.nan
        return output

    monkeypatch.setattr(recogniser.net, "forward", sick)
    found = recognise("text", text, folders.events("text", ["bcd", "abc"]))
    assert found.observations["event_id"].to_pylist() == ["event-0"]
    assert codes(found) == [(101, "recogniser_failed")]
    assert passes == [2], "its neighbours were recognised twice"


def test_texts_of_like_length_share_a_forward_pass(
    text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = load_recogniser("text", str(text), None, "cpu")
    assert isinstance(recogniser, NetRecogniser)
    whole, shapes = recogniser.net.forward, []

    def seen(input_ids: torch.Tensor, **rest: torch.Tensor) -> object:
        shapes.append(tuple(input_ids.shape))
        return whole(input_ids=input_ids, **rest)

    monkeypatch.setattr(recogniser.net, "forward", seen)
    size = recogniser.front_end.micro_batch
    recognise("text", text, folders.events("text", ["ab", "abcdefghijklmn"] * size))
    assert shapes == [(size, 4), (size, 16)]


def test_labels_map_sum_and_drop(tmp_path: Path, text: Path) -> None:
    card = tmp_path / "mine"
    card.mkdir()
    batch = folders.events("text", ["abc", "hello"])
    plain = exact(text, batch)
    folders.write_card(card, "text", {"MAD": "joy", "NEG": "sadness", "POS": "joy"})
    summed = exact(text, batch, card / "card.json")
    assert summed[:, JOY] == pytest.approx(plain[:, JOY] + plain[:, ANGER], abs=1e-5)
    folders.write_card(tmp_path, "text", {"MAD": None, "NEG": "sadness", "POS": "joy"})
    dropped = exact(text, batch, tmp_path / "card.json")
    shared = plain[:, [ANGER]] / len(EXPRESSIONS)  # as likely one as another
    assert dropped[:, [SADNESS, JOY]] == pytest.approx(plain[:, [SADNESS, JOY]] + shared, abs=1e-5)
    assert dropped[:, [ANGER]] == pytest.approx(shared, abs=1e-5)


def test_multi_label_heads_are_normalised(tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path, problem_type="multi_label_classification")
    found = recognise("text", model, folders.events("text", ["abc", "zz"]))
    assert scores(found).sum(axis=1) == pytest.approx(1, abs=1e-5)
    recogniser = load_recogniser("text", str(model), None, "cpu")
    assert isinstance(recogniser, NetRecogniser)
    single = recogniser.expressions(np.array([[0.0, 0.0, -100.0], [-900.0, -900.0, -900.0]]))
    assert single[0, [SADNESS, JOY, ANGER]] == pytest.approx([0.5, 0.5, 0.0], abs=1e-6)
    assert single[1] == pytest.approx(1 / len(EXPRESSIONS))  # none of them


def test_temperature_and_threshold_of_the_card_are_used(tmp_path: Path, text: Path) -> None:
    labels = {"NEG": "sadness", "POS": "joy", "MAD": "anger"}
    calibration = {"temperature": 1000.0, "threshold": 0.5}
    folders.write_card(tmp_path, "text", labels, calibration=calibration)
    batch = folders.events("text", ["abc", "hello"])
    found = recognise("text", text, batch, card=str(tmp_path / "card.json"))
    flat = exact(text, batch, tmp_path / "card.json")[:, [SADNESS, JOY, ANGER]]
    assert flat == pytest.approx(1 / 3, abs=0.02)
    assert found.observations["abstained"].to_pylist() == [True, True]
    assert found.observations["expression"].null_count == 2


def test_constant_recogniser_needs_no_folder() -> None:
    found = recognise("motion", "constant", folders.events("motion", [folders.motion(0.1), None]))
    assert scores(found) == pytest.approx(1 / 7)
    assert set(found.observations["model_id"].to_pylist()) == {"constant@1"}
    assert found.observations["embedding"].null_count == 2


def test_an_embedding_goes_on_for_the_purposes_that_were_asked_for_alone(text: Path) -> None:
    batch = folders.events("text", ["abc", "hello", "b"])
    purposes = pa.array([PURPOSE, "research", None])
    place = batch.schema.get_field_index("purpose")
    batch = batch.set_column(place, batch.schema.field(place), purposes)
    for asked, nulls in (((), [True] * 3), (("research",), [True, False, True])):
        rows = recognise("text", text, batch, embeddings_for=asked).observations
        assert rows["embedding"].is_null().to_pylist() == nulls


def test_unknown_modality() -> None:
    with pytest.raises(AffectstreamError, match="'smell' is no modality"):
        RecogniserHandler(modality="smell", model="constant")


def test_drop_in_through_run_inference(text: Path, voice: Path, face: Path) -> None:
    """Every architecture runs through Beam, each batch once, and its forward time is counted."""
    inputs = {
        "text": (text, [folders.events("text", ["abc"]), folders.events("text", ["b", "c"])]),
        "voice": (voice, [folders.events("voice", [folders.tone(0.4), b"broken"])]),
        "face": (face, [folders.events("face", [folders.image(3)])]),
    }
    expected = {"text": [(1, 0), (2, 0)], "voice": [(1, 1)], "face": [(1, 0)]}

    def sizes(wanted: list[tuple[int, int]]) -> object:
        def check(found: list[Recognised]) -> None:
            got = sorted((f.observations.num_rows, f.dead_letters.num_rows) for f in found)
            assert got == wanted, got

        return check

    pipeline = beam.Pipeline(runner=FnApiRunner())
    for modality, (model, batches) in inputs.items():
        recognised = (
            pipeline
            | f"Read {modality}" >> beam.Create(batches, reshuffle=False)
            | f"Recognise {modality}"
            >> RunInference(RecogniserHandler(modality=modality, model=str(model)))
        )
        assert_that(recognised, sizes(expected[modality]), label=f"Check {modality}")
    result = pipeline.run()
    result.wait_until_finish()
    counters = {
        (found.key.metric.namespace, found.key.metric.name): found.committed
        for found in result.metrics().query()["counters"]
    }
    rows = {modality: counters[recognition_stage(modality), "rows_out"] for modality in inputs}
    assert (rows["text"], rows["voice"], rows["face"]) == (3, 1, 1)
    assert all(counters[recognition_stage(modality), "forward_us"] > 0 for modality in inputs)


def test_bias_of_the_card_shifts_the_shares(tmp_path: Path, text: Path) -> None:
    labels = {"NEG": "sadness", "POS": "joy", "MAD": "anger"}
    calibration = {"temperature": 1000.0, "bias": [0.0, 5.0, 0.0]}
    folders.write_card(tmp_path, "text", labels, calibration=calibration)
    found = exact(text, folders.events("text", ["abc"]), tmp_path / "card.json")
    assert found[0, JOY] == pytest.approx(np.exp(5) / (np.exp(5) + 2), abs=0.01)


def test_valence_and_arousal_of_a_model_do_not_land(tmp_path: Path) -> None:
    names = {0: "NEG", 1: "POS", 2: "valence", 3: "arousal"}
    model = folders.tiny_text(tmp_path, id2label=names)
    folders.write_card(
        tmp_path, "text", {"NEG": "sadness", "POS": "joy", "valence": None, "arousal": None}
    )
    batch = folders.events("text", ["abc", "hello", "zz"] * 40)
    found = recognise("text", model, batch)
    recogniser = load_recogniser("text", str(model), None, "cpu")
    assert isinstance(recogniser, NetRecogniser)
    assert recogniser.outputs.values == (2, 3)
    tokens = recogniser.front_end._tokenizer(["hello"], return_tensors="pt")  # type: ignore[attr-defined]
    expected = recogniser.net(**tokens).logits[0, 2:].detach().numpy().clip(-1, 1)
    assert recogniser.estimate(batch).circumplex[1] == pytest.approx(expected, abs=1e-4)
    landed = [found.observations[name].to_numpy() for name in ("valence", "arousal")]
    assert np.column_stack(landed) == pytest.approx(scores(found) @ CIRCUMPLEX, abs=1e-6)
    assert landed[0][1] != pytest.approx(expected[0], abs=1e-3)


def test_what_can_not_be_judged_is_abstained_on_without_a_threshold_too(tmp_path: Path) -> None:
    folder = folders.tiny_face(tmp_path / "face")
    file = io.BytesIO()
    Image.new("RGB", (640, 480), (20, 90, 40)).save(file, format="PNG")
    handler = RecogniserHandler(modality="face", model=str(folder))
    (found,) = handler.run_inference(
        [folders.events("face", [file.getvalue()])], handler.load_model()
    )
    assert found.observations["quality"].to_pylist() == ["no_face"]
    assert found.observations["abstained"].to_pylist() == [True]
    assert found.observations["expression"].to_pylist() == [None]
