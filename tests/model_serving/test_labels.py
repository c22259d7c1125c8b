"""Names decide what an output means; a card that does not name each once is refused."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import model_serving.handler as handler_module
from model_serving.card import Calibration, ModelCard, read_card
from model_serving.handler import RecogniserHandler
from model_serving.labels import order_by_name, output_names, read_outputs
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from model_serving.training.common import save_model
from pipelines.config import WEIGHTS
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS
from tests.support import model_folders as folders

OWN = {"anger": "anger", "contempt": "disgust", "happy": "joy", "sad": "sadness", "odd": None}


def _card(labels: dict[str, str | None], **more: Any) -> ModelCard:
    return ModelCard(name="x", version="1", modality="text", licence="open", labels=labels, **more)


def _config(names: list[str] | dict[int, str], label2id: dict[str, int] | None = None) -> Any:
    told = names if isinstance(names, dict) else dict(enumerate(names))
    return SimpleNamespace(id2label=told, label2id=label2id)


def _shown(labels: dict[str, str | None], names: list[str]) -> list[str | None]:
    matrix = read_outputs(_card(labels), _config(names)).matrix
    return [EXPRESSIONS[row.argmax()] if row.any() else None for row in matrix]


@given(st.permutations(list(OWN)), st.permutations(list(OWN)), st.data())
def test_any_order_case_and_white_space_give_each_output_its_own_meaning(
    names: list[str], listed: list[str], data: st.DataObject
) -> None:
    spelt = st.sampled_from([str.upper, str.title, " {}".format, "{}\t ".format, str])
    labels = {data.draw(spelt)(name): OWN[name] for name in listed}
    assert _shown(labels, [data.draw(spelt)(name) for name in names]) == [OWN[n] for n in names]


@pytest.mark.parametrize("reverse", [{"0": "anger", "1": "joy"}, ["anger", "joy"], {"anger": None}])
def test_numbers_that_are_none_are_told(reverse: Any) -> None:
    with pytest.raises(AffectstreamError, match=r"`label2id` .* gives no number for each name"):
        read_outputs(_card({"anger": "anger", "joy": "joy"}), _config(["anger", "joy"], reverse))


@pytest.mark.parametrize(
    ("kind", "multi_label"),
    [
        (None, False),
        ("", False),
        ("single_label_classification", False),
        ("multi_label_classification", True),
    ],
)
def test_the_problem_type_says_whether_outputs_are_chances_of_their_own(
    kind: str | None, multi_label: bool
) -> None:
    config = _config(["anger", "joy"])
    config.problem_type = kind
    assert read_outputs(_card({"anger": "anger", "joy": "joy"}), config).multi_label is multi_label


@pytest.mark.parametrize("kind", ["multi_label", "multi-label", "classification", "MULTI_LABEL"])
def test_a_problem_type_that_is_none_needs_the_word_of_the_card(kind: str) -> None:
    config, labels = _config(["anger", "joy"]), {"anger": "anger", "joy": "joy"}
    config.problem_type = kind
    with pytest.raises(AffectstreamError, match="write `multi_label` on the card, true or false"):
        read_outputs(_card(labels), config)
    for said in (True, False):
        assert read_outputs(_card(labels, multi_label=said), config).multi_label is said


@pytest.mark.parametrize("form", ["LABEL_{}", "label {}", "{}", "CLASS-{}", "Label{}"])
def test_names_that_say_nothing_need_a_map_from_them(form: str) -> None:
    names = [form.format(number) for number in range(5)]
    with pytest.raises(AffectstreamError) as told:
        _shown(OWN, names)
    assert str(told.value) == (
        f"the card of x@1 does not say what {', '.join(names)} mean, and its model has no other "
        f'names for them: write what each stands for in `labels`, such as "{names[0]}": "anger"'
    )
    wanted = ["joy", "anger", None, "fear", "joy"]
    labels = dict(zip(names, wanted, strict=True))
    assert _shown(dict(reversed(labels.items())), names) == wanted
    half = {name: labels[name] for name in names[:3]}
    with pytest.raises(AffectstreamError, match="does not say what"):
        _shown(half, names)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({**OWN, "glad": "joy"}, r"names glad, which its model does not: name .* \(anger, conte"),
        ({k: v for k, v in OWN.items() if k != "sad"}, "does not name sad, which its model gives"),
        ({**OWN, " Anger": "anger"}, "names ' Anger' twice: leave one"),
        ({**OWN, "\uff53ad": "sadness"}, "names '\uff53ad' twice"),
        (dict.fromkeys(OWN), "maps no label to an expression"),
        ({"LABEL_0": "anger", "LABEL_1": "joy"}, "names LABEL_0, which its model does not"),
    ],
)
def test_a_card_of_other_names_is_refused(labels: dict[str, str | None], told: str) -> None:
    with pytest.raises(AffectstreamError, match=told):
        _shown(labels, list(OWN))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (_config({}), "numbers its labels"),
        (_config({1: "joy", 2: "fear"}), r"numbers its labels \[1, 2\]: .* counted from 0"),
        (SimpleNamespace(id2label=None), "numbers its labels"),
        (_config(["joy", "Joy "]), "names two outputs 'Joy '"),
        (_config(["joy", "fear"], {"fear": 0, "JOY": 1}), "calls output 0 joy in `id2label` and"),
    ],
)
def test_a_configuration_that_does_not_name_each_output_once_is_refused(
    config: Any, told: str
) -> None:
    with pytest.raises(AffectstreamError, match=told):
        output_names("x", config)


def test_a_table_back_to_numbers_that_nobody_wrote_says_nothing() -> None:
    assert output_names("x", _config(["joy", "fear"], {"LABEL_0": 0, "LABEL_1": 1})) == [
        "joy",
        "fear",
    ]


def test_valence_and_arousal_are_read_by_name_in_any_case_or_as_the_card_says() -> None:
    card = _card({"Arousal": None, "joy": "joy", "VALENCE ": None, "dominance": None})
    assert read_outputs(card, _config(["joy", "dominance", "valence", "arousal"])).values == (2, 3)
    card = _card({"LABEL_1": "arousal", "LABEL_2": "joy", "LABEL_0": "valence"})
    found = read_outputs(card, _config(["LABEL_0", "LABEL_1", "LABEL_2"]))
    assert found.values == (0, 1)
    assert found.matrix.any(axis=1).tolist() == [False, False, True]
    card = _card({"joy": "joy", "valence": None})
    assert read_outputs(card, _config(["joy", "valence"])).values == ()


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"joy": "joy", "valence": "fear"}, "maps valence to fear: map it to null or valence"),
        ({"joy": "joy", "valence": "arousal"}, "maps valence to arousal: map it to null"),
        ({"joy": "joy", "pleasure": "valence", "valence": None}, "maps two labels to valence"),
        ({"joy": "joy", "a": "arousal", "b": "arousal"}, "maps two labels to arousal"),
        ({"a": "arousal", "v": "valence"}, "maps no label to an expression"),
    ],
)
def test_values_that_contradict_their_names_are_refused(
    labels: dict[str, str | None], told: str
) -> None:
    with pytest.raises(AffectstreamError, match=told):
        read_outputs(_card(labels), _config(list(labels)))


def test_a_bias_without_names_needs_the_model_s_order() -> None:
    names = ["joy", "fear"]
    right, wrong = ({name: name for name in order} for order in (names, names[::-1]))
    calibration = {"bias": (0.1, 0.2)}
    assert read_outputs(_card(right, calibration=calibration), _config(names)).matrix.any()
    with pytest.raises(AffectstreamError, match="has a bias, whose values have no names"):
        read_outputs(_card(wrong, calibration=calibration), _config(names))


def test_logits_are_picked_by_name() -> None:
    found = order_by_name(
        np.array([[1.0, 2.0, 3.0]]), ["Joy", "fear", "anger"], ["anger", "calm", "joy"]
    )
    assert found[0, [0, 2]].tolist() == [3.0, 1.0]
    assert np.isnan(found[0, 1])


def test_a_label_that_stands_twice_on_a_card_is_told(tmp_path: Path) -> None:
    text = json.dumps({"name": "x", "version": "1", "modality": "text", "licence": "open"})
    labels = '"labels": {"joy": "joy", "joy": "sadness"}'
    (tmp_path / "card.json").write_text(f"{text[:-1]}, {labels}}}")
    with pytest.raises(AffectstreamError, match="joy occurs twice: leave one of them out"):
        read_card(tmp_path / "card.json")


@pytest.mark.parametrize("listed", list(itertools.permutations(["NEG", "POS", "MAD"])))
def test_scores_do_not_follow_the_order_of_a_card(tmp_path: Path, listed: tuple[str, ...]) -> None:
    model = folders.tiny_text(tmp_path)
    batch = folders.events("text", ["abc", "hello", "zz"])
    wanted = load_recogniser("text", str(model), None, "cpu").estimate(batch).scores
    meant = {"NEG": "sadness", "POS": "joy", "MAD": "anger"}
    folders.write_card(model, "text", {name.lower(): meant[name] for name in listed}, version="1")
    found = load_recogniser("text", str(model), None, "cpu").estimate(batch).scores
    assert np.array_equal(found, wanted)


def test_a_swap_to_a_card_of_other_names_is_refused_and_the_model_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handler_module, "_CHECK_EVERY_S", 0.0)
    model = folders.tiny_text(tmp_path)
    handler = RecogniserHandler(modality="text", model=str(model))
    held, batch = handler.load_model(), folders.events("text", ["abc"])
    wrong = [
        {"first": "sadness", "second": "joy", "third": "anger"},
        {"LABEL_0": "sadness", "LABEL_1": "joy", "LABEL_2": "anger"},
        {"NEG": "sadness", "POS": "joy", "neg": "anger"},
    ]
    for version, labels in enumerate(wrong, 1):
        folders.write_card(model, "text", labels, version=str(version))
        (found,) = handler.run_inference([batch], held)
        assert found.observations["model_id"].to_pylist() == ["tiny-text@0"]
        assert f"goes on with tiny-text@0: the card of tiny-text@{version} names" in caplog.text


def test_a_training_writes_no_card_that_its_own_model_would_be_refused_with(
    tmp_path: Path,
) -> None:
    model = folders.tiny_text(tmp_path / "source")
    net = load_recogniser("text", str(model), None, "cpu")
    assert isinstance(net, NetRecogniser)
    with pytest.raises(AffectstreamError, match="names joy, which its model does not"):
        save_model(tmp_path / "out", net.net, None, _card({"joy": "joy"}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_shipped_model_s_card_may_stand_in_any_order(modality: str, tmp_path: Path) -> None:
    folder = WEIGHTS / f"{modality}-compact"
    card = read_card(folder / "card.json")
    config = json.loads((folder / "config.json").read_text())
    net_config = _config({int(place): name for place, name in config["id2label"].items()})
    changes = {"labels": dict(reversed(card.labels.items())), "calibration": Calibration()}
    turned = card.model_copy(update=changes)  # a bias has no names, and is refused in another order
    assert np.array_equal(
        read_outputs(turned, net_config).matrix, read_outputs(card, net_config).matrix
    )
