"""The pictures of a report, each one inline SVG that follows the page's light or dark ink."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipelines.show.accuracy import Accuracy, Score
from pipelines.show.screen import COLOURS, histories
from schemas.vocabularies import EXPRESSIONS

_INK, _LINE = "#010203", "#040506"  # stand-ins; become the page's colours in the SVG
_VALENCE, _AROUSAL, _BLUE, _GREY = "#E08214", "#6A7FDB", "#3D85C6", "#8A94A3"
_SESSIONS = 12
_WINDOWS = 120  # ten minutes of 5 s windows a session; more are narrower than a printed line
_WIDTH = 9.0

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "affectstream",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


def _svg(draw: Callable[[], Figure]) -> str:
    """Draw under the report's style and return the bare ``<svg>`` element."""
    with mpl.rc_context(_STYLE):
        figure = draw()
        sink = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(sink, format="svg", transparent=True, metadata=nothing)
    text = sink.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return text.replace(_INK, "currentColor").replace(_LINE, "var(--line)").strip()


def sessions(features: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the newest sessions, each purpose apart: a name and the last windows.

    ``minute`` is the time in the session.
    """
    for name, rows in histories(features)[-_SESSIONS:]:
        yield name, rows.assign(minute=rows["since"].dt.total_seconds() / 60).tail(_WINDOWS)


def valence_arousal(features: pd.DataFrame) -> str:
    """Draw valence and arousal over each session; a surer estimate has a larger point."""

    def draw() -> Figure:
        shown = list(sessions(features))
        across = min(3, len(shown))
        down = -(-len(shown) // across)
        figure = Figure(figsize=(_WIDTH, 1.35 * down + 0.7), layout="constrained")
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes, (name, rows) in zip(panels.flat, shown, strict=False):
            _draw_session(axes, name, rows)
        for axes in panels.flat[len(shown) :]:
            axes.set_visible(False)
        for axes in panels.flat[max(0, len(shown) - across) : len(shown)]:
            axes.set_xlabel("minutes in the session")
            axes.tick_params(labelbottom=True)
        lines = [mpl.lines.Line2D([], [], color=c, marker="o") for c in (_VALENCE, _AROUSAL)]
        figure.legend(lines, ["valence", "arousal"], loc="outside upper right", ncols=2)
        return figure

    return _svg(draw)


def _draw_session(axes: Axes, name: str, rows: pd.DataFrame) -> None:
    axes.set_title(name, family="monospace", pad=3)
    axes.axhline(0, color=_LINE, linewidth=0.8)
    sure = rows["confidence"].to_numpy(dtype=float)
    for column, colour in (("valence", _VALENCE), ("arousal", _AROUSAL)):
        axes.plot(rows["minute"], rows[column], color=colour, linewidth=0.8, alpha=0.45)
        tones = [(*mpl.colors.to_rgb(colour), 0.2 + 0.8 * c) for c in sure]
        axes.scatter(rows["minute"], rows[column], s=2 + 16 * sure**2, c=tones, linewidths=0)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1])


def timeline(features: pd.DataFrame, truth: pd.DataFrame | None) -> str:
    """Draw one row per session in the expressions' colours, the true ones as a strip beneath."""

    def draw() -> Figure:
        shown = list(sessions(_with_truth(features, truth)))
        figure = Figure(figsize=(_WIDTH, 0.36 * len(shown) + 1.2), layout="constrained")
        axes = figure.subplots()
        for place, (_, rows) in enumerate(shown):
            _draw_strip(axes, place, rows)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), [name for name, _ in shown], family="monospace")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("minutes in the session")
        patches = [Patch(color=COLOURS[name], label=name) for name in EXPRESSIONS]
        abstained = Patch(facecolor="none", edgecolor=_GREY, hatch="////", label="abstained")
        figure.legend(handles=[*patches, abstained], loc="outside upper left", ncols=8,
                      columnspacing=1.2, handlelength=1.2)  # fmt: skip
        return figure

    return _svg(draw)


def _with_truth(features: pd.DataFrame, truth: pd.DataFrame | None) -> pd.DataFrame:
    if truth is None:
        return features.assign(true=-1)
    joined = features.merge(truth, on="window_id", how="left")
    return joined.assign(true=joined["true"].fillna(-1).astype(int))


def _draw_strip(axes: Axes, place: int, rows: pd.DataFrame) -> None:
    length = (rows["window_end"] - rows["window_start"]).dt.total_seconds() / 60
    for position, name in enumerate(EXPRESSIONS):
        for mask, top, height in (
            (rows["expression"] == name, -0.38, 0.5),
            (rows["true"] == position, 0.18, 0.16),
        ):
            spans = list(zip(rows.loc[mask, "minute"], length[mask], strict=True))
            axes.broken_barh(spans, (place + top, height), facecolors=COLOURS[name], linewidth=0)
    none = rows["expression"].isna()
    spans = list(zip(rows.loc[none, "minute"], length[none], strict=True))
    axes.broken_barh(spans, (place - 0.38, 0.5), facecolors="none", edgecolors=_GREY,
                     hatch="////", linewidth=0)  # fmt: skip


