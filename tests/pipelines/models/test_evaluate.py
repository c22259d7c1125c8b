"""The page and the flat figures say what was measured, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from model_serving.card import read_card
from model_serving.training.evaluation import Evaluation, Measured
from model_serving.training.motion import evaluate as motion_evaluate
from pipelines.config import WEIGHTS
from pipelines.models import evaluate as evaluate_module
from pipelines.models.coverage import curves, draw
from pipelines.models.evaluate import calibration, evaluate, folders, summary
from pipelines.models.page import GOALS, page_of
from pipelines.models.throughput import Speed, speeds
from schemas.errors import AffectstreamError

MEASURED = (
    Measured("GoEmotions test", "multi-label macro_f1", 0.5812, 5427, 0.57, 0.59,
             "goemotions_ekman_macro_f1"),
    Measured("GoEmotions test", "ece", 0.0211, 4968),
    Measured("MELD test", "ece", 0.09, 2610, 0.06, 0.12, floor=0.02),
    Measured("MELD test, women", "ece", 0.11, 700, 0.06, 0.12),
)  # fmt: skip
COMPACT = Evaluation("text-compact", "text", "compact", "research", MEASURED)
OPEN = Evaluation("text-compact-open", "text", "compact", "open", (MEASURED[0],))


def test_a_corpus_that_was_never_seen_has_a_line_of_its_own() -> None:
    split = "GoEmotions test, corpus never seen"
    unseen = (
        Measured(split, "accuracy", 0.39, 4968),
        Measured(split, "macro_f1", 0.28, 4968),
        Measured(split, "ece, corpus never seen", 0.13, 4968, floor=0.016),
        Measured(f"{split}, sex, women", "accuracy", 0.4, 2000),
    )
    less = Evaluation("text-compact-without-goemotions", "text", "compact", "research", unseen)
    page = page_of([COMPACT, less], {}, [], "2026-11-26")
    assert (
        "| text-compact-without-goemotions | GoEmotions test | 4,968 | 0.390 | 0.280 | 0.130 |"
        in page
    )
    assert page.count("text-compact-without-goemotions") == 1


def test_flat_figures_are_of_the_main_models_in_per_cent() -> None:
    more = (
        Measured("x", "ece", 0.5, 9000),
        Measured("x", "accuracy", 0.9, 5, key="smp_usual_accuracy"),
    )
    other = Evaluation("text-compact-seed3", "text", "compact", "research", more)
    assert summary([COMPACT, OPEN, other]) == {"goemotions_ekman_macro_f1_compact": 58.12}
    flat = calibration([COMPACT, OPEN, other])
    assert flat == {"ece_max": 0.0211, "ece_small_sets": 1, "ece_small_sets_missed": 1}


def test_page_says_what_is_not_measured() -> None:
    speed = Speed("text-compact", "32 tokens", 612.3, 58.1, 35.6, 60.0)
    page = page_of([COMPACT, OPEN], summary([COMPACT, OPEN]), [speed], "2026-01-02")
    goal = next(line for line in page.splitlines() if "goemotions_ekman_macro_f1 " in line)
    assert "| 62.4 | not measured | 57.0 | 58.1 |" in goal
    assert len([line for line in page.splitlines() if "not measured" in line]) == len(GOALS)
    assert "| text-compact | 32 tokens | 612 | 600 | 58.10 | 35.6 | 60.0 | 0.59 | 0.5 |" in page
    assert "0.570 to 0.590 |  | 5,427" in page
    page = page_of([COMPACT], {"goemotions_ekman_macro_f1_base": 60.0}, [speed], "2026-01-02")
    assert "| 62.4 | 60.0 (2.4 under) | 57.0 | not measured |" in page


def test_curves_are_of_whole_test_sets_by_coverage(tmp_path: Path) -> None:
    values = {"accuracy": 0.7, "accuracy at 90% coverage": 0.75, "accuracy at 80% coverage": 0.8,
              "accuracy at 70% coverage": 0.85, "accuracy at 50% coverage": 0.9}  # fmt: skip
    kept = [Measured("FER+", name, value, 50) for name, value in values.items()]
    never = [Measured("new corpus", name, value, 50) for name, value in values.items()]
    measured = (*kept, Measured("FER+", "ece", 0.02, 50), *never,
                Measured("new corpus", "ece, corpus never seen", 0.2, 50))  # fmt: skip
    found = Evaluation("face-base", "face", "base", "research", measured)
    assert curves(found) == {"FER+": [0.7, 0.75, 0.8, 0.85, 0.9]}
    assert curves(COMPACT) == {}
    draw([found, COMPACT], tmp_path / "curves.svg")
    drawn = (tmp_path / "curves.svg").read_text()
    assert "face-base: FER+" in drawn
    assert "new corpus" not in drawn


def test_a_fresh_checkout_is_measured_as_far_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without voice's answers, voice stands as its card has it; so does what was not asked for."""
    weights = tmp_path / "weights"
    for name in ("voice-base", "motion-compact", "face-compact"):
        shutil.copytree(WEIGHTS / name, weights / name)
    earlier = tmp_path / "build" / "models" / "motion-compact-0.9"
    shutil.copytree(weights / "motion-compact", earlier)
    monkeypatch.setattr(evaluate_module, "WEIGHTS", weights)
    monkeypatch.setattr(evaluate_module, "speeds", list)
    monkeypatch.setattr(motion_evaluate, "_ROWS", 300)
    latest = tmp_path / "docs" / "latest" / "recognition.json"
    latest.parent.mkdir(parents=True)
    latest.write_text('{"ravdess_uar_base": 69.92, "ece_max": 0.9}')
    clips = tmp_path / "data" / "audio"
    clips.mkdir(parents=True)
    (clips / "manifest.csv").write_text("dataset,path,emotion,speaker,language,seconds,intensity\n")
    said = Console(record=True, width=500)
    evaluate(tmp_path / "data", tmp_path / "build", ["motion", "voice"], tmp_path / "docs", said)
    sentence = "voice-base is not measured and its last figures stand: .*answers.npz is not there"
    assert re.search(sentence, said.export_text())
    flat = json.loads(latest.read_text())
    assert flat["ravdess_uar_base"] == 69.92
    assert flat["ece_max"] < 0.05
    (page,) = (tmp_path / "docs").glob("*-recognition.md")
    text = page.read_text()
    assert f"({page.stem}.svg)" in text
    assert "face-compact: FER+" in page.with_suffix(".svg").read_text()
    assert "| ravdess_uar | 60 to 85 by setup | 70.0 | 69.9 (0.1 under) |" in text
    for name in ("voice-base", "motion-compact", "face-compact"):
        assert text.count(f"## {name} (") == 1
    assert "## motion-compact-0.9 (" in text
    day = page.name.removesuffix("-recognition.md")
    assert {
        figure.date for figure in read_card(weights / "motion-compact" / "card.json").figures
    } == {day}
    with pytest.raises(AffectstreamError, match="nothing was written"):
        evaluate(tmp_path / "data", tmp_path / "build", ["voice"], tmp_path / "docs", said)


