"""The dated page of ``affectstream evaluate``: goals, calibration, speed, all figures."""

import os
import platform
import re
from importlib.metadata import version

from model_serving.training.evaluation import ECE_GOAL, ECE_ROWS, Evaluation, Measured
from model_serving.training.recipe import WITHOUT
from pipelines.models.throughput import Speed
from pipelines.show.markdown import markdown_table

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


def page_of(
    evaluations: list[Evaluation], flat: dict[str, float], rates: list[Speed], day: str
) -> str:
    """Return the page: goals first, then calibration and speed, then every model's figures.

    A model that was trained without a corpus is shown only by its figures on corpora it never saw.
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
        _unseen(evaluations),
        _coverage(day),
        _speeds(rates),
        *(_model(found, day) for found in whole if found.measured),
    ]
    return "\n\n".join(sections) + "\n"


def _goals(flat: dict[str, float]) -> str:
    head = ["figure", "published", "base to reach", "base", "compact to reach", "compact"]
    rows = [
        [
            key,
            published,
            f"{base:.1f}",
            _against_goal(flat.get(f"{key}_base"), base),
            "" if compact is None else f"{compact:.1f}",
            _against_goal(flat.get(f"{key}_compact"), compact),
        ]
        for key, (published, base, compact) in GOALS.items()
    ]
    return (
        f"## Published beside measured (per cent)\n\n{markdown_table(head, rows)}\n\n"
        f"Largest ECE of a test set of 3,000 rows and more: {flat.get('ece_max', '–')}. What was "
        "tried where a goal is missed, and what is missing, is in the notes of the model's "
        "recipe (`model_serving/training/recipes/MODEL.yaml`) and card."
    )


def _against_goal(value: float | None, goal: float | None) -> str:
    """Return the figure, and by how much it misses its goal where it does."""
    if value is None:
        return "not measured"
    short = (goal or 0.0) - value
    return f"{value:.1f} ({short:.1f} under)" if short > 0 else f"{value:.1f}"


def _calibration(evaluations: list[Evaluation]) -> str:
    head = ["model", "test set", "rows", "ECE", "95 % interval", "floor", "reached"]
    rows = [
        [
            found.model,
            m.split,
            f"{m.rows:,}",
            f"{m.value:.3f}",
            _interval(m),
            f"{m.floor or 0:.3f}",
            "yes" if m.calibrated else "no",
        ]
        for found in evaluations
        for m in found.test_sets
    ]
    return (
        "## Calibration of every test set\n\n"
        f"The goal: an ECE of at most {ECE_GOAL} from {ECE_ROWS:,} rows on; for a smaller set, an "
        "interval that reaches down to it, or to the floor, which luck alone gives a perfectly "
        "calibrated model on so many rows. Resampling adds luck of its own, so an interval may lie "
        "above the value. Sets that were measured before floors were recorded are not listed.\n\n"
        f"{markdown_table(head, rows)}"
    )


def _unseen(evaluations: list[Evaluation]) -> str:
    """Return the figures on corpora that a model did not learn from."""
    rows = []
    for found in evaluations:
        values = {(m.split, m.metric.partition(",")[0]): m for m in found.measured}
        splits = dict.fromkeys(m.split for m in found.measured if ", corpus never " in m.split)
        for split in splits:
            figures = [values.get((split, metric)) for metric in ("accuracy", "macro_f1", "ece")]
            if None not in figures:
                title = re.sub(", corpus never (seen|heard)", "", split)
                count = f"{values[split, 'ece'].rows:,}"
                rows.append([found.model, title, count, *(f"{m.value:.3f}" for m in figures if m)])
    head = ["model", "test set", "rows", "accuracy", "macro-F1", "ECE"]
    return (
        "## Corpora that the model never saw or heard\n\n"
        "In the shared vocabulary, EmoContext in its own labels. `MODEL-without-CORPUS` is trained "
        "by the recipe without that corpus (`affectstream train --without CORPUS`) and without the "
        "teacher, which saw it. Rows of voice are of such models too, not of the shipped weights."
        f"\n\n{markdown_table(head, rows)}"
    )


def _coverage(day: str) -> str:
    return (
        "## Accuracy by coverage\n\nOf the rows that a model is surest of; as shipped, a model "
        "abstains on those beyond the coverage on its card. A point each at 100, 90, 80, 70 and "
        f"50 %.\n\n![accuracy by coverage, one panel per modality]({day}-recognition.svg)"
    )


def _interval(m: Measured) -> str:
    return "" if m.low is None or m.high is None else f"{m.low:.3f} to {m.high:.3f}"


def _speeds(rates: list[Speed]) -> str:
    head = [
        "model", "input", "items/s", "to reach", "MFLOP per item", "GFLOP/s",
        "matrix product GFLOP/s", "share", "to reach",
    ]  # fmt: skip
    rows = []
    for s in rates:
        items, share = RATES[s.model.partition("-")[0]]
        rows.append(
            [
                s.model,
                s.item,
                f"{s.items_per_s:,.0f}",
                f"{items:,}",
                f"{s.mflop:.2f}",
                f"{s.gflops:.1f}",
                f"{s.matmul_gflops:.1f}",
                f"{s.gflops / s.matmul_gflops:.2f}",
                "" if share is None else f"{share}",
            ]
        )
    return (
        "## Forward passes of the compact models\n\n"
        "Batch 64 (motion 1,024), in turns with a 1,024³ float32 matrix product; medians. Half of "
        "voice's arithmetic is Fourier transforms, and most of its time goes to these, sorting and "
        "sums: it can't come near the rate of a product.\n\n"
        f"{markdown_table(head, rows)}"
    )


def _model(found: Evaluation, day: str) -> str:
    head = ["split", "metric", "value", "95 % interval", "by luck", "rows"]
    rows = [
        [
            m.split,
            m.metric,
            f"{m.value:.3f}",
            _interval(m),
            "" if m.floor is None else f"{m.floor:.3f}",
            f"{m.rows:,}",
        ]
        for m in found.measured
    ]
    title = f"## {found.model} ({found.tier}, {found.licence}), measured {found.day or day}"
    return f"{title}\n\n{markdown_table(head, rows)}"