def accuracy_bars(accuracy: Accuracy) -> str:
    """Draw accuracy per modality and fused, of all rows and of those kept, beside chance."""

    def draw() -> Figure:
        scores = [*accuracy.modalities, *accuracy.windows]
        figure = Figure(figsize=(_WIDTH, 0.42 * len(scores) + 0.9), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(scores))
        kept = np.nan_to_num([s.accuracy_kept for s in scores])
        axes.barh(places - 0.18, [s.accuracy for s in scores], 0.34, color=_BLUE, label="all")
        axes.barh(places + 0.18, kept, 0.34, color=_BLUE, alpha=0.45, label="not abstained")
        for place, score in zip(places, scores, strict=True):
            axes.plot([score.chance] * 2, [place - 0.4, place + 0.4], color=_VALENCE, linewidth=2,
                      label="chance (commonest label)" if place == 0 else None)  # fmt: skip
            _label(axes, score.accuracy, place - 0.18, f"{score.accuracy:.0%}")
        axes.set_yticks(places, [f"{s.name} (n = {s.n:,})" for s in scores])
        axes.invert_yaxis()
        axes.set(xlabel="accuracy", xlim=(0, 1.04))
        axes.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper right", ncols=3)
        return figure

    return _svg(draw)


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=8)


def confusion(score: Score) -> str:
    """Draw the label against the estimate: shares of each label's rows, with their number."""

    def draw() -> Figure:
        figure = Figure(figsize=(5.4, 4.6), layout="constrained")
        axes = figure.subplots()
        rows = score.confusion.sum(axis=1, keepdims=True)
        share = score.confusion / np.maximum(rows, 1)
        colours = [(*mpl.colors.to_rgb(_BLUE), a) for a in (0.9 * share).ravel()]
        y, x = np.indices(share.shape)
        axes.bar(x.ravel(), 0.96, 0.96, bottom=y.ravel() - 0.48, color=colours)
        for (row, column), value in np.ndenumerate(score.confusion):
            if value:
                axes.text(column, row, f"{value:,}", ha="center", va="center", fontsize=8)
        labels = [f"{n} ({r})" for n, r in zip(EXPRESSIONS, rows.ravel(), strict=True)]
        axes.set_xticks(range(len(EXPRESSIONS)), EXPRESSIONS, rotation=35, ha="right")
        axes.set_yticks(range(len(EXPRESSIONS)), labels)
        axes.tick_params(length=0)
        axes.set(xlim=(-0.5, 6.5), ylim=(6.5, -0.5), xlabel="estimated", ylabel="labelled (rows)")
        return figure

    return _svg(draw)


def calibration(score: Score) -> str:
    """Draw how often a given confidence is right, and accuracy against coverage."""

    def draw() -> Figure:
        figure = Figure(figsize=(_WIDTH, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        sure, correct, rows = score.reliability.T
        left.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
        left.plot(sure, correct, color=_BLUE, linewidth=1)
        left.scatter(sure, correct, s=12 + 150 * rows / rows.max(), color=_BLUE, linewidths=0)
        left.set(xlabel="confidence", ylabel="share that agrees", xlim=(0, 1), ylim=(0, 1.05))
        left.set_title(f"Reliability (ECE {score.ece:.3f}); point size: windows")
        coverage, kept = score.risk.T
        right.plot(coverage, kept, color=_BLUE)
        right.axhline(score.chance, color=_VALENCE)
        right.text(0.01, score.chance + 0.02, "chance", fontsize=8)
        right.set(xlabel="coverage, surest windows first", xlim=(0, 1), ylim=(0, 1.05))
        right.set_title("Accuracy at each coverage")
        for axes in (left, right):
            axes.grid()
            axes.set_axisbelow(True)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(mpl.ticker.PercentFormatter(1))
        return figure

    return _svg(draw)


def stages(frame: pd.DataFrame) -> str:
    """Draw the seconds of each stage, those inside a model's forward passes apart."""

    def draw() -> Figure:
        figure = Figure(figsize=(_WIDTH, 0.27 * len(frame) + 0.9), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(frame))
        whole = frame["seconds"].to_numpy(dtype=float)
        forward = frame["forward_seconds"].fillna(0).to_numpy(dtype=float).clip(max=whole)
        axes.barh(places, forward, 0.7, color=_BLUE, label="model forward passes")
        axes.barh(places, whole - forward, 0.7, left=forward, color=_GREY, label="other work")
        for place, seconds in enumerate(whole):
            share = seconds / max(whole.sum(), 1e-9)
            _label(axes, seconds, place, f"{seconds:.2f} s, {share:.0%}")
        axes.set_yticks(places, frame["stage"])
        axes.invert_yaxis()
        axes.margins(x=0.14)
        axes.set_xlabel("seconds")
        figure.legend(loc="outside upper right", ncols=2)
        return figure

    return _svg(draw)


def counts(names: list[str], values: list[int], colours: list[str] | None = None) -> str:
    """Draw one bar per name with its number."""

    def draw() -> Figure:
        figure = Figure(figsize=(_WIDTH, 0.3 * len(names) + 0.4), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(names)), values, 0.7, color=colours or _BLUE)
        for place, value in enumerate(values):
            _label(axes, value, place, f"{value:,}")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return figure

    return _svg(draw)


LOSS_COLOURS = {"dead letter": _GREY, "refusal": _VALENCE}
"""Bars of records that could not be used, and of events that the law's gate turned away."""
