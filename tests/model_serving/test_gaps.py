"""Cards without figures by group, or with large gaps, refuse their model; exceptions end."""

import datetime as dt
import math
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from model_serving import gaps
from model_serving.card import Figure, ModelCard, read_card, write_card
from model_serving.fusion import load_fusion
from model_serving.gaps import GapLimit, check_gaps, exception_for, explain_gaps, largest_gaps
from model_serving.handler import RecogniserHandler
from model_serving.loader import load_recogniser
from pipelines.config import WEIGHTS, Config, load_config
from pipelines.run.config_check import find_problems
from pipelines.run.preflight import load_models
from schemas.errors import AffectstreamError
from tests.support import model_folders as folders

DAY = dt.date(2026, 11, 30)
EXCEPTION = {"reason": "no corpus tells the groups of people", "by": "dana", "until": "2026-12-31"}
SHIPPED = sorted(path.parent.name for path in WEIGHTS.glob("*/card.json"))


def card(*figures: tuple[str, float | None, float | None, float | None]) -> ModelCard:
    return ModelCard(
        name="mine",
        version="1",
        modality="text",
        licence="open",
        labels={},
        figures=tuple(
            Figure(
                split=f"test {n}", metric=metric, value=value, date="2026-11-30", low=low, high=high
            )
            for n, (metric, value, low, high) in enumerate(figures)
        ),
    )


RECALL, CALIBRATION = ("uar gap", 0.05, 0.01, 0.09), ("ece gap", 0.04, 0.01, 0.08)


def why(given: ModelCard, **limit: object) -> str | None:
    return explain_gaps(given, GapLimit.model_validate(limit), lambda: DAY)


def test_small_gaps_with_intervals_are_what_a_card_needs() -> None:
    assert why(card(RECALL, CALIBRATION)) is None
    assert why(card(("uar gap", 0.1, 0.0, 0.3), CALIBRATION)) is None, "the limit itself"


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ((), "no gap in recall between groups with a bootstrap interval"),
        ((CALIBRATION,), "no gap in recall"),
        ((RECALL,), "no gap in calibration"),
        ((("uar gap", 0.05, None, 0.09), CALIBRATION), "no gap in recall"),
        ((("accuracy gap", 0.01, 0.0, 0.02), CALIBRATION), "no gap in recall"),
        ((("uar", 0.9, 0.8, 0.95), CALIBRATION), "no gap in recall"),
        (
            (("uar gap", 0.101, 0.02, 0.2), CALIBRATION),
            "gap in recall is 0.101 (95 % interval 0.020",
        ),
        ((RECALL, ("uar gap", 0.3, 0.1, 0.4), CALIBRATION), "gap in recall is 0.300"),
        ((("uar gap", 0.3, 0.1, 0.4), RECALL, CALIBRATION), "gap in recall is 0.300"),
        ((RECALL, ("ece gap", 0.2, 0.1, 0.3)), "gap in calibration is 0.200"),
        ((("uar gap", math.nan, 0.0, 0.1), RECALL, CALIBRATION), "gap in recall is nan"),
        ((RECALL, ("uar gap", math.nan, 0.0, 0.1), CALIBRATION), "gap in recall is nan"),
        ((("uar gap", -0.01, -0.02, 0.0), RECALL, CALIBRATION), "gap in recall is -0.010, and no"),
        ((("uar gap", math.inf, 0.0, 0.1), RECALL, CALIBRATION), "gap in recall is inf"),
    ],
)
def test_a_card_that_shows_no_small_gaps_is_refused(figures: tuple, said: str) -> None:
    refused = why(card(*figures))
    assert refused is not None
    assert refused.startswith("mine@1 is not loaded: ")
    assert said in refused
    assert "models.exceptions.text" in refused


def test_the_limit_is_the_configurations() -> None:
    assert why(card(RECALL, CALIBRATION), max_gap=0.045) is not None
    assert why(card(("uar gap", 0.3, 0.1, 0.4), CALIBRATION), max_gap=0.3) is None


def test_an_exception_is_named_logged_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    bare = card()
    named = {"exceptions": {"text": EXCEPTION}}
    limit = GapLimit.model_validate(named)
    check_gaps(bare, limit, lambda: DAY)
    assert "mine@1 runs by an exception until 2026-12-31, by dana: no corpus" in caplog.text
    assert why(bare, exceptions={"voice": EXCEPTION}) is not None, "of another model"
    assert explain_gaps(bare, limit, lambda: dt.date(2026, 12, 31)) is None
    ended = explain_gaps(bare, limit, lambda: dt.date(2027, 1, 1))
    assert ended is not None
    assert "the exception for it by dana ended on 2026-12-31" in ended
    caplog.clear()
    check_gaps(card(RECALL, CALIBRATION), limit, lambda: DAY)
    assert not caplog.text, "it was not needed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": "short"},
        {"reason": " " * 40},
        {"by": ""},
        {"until": "never"},
        {"until": "9999-12-31"},
        {"until": None},
        {"unless": "x"},
    ],
)
def test_an_exception_without_reason_name_or_end_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GapLimit.model_validate({"exceptions": {"text": EXCEPTION | wrong}})
    with pytest.raises(AffectstreamError, match=r"models\.exceptions"):
        load_config(None, log="l", tables="t", keys="k",
                    models={"exceptions": {"text": EXCEPTION | wrong}})  # fmt: skip


