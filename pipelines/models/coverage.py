"""The picture of the recognition page: how right the models are on what they do not abstain on."""

from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_serving.training.evaluation import COVERAGES, Evaluation, accuracy_at_name
from schemas.modalities import MODALITIES

_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "affectstream", "font.size": 8}


def curves(found: Evaluation) -> dict[str, list[float]]:
    """Return the accuracy of each test set at each of ``COVERAGES``, by its name."""
    values = {(m.split, m.metric): m.value for m in found.measured}
    sets = [m.split for m in found.measured if m.metric == "ece"]
    names = ["accuracy", *map(accuracy_at_name, COVERAGES[1:])]
    return {
        split: [values[split, name] for name in names]
        for split in sets
        if all((split, name) in values for name in names)
    }


def draw(evaluations: list[Evaluation], path: Path) -> None:
    """Write an SVG with one panel per modality and one line per test set, styled by model."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        for modality, axes in zip(MODALITIES, panels.flat, strict=True):
            _panel(axes, modality, [e for e in evaluations if e.modality == modality])
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axes: Axes, modality: str, evaluations: list[Evaluation]) -> None:
    splits = sorted({split for found in evaluations for split in curves(found)})
    colours = {split: f"C{place % 10}" for place, split in enumerate(splits)}
    for style, found in zip(cycle(("-", "--", ":", "-.")), evaluations, strict=False):
        for split, accuracy in curves(found).items():
            axes.plot(COVERAGES, accuracy, style, color=colours[split], marker=".",
                      linewidth=1, label=f"{found.model}: {split}")  # fmt: skip
    axes.set_title(modality, loc="left")
    axes.set(xlabel="coverage, surest rows first", ylabel="accuracy", xlim=(1.02, 0.48))
    axes.grid(alpha=0.4)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    if splits:
        axes.legend(fontsize=5, loc="best")
