"""``affectstream evaluate``: figures on the test splits, into cards, a dated page and one JSON."""

import json
import os
import platform
import re
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from model_serving.training.evaluation import (
    ECE_GOAL,
    ECE_ROWS,
    Evaluation,
    Measured,
    Tier,
    of_card,
    write_figures,
)
from model_serving.training.recipe import WITHOUT
from pipelines.config import WEIGHTS
from pipelines.models.coverage import draw
from pipelines.models.throughput import Speed, speeds
from pipelines.models.train import reading
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES

GOALS = {
    "goemotions_ekman_macro_f1": ("BERT-base 62.4", 62.4, 57.0),
    "smp_usual_accuracy": ("bert-base-chinese 77.2", 77.2, 72.0),
    "smp_usual_macro_f1": ("bert-base-chinese 73.9", 73.9, 68.0),
    "brighter_chn_macro_f1": ("XLM-R 58.5, LaBSE 53.5", 58.5, None),
    "brighter_eng_macro_f1": ("RemBERT 70.8, XLM-R 67.3", 67.3, None),
    "ferplus_accuracy": ("VGG13 83.3", 85.0, 82.0),
    "ravdess_uar": ("60 to 85 by setup", 70.0, 60.0),
    "emodb_uar": ("ComParE and SVM, 86 to 88", 80.0, 70.0),
}
"""What is published on the split, and what base and compact are to reach, in per cent."""

RATES = {"text": (600, 0.5), "voice": (300, 0.5), "face": (1_000, 0.25), "motion": (20_000, None)}
"""Items a second that a compact model is to reach, and its share of the matrix product's rate."""

COMMAND = "affectstream evaluate --data CORPORA"


def evaluate(data: Path, build: Path, only: list[str], docs: Path, console: Console) -> None:
    """Measure every model that is there, and write what was found.

    ``only`` names the modalities to measure anew. Of the others, and of a model that can't be
    measured here, the last figures stand: those of its card and of the flat file.
    Raises AffectstreamError where no model could be measured.
    """
    unknown = sorted(set(only) - set(MODALITIES))
    if unknown:
        message = f"{unknown} are no modalities: {', '.join(MODALITIES)}"
        raise AffectstreamError(message)
    every: list[Evaluation] = []
    fresh: list[Evaluation] = []
    for modality in MODALITIES:
        for tier, folder in folders(modality, build):
            found = None
            if modality in (only or MODALITIES):
                found = _measure(modality, tier, folder, data, build, console)
            if found is not None:
                fresh.append(found)
            every.append(found or of_card(folder, modality, tier))
    if not fresh:
        message = "no model was measured, so nothing was written: the lines above say why"
        raise AffectstreamError(message)
    latest = docs / "latest" / "recognition.json"
    before = json.loads(latest.read_text(encoding="utf-8")) if latest.is_file() else {}
    flat = dict(sorted((before | summary(fresh) | calibration(every)).items()))
    latest.parent.mkdir(parents=True, exist_ok=True)
    latest.write_text(json.dumps(flat, indent=2) + "\n", encoding="utf-8")
    day = datetime.now(UTC).date().isoformat()
    page = docs / f"{day}-recognition.md"
    page.write_text(page_of(every, flat, speeds(), day), encoding="utf-8")
    draw([found for found in every if WITHOUT not in found.model], page.with_suffix(".svg"))
    console.print(f"page: {page}")


def _measure(
    modality: str, tier: Tier, folder: Path, data: Path, build: Path, console: Console
) -> Evaluation | None:
    """Measure one model and write its card; None, and a line that says why, where it can't be."""
    console.print(f"measuring {folder}")
    module = import_module(f"model_serving.training.{modality}.evaluate")
    try:
        with reading(data):
            found: Evaluation = module.evaluate(folder, data, tier, build / "answers")
    except AffectstreamError as error:
        console.print(f"{folder.name} is not measured and its last figures stand: {error}")
        return None
    write_figures(folder, found)
    return found