def test_folders_are_the_shipped_ones_and_those_that_were_built(tmp_path: Path) -> None:
    for name in ("text-base", "text-compact", "text-compact-seed3", "voice-base", "text-empty"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        if name != "text-empty":
            (folder / "card.json").write_text("{}")
    found = {(tier, folder.name) for tier, folder in folders("text", tmp_path)}
    assert ("base", "text-base") in found
    assert ("compact", "text-compact-seed3") in found
    assert not any("empty" in name or "voice" in name for _, name in found)
    shipped = [folder for _, folder in folders("text", tmp_path) if folder.name == "text-compact"]
    assert len(shipped) == 1
    assert "weights" in str(shipped[0])


def test_an_unknown_modality_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="smell"):
        evaluate(tmp_path, tmp_path, ["smell"], tmp_path, Console())


def test_speed_counts_the_arithmetic_of_every_compact_model() -> None:
    found = {speed.model: speed for speed in speeds(rounds=2)}
    assert len(found) == 4
    for speed in found.values():
        assert speed.items_per_s > 0
        assert speed.mflop > 0
        assert 0 < speed.gflops / speed.matmul_gflops < 5
    assert 40 < found["text-compact"].mflop < 70
    assert 15 < found["voice-compact"].mflop < 25  # half of it in Fourier transforms
    assert found["motion-compact"].mflop < 0.1
