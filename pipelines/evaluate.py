"""``affectstream evaluate``: figures on the test splits, into cards, a dated page and one JSON."""

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from model_serving.training.evaluation import Evaluation, Measured, Tier, write_figures
from pipelines.config import WEIGHTS
from pipelines.throughput import Speed, speeds
from schemas.errors import AffectstreamError
from schemas.vocabularies import MODALITIES

GOALS = {
    "goemotions_ekman_macro_f1": ("BERT-base 62.4", 62.4, 57.0),
    "smp_usual_accuracy": ("bert-base-chinese 77.2", 77.2, 72.0),
    "smp_usual_macro_f1": ("bert-base-chinese 73.9", 73.9, 68.0),
    "brighter_chn_macro_f1": ("XLM-R 58.5, LaBSE 53.5", 58.5, None),
    "brighter_eng_macro_f1": ("RemBERT 70.8, XLM-R 67.3", 67.3, None),
    "ferplus_accuracy": ("VGG13 83.3", 85.0, 82.0),
    "ravdess_uar": ("60 to 85 by setup", 65.0, 60.0),
    "emodb_uar": ("ComParE and SVM, 86 to 88", 80.0, 70.0),
}
"""What is published on the split, and what base and compact are to reach, in per cent."""

COMMAND = "affectstream evaluate --data CORPORA"


def evaluate(data: Path, build: Path, only: list[str], docs: Path, console: Console) -> None:
    """Measure every model that is there, and write what was found.

    ``only`` names the modalities to measure anew; of the others the last figures stand.
    """
    unknown = sorted(set(only) - set(MODALITIES))
    if unknown:
        message = f"{unknown} are no modalities: {', '.join(MODALITIES)}"
        raise AffectstreamError(message)
    kept = build / "evaluation"
    kept.mkdir(parents=True, exist_ok=True)
    for modality in only or MODALITIES:
        module = import_module(f"model_serving.training.{modality}_evaluate")
        for tier, folder in folders(modality, build):
            console.print(f"measuring {folder}")
            found = module.evaluate(folder, data, tier, build / "answers")
            write_figures(folder, found)
            (kept / f"{found.model}.json").write_text(json.dumps(asdict(found), indent=1))
    evaluations = [read(path) for path in sorted(kept.glob("*.json"))]
    flat = summary(evaluations)
    day = datetime.now(UTC).date().isoformat()
    (docs / "latest").mkdir(parents=True, exist_ok=True)
    (docs / "latest" / "recognition.json").write_text(json.dumps(flat, indent=2) + "\n")
    page = docs / f"{day}-recognition.md"
    page.write_text(page_of(evaluations, flat, speeds(), day), encoding="utf-8")
    console.print(f"page: {page}")


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


def read(path: Path) -> Evaluation:
    """Read an evaluation that was written here."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Evaluation(**found | {"measured": tuple(Measured(**m) for m in found["measured"])})


def summary(evaluations: list[Evaluation]) -> dict[str, float]:
    """Return the flat figures in per cent; of several models of a tier, the one that has no suffix.

    ``ece_max`` is a share: the largest of any test set of at least 3,000 rows.
    """
    flat: dict[str, float] = {}
    main = [e for e in evaluations if e.model == f"{e.modality}-{e.tier}"]
    for found in main:
        for measured in found.measured:
            if measured.key:
                flat[f"{measured.key}_{found.tier}"] = round(100 * measured.value, 2)
    if main:
        flat["ece_max"] = round(max(found.ece_max for found in main), 4)
    return dict(sorted(flat.items()))


def page_of(
    evaluations: list[Evaluation], flat: dict[str, float], rates: list[Speed], day: str
) -> str:
    """Return the page: goals first, then speed, then every model's figures."""
    sections = [
        f"# Recognition, {day}",
        f"`{COMMAND}` on {platform.machine()}, {os.cpu_count()} cores; Python "
        f"{platform.python_version()}, torch {version('torch')}, transformers "
        f"{version('transformers')}. Test splits are read once, by the models that stand here; "
        "thresholds, calibration and epochs were chosen on dev.",
        _goals(flat),
        _speeds(rates),
        *(_model(found) for found in evaluations),
    ]
    return "\n\n".join(sections) + "\n"


def _goals(flat: dict[str, float]) -> str:
    lines = [
        "## Published beside measured (per cent)",
        "| figure | published | base to reach | base | compact to reach | compact |\n"
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key, (published, base, compact) in GOALS.items():
        measured = [flat.get(f"{key}_{tier}") for tier in ("base", "compact")]
        cells = ["not measured" if value is None else f"{value:.1f}" for value in measured]
        wanted = "" if compact is None else f"{compact:.1f}"
        lines.append(f"| {key} | {published} | {base:.1f} | {cells[0]} | {wanted} | {cells[1]} |")
    lines.append(f"\nLargest ECE of a test set of 3,000 rows and more: {flat.get('ece_max', '–')}.")
    return "\n".join([lines[0], "", *lines[1:]])


def _speeds(rates: list[Speed]) -> str:
    lines = [
        "## Forward passes of the compact models",
        "",
        "Batch 64 (motion 1,024), in turns with a 1,024³ float32 matrix product; medians.",
        "",
        "| model | input | items/s | MFLOP an item | GFLOP/s | matrix product GFLOP/s | share |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for s in rates:
        lines.append(
            f"| {s.model} | {s.item} | {s.items_per_s:,.0f} | {s.mflop:.2f} | {s.gflops:.1f} | "
            f"{s.matmul_gflops:.1f} | {s.gflops / s.matmul_gflops:.2f} |"
        )
    return "\n".join(lines)


def _model(found: Evaluation) -> str:
    lines = [
        f"## {found.model} ({found.tier}, {found.licence})",
        "",
        "| split | metric | value | 95 % interval | rows |",
        "| --- | --- | --- | --- | --- |",
    ]
    for m in found.measured:
        interval = "" if m.low is None or m.high is None else f"{m.low:.3f} to {m.high:.3f}"
        lines.append(f"| {m.split} | {m.metric} | {m.value:.3f} | {interval} | {m.rows:,} |")
    return "\n".join(lines)