def folders(modality: str, build: Path) -> list[tuple[Tier, Path]]:
    """Return the model folders of a modality: shipped ones, and those under ``build/models``."""
    found: list[tuple[Tier, Path]] = []
    for root in (WEIGHTS, build / "models"):
        for folder in sorted(root.glob(f"{modality}-*")):
            tier: Tier = "base" if folder.name.startswith(f"{modality}-base") else "compact"
            shipped = root == WEIGHTS or not (WEIGHTS / folder.name).is_dir()
            if shipped and (folder / "card.json").is_file():
                found.append((tier, folder))
    return found


def summary(evaluations: list[Evaluation]) -> dict[str, float]:
    """Return the flat figures in per cent, of the models whose names have no suffix."""
    return {
        f"{measured.key}_{found.tier}": round(100 * measured.value, 2)
        for found in _main(evaluations)
        for measured in found.measured
        if measured.key
    }


def calibration(evaluations: list[Evaluation]) -> dict[str, float]:
    """Return what is asked of the ECE of the models whose names have no suffix.

    ``ece_max`` is a share: the largest of any test set of at least 3,000 rows. Of the smaller ones,
    ``ece_small_sets_missed`` counts those whose interval lies above both 0.03 and the floor.
    """
    main = _main(evaluations)
    small = [m for found in main for m in found.test_sets if m.rows < ECE_ROWS]
    return {
        "ece_max": round(max((found.ece_max for found in main), default=0.0), 4),
        "ece_small_sets": len(small),
        "ece_small_sets_missed": sum(not m.calibrated for m in small),
    }


def _main(evaluations: list[Evaluation]) -> list[Evaluation]:
    return [found for found in evaluations if found.model == f"{found.modality}-{found.tier}"]


def page_of(
    evaluations: list[Evaluation], flat: dict[str, float], rates: list[Speed], day: str
) -> str:
    """Return the page: goals first, then speed, then every model's figures.

    Of a model that lacks a corpus only what it makes of those that it never saw is shown.
    """
    whole = [found for found in evaluations if WITHOUT not in found.model]
    sections = [
        f"# Recognition, {day}",
        f"`{COMMAND}` on {platform.machine()}, {os.cpu_count()} cores; Python "
        f"{platform.python_version()}, torch {version('torch')}, transformers "
        f"{version('transformers')}. Thresholds, calibration and epochs were chosen on dev; "
        "where a change was judged on a test split too, the notes of the model's card say so.",
        _goals(flat),
        _calibration(whole),
        _across(evaluations),
        _coverage(day),
        _speeds(rates),
        *(_model(found, day) for found in whole if found.measured),
    ]
    return "\n\n".join(sections) + "\n"


