"""``affectstream evaluate``: figures on the test splits, into cards, a dated page and one JSON."""

import json
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from rich.console import Console

from model_serving.training.evaluation import (
    ECE_ROWS,
    Evaluation,
    Tier,
    of_card,
    write_figures,
)
from model_serving.training.recipe import WITHOUT
from pipelines.config import WEIGHTS
from pipelines.models.coverage import draw
from pipelines.models.page import page_of
from pipelines.models.throughput import speeds
from pipelines.models.train import explain_missing_data
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES

FUSION = "fusion"
"""What ``only`` may name besides a modality."""


def evaluate(data: Path, build: Path, only: list[str], docs: Path, console: Console) -> None:
    """Measure every model that exists here, and write cards, pages and flat figures.

    ``only`` names the modalities to measure again, or fusion. The others, and models that can't be
    measured here, keep their last figures: those of the card and of the flat file.
    Raises AffectstreamError where no model could be measured.
    """
    unknown = sorted(set(only) - {*MODALITIES, FUSION})
    if unknown:
        known = ", ".join([*MODALITIES, FUSION, "reply"])
        message = f"--only names {', '.join(unknown)}, which nothing here measures: name {known}"
        raise AffectstreamError(message)
    judged = [modality for modality in MODALITIES if modality in only or not only]
    if judged:
        _evaluate_recognisers(data, build, judged, docs, console)
    if FUSION in only or not only:
        # It needs scikit-learn, which recognisers are measured without.
        import_module("pipelines.models.fusion").evaluate_fusion(data, build, docs, console)


def _evaluate_recognisers(
    data: Path, build: Path, only: list[str], docs: Path, console: Console
) -> None:
    every: list[Evaluation] = []
    fresh: list[Evaluation] = []
    for modality in MODALITIES:
        for tier, folder in folders(modality, build):
            found = None
            if modality in only:
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
    """Measure one model and write its card; return None and print why where that is impossible."""
    console.print(f"measuring {folder}")
    module = import_module(f"model_serving.training.{modality}.evaluate")
    try:
        with explain_missing_data(data):
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
    """Return the calibration figures of the models whose names have no suffix.

    ``ece_max`` is the largest ECE, a share, of any test set of at least 3,000 rows;
    ``ece_small_sets_missed`` counts the smaller sets whose interval lies above both 0.03 and the
    floor.
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
