"""The page and the flat figures say what was measured, and nothing else."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from model_serving.training.evaluation import Evaluation, Measured
from pipelines.evaluate import GOALS, evaluate, folders, page_of, read, summary
from pipelines.throughput import Speed, speeds
from schemas.errors import AffectstreamError

MEASURED = (
    Measured("GoEmotions test", "multi-label macro_f1", 0.5812, 5427, 0.57, 0.59,
             "goemotions_ekman_macro_f1"),
    Measured("GoEmotions test", "ece", 0.0211, 4968),
    Measured("MELD test", "ece", 0.09, 2610),
)  # fmt: skip
COMPACT = Evaluation("text-compact", "text", "compact", "research", MEASURED)
OPEN = Evaluation("text-compact-open", "text", "compact", "open", (MEASURED[0],))


def test_flat_figures_are_of_the_main_models_in_per_cent() -> None:
    more = (
        Measured("x", "ece", 0.5, 9000),
        Measured("x", "accuracy", 0.9, 5, key="smp_usual_accuracy"),
    )
    other = Evaluation("text-compact-seed3", "text", "compact", "research", more)
    flat = summary([COMPACT, OPEN, other])
    assert flat == {"ece_max": 0.0211, "goemotions_ekman_macro_f1_compact": 58.12}


def test_page_says_what_is_not_measured() -> None:
    speed = Speed("text-compact", "32 tokens", 612.3, 58.1, 35.6, 60.0)
    page = page_of([COMPACT, OPEN], summary([COMPACT, OPEN]), [speed], "2026-01-02")
    goal = next(line for line in page.splitlines() if "goemotions_ekman_macro_f1 " in line)
    assert "| 62.4 | not measured | 57.0 | 58.1 |" in goal
    assert len([line for line in page.splitlines() if "not measured" in line]) == len(GOALS)
    assert "| text-compact | 32 tokens | 612 | 58.10 | 35.6 | 60.0 | 0.59 |" in page
    assert "0.570 to 0.590 | 5,427" in page


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(asdict(COMPACT)))
    assert read(path) == COMPACT


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
    assert found["motion-compact"].mflop < 0.1