def _goals(flat: dict[str, float]) -> str:
    lines = [
        "## Published beside measured (per cent)",
        "| figure | published | base to reach | base | compact to reach | compact |\n"
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key, (published, base, compact) in GOALS.items():
        cells = [
            _reached(flat.get(f"{key}_{tier}"), goal)
            for tier, goal in (("base", base), ("compact", compact))
        ]
        wanted = "" if compact is None else f"{compact:.1f}"
        lines.append(f"| {key} | {published} | {base:.1f} | {cells[0]} | {wanted} | {cells[1]} |")
    lines.append(
        f"\nLargest ECE of a test set of 3,000 rows and more: {flat.get('ece_max', '–')}. What was "
        "tried where a goal is missed, and what is missing, stands in the notes of the model's "
        "recipe (`model_serving/training/recipes/MODEL.yaml`) and card."
    )
    return "\n".join([lines[0], "", *lines[1:]])


def _reached(value: float | None, goal: float | None) -> str:
    """Return the figure, and by how much it misses its goal where it does."""
    if value is None:
        return "not measured"
    short = (goal or 0.0) - value
    return f"{value:.1f} ({short:.1f} under)" if short > 0 else f"{value:.1f}"


def _calibration(evaluations: list[Evaluation]) -> str:
    lines = [
        "## Calibration of every test set",
        "",
        f"Asked for: an ECE of at most {ECE_GOAL} from {ECE_ROWS:,} rows on; of a smaller set, an "
        "interval that reaches down to it, or to the floor, which luck alone gives a perfectly "
        "calibrated model on so many rows. Resampling adds luck of its own, so an interval may lie "
        "above the value. Sets that were measured before floors were kept are not listed.",
        "",
        "| model | test set | rows | ECE | 95 % interval | floor | reached |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for found in evaluations:
        for m in found.test_sets:
            lines.append(
                f"| {found.model} | {m.split} | {m.rows:,} | {m.value:.3f} | {_interval(m)} | "
                f"{m.floor or 0:.3f} | {'yes' if m.calibrated else 'no'} |"
            )
    return "\n".join(lines)


def _across(evaluations: list[Evaluation]) -> str:
    """Return the figures on corpora that a model did not learn from."""
    lines = [
        "## Corpora that the model never saw or heard",
        "",
        "In the shared vocabulary, EmoContext in its own labels. `MODEL-without-CORPUS` is of the "
        "recipe less that corpus (`affectstream train --without CORPUS`) and less the teacher, "
        "which saw it. Rows of voice are of the recipe less that corpus too, not of the shipped "
        "weights.",
        "",
        "| model | test set | rows | accuracy | macro-F1 | ECE |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for found in evaluations:
        values = {(m.split, m.metric.partition(",")[0]): m for m in found.measured}
        splits = dict.fromkeys(m.split for m in found.measured if ", corpus never " in m.split)
        for split in splits:
            figures = [values.get((split, metric)) for metric in ("accuracy", "macro_f1", "ece")]
            if None not in figures:
                title = re.sub(", corpus never (seen|heard)", "", split)
                cells = " | ".join(f"{m.value:.3f}" for m in figures if m)
                lines.append(
                    f"| {found.model} | {title} | {values[split, 'ece'].rows:,} | {cells} |"
                )
    return "\n".join(lines)


def _coverage(day: str) -> str:
    return (
        "## Accuracy by coverage\n\nOf the rows that a model is surest of; as shipped, a model "
        "abstains on those beyond the coverage on its card. A point each at 100, 90, 80, 70 and "
        f"50 %.\n\n![accuracy by coverage, a panel a modality]({day}-recognition.svg)"
    )


def _interval(m: Measured) -> str:
    return "" if m.low is None or m.high is None else f"{m.low:.3f} to {m.high:.3f}"


def _speeds(rates: list[Speed]) -> str:
    lines = [
        "## Forward passes of the compact models",
        "",
        "Batch 64 (motion 1,024), in turns with a 1,024³ float32 matrix product; medians. Half of "
        "voice's arithmetic is Fourier transforms, and most of its time goes to these, sorting and "
        "sums: it can't come near the rate of a product.",
        "",
        "| model | input | items/s | to reach | MFLOP an item | GFLOP/s | matrix product GFLOP/s | "
        "share | to reach |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for s in rates:
        items, share = RATES[s.model.partition("-")[0]]
        lines.append(
            f"| {s.model} | {s.item} | {s.items_per_s:,.0f} | {items:,} | {s.mflop:.2f} | "
            f"{s.gflops:.1f} | {s.matmul_gflops:.1f} | {s.gflops / s.matmul_gflops:.2f} | "
            f"{'' if share is None else share} |"
        )
    return "\n".join(lines)


def _model(found: Evaluation, day: str) -> str:
    lines = [
        f"## {found.model} ({found.tier}, {found.licence}), measured {found.day or day}",
        "",
        "| split | metric | value | 95 % interval | by luck | rows |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for m in found.measured:
        luck = "" if m.floor is None else f"{m.floor:.3f}"
        lines.append(
            f"| {m.split} | {m.metric} | {m.value:.3f} | {_interval(m)} | {luck} | {m.rows:,} |"
        )
    return "\n".join(lines)