def test_an_exception_for_no_model_is_refused() -> None:
    with pytest.raises(AffectstreamError, match=r"'txt' is no model: did you mean `text`"):
        load_config(None, log="l", tables="t", keys="k", models={"exceptions": {"txt": EXCEPTION}})


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "mtcnn"])
def test_every_shipped_model_has_small_gaps_or_an_exception_that_has_not_ended(name: str) -> None:
    check_gaps(read_card(WEIGHTS / name / "card.json"), GapLimit())


def test_shipped_exceptions_are_needed_and_end_before_the_duties_begin() -> None:
    cards = {read_card(WEIGHTS / name / "card.json").model_id: name for name in SHIPPED}
    for found in gaps._shipped():
        described = read_card(WEIGHTS / cards[found.model] / "card.json")
        assert described.sha256["model.safetensors"] == found.weights, found.model
        assert found.until < dt.date(2027, 12, 2)
        assert explain_gaps(described, GapLimit(), lambda: dt.date(2027, 12, 2)) is not None


def test_a_shipped_exception_is_for_these_weights_alone() -> None:
    voice = read_card(WEIGHTS / "voice-compact" / "card.json")
    assert exception_for(voice, GapLimit()) is not None
    other = voice.model_copy(update={"sha256": voice.sha256 | {"model.safetensors": "0" * 64}})
    assert exception_for(other, GapLimit()) is None
    unnamed = voice.model_copy(update={"sha256": {}})
    assert exception_for(unnamed, GapLimit()) is None


def test_the_largest_gap_is_the_one_that_counts() -> None:
    found = largest_gaps(read_card(WEIGHTS / "voice-compact" / "card.json"))
    assert found["uar gap"].value == pytest.approx(0.1406)
    assert found["uar gap"].split == "RAVDESS actors 21-24, 8 classes, sex"


def test_a_loader_refuses_before_it_reads_weights_and_training_loads_all_the_same(
    tmp_path: Path,
) -> None:
    model = folders.tiny_text(tmp_path)
    with pytest.raises(AffectstreamError, match="has no gap in recall"):
        load_recogniser("text", str(model), None, "cpu", GapLimit())
    load_recogniser("text", str(model), None, "cpu")
    with pytest.raises(AffectstreamError, match="no model card at"):
        load_recogniser("text", "someone/some-model", None, "cpu", GapLimit())
    allowed = GapLimit.model_validate({"exceptions": {"text": EXCEPTION | {"until": "2099-01-01"}}})
    load_recogniser("text", str(model), None, "cpu", allowed)
    load_recogniser("text", "constant", None, "cpu", GapLimit())


def test_a_swap_to_a_card_with_large_gaps_is_refused(tmp_path: Path) -> None:
    model = folders.tiny_text(tmp_path)
    fair = read_card(model / "card.json").model_copy(
        update={"figures": card(RECALL, CALIBRATION).figures}
    )
    write_card(model, fair)
    handler = RecogniserHandler(modality="text", model=str(model), gaps=GapLimit())
    handler.load_model()
    write_card(model, fair.model_copy(update={"figures": ()}))
    with pytest.raises(AffectstreamError, match="has no gap in recall"):
        handler.load_model()


def test_a_fusion_model_is_asked_too(tmp_path: Path) -> None:
    load_fusion(None, GapLimit())
    folder = tmp_path / "fusion"
    shutil.copytree(WEIGHTS / "fusion", folder)
    renamed = read_card(folder / "card.json").model_copy(update={"version": "9.0.0"})
    write_card(folder, renamed)
    with pytest.raises(
        AffectstreamError, match=r"fusion-compact@9\.0\.0 is not loaded: its card has"
    ):
        load_fusion(folder, GapLimit())
    load_fusion(folder)


def test_the_run_and_the_check_of_a_configuration_say_the_same(tmp_path: Path, keys: Path) -> None:
    model = folders.tiny_text(tmp_path / "model")
    given = {"text": {"model": str(model)}, "voice": {"model": "constant"},
             "face": {"model": "constant"}, "motion": {"model": "constant"}}  # fmt: skip
    config = Config(log=tmp_path, tables=tmp_path, keys=keys, models=given)
    with pytest.raises(AffectstreamError, match="has no gap in recall") as caught:
        load_models(config.models)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"tables: {tmp_path / 'tables'}\nkeys: {keys}\nlive: {{state: {tmp_path / 'live'}}}\n"
        f"models: {{text: {{model: {model}}}}}\n"
    )
    assert str(caught.value) in find_problems(path)


def test_the_fingerprint_of_a_run_does_not_follow_who_lets_a_model_run(keys: Path) -> None:
    plain = Config(log="log", tables="t", keys=keys)
    excepted = Config(log="log", tables="t", keys=keys,
                      models={"max_gap": 0.5, "exceptions": {"text": EXCEPTION}})  # fmt: skip
    assert plain.fingerprint == excepted.fingerprint
