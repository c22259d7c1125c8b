"""What the tables hold, printed for a person: expressions over time, decisions, losses, time.

Every expression printed is an estimate of what was shown, never of what a person feels.
"""

from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipelines.live.screen import describe_unreadable
from pipelines.show.accuracy import Accuracy, GroundTruth, Score, measure
from pipelines.show.escapes import escape_controls
from pipelines.tables.query import tables
from pipelines.tables.views import (
    SESSION,
    causes,
    delays_of_last_run,
    doubts,
    losses,
    stages_of_last_run,
    windows_with_decisions,
)
from schemas.errors import DeadLetterCode, QualityCode
from schemas.events import AHEAD_S, WINDOW_KEY
from schemas.modalities import MODALITIES
from schemas.table import Root
from schemas.vocabularies import EXPRESSIONS

COLOURS = MappingProxyType(
    {
        "anger": "#D55E00",
        "disgust": "#009E73",
        "fear": "#CC79A7",
        "joy": "#F0E442",
        "sadness": "#0072B2",
        "surprise": "#56B4E9",
        "neutral": "#BBBBBB",
    }
)
"""One colour per expression: the palette of Okabe and Ito, which colour-blind people can tell, and
a grey as light as it must be for that: #999999 is 7 in CIELAB from fear under deuteranopia, this
15."""

SHORT_REF = 6
"""Hex digits of a pseudonym that are shown; two of 12 subjects share them once in 250,000 runs."""

LETTERS = MappingProxyType(dict(zip(EXPRESSIONS, "ADFJSUN", strict=True)))
"""One letter per expression, for whoever sees no colours."""
_UNREADABLE = str(DeadLetterCode.GOVERNANCE_UNREADABLE)
_SESSIONS_SHOWN = 12
_SOURCES_SHOWN = 12
CAUSES_SHOWN = 10
_WINDOWS_LISTED = 12
_PART_LENGTH = 40  # workplace_monitoring learning unknown has 37
_DARK_INK = {"joy", "surprise", "fear", "neutral"}


def show(root: Root, console: Console, truth: GroundTruth | None = None) -> None:
    """Print what the tables under this root hold; with ground truth, how well they agree."""
    counted, stages = losses(root), stages_of_last_run(root)
    _print_unreadable(counted, console)
    _print_counts(tables(root), console)
    features = windows_with_decisions(root)
    if len(features):
        _print_sessions(features, console)
        _print_windows(features, console)
    _print_losses(counted, stages, console)
    _print_causes(causes(root), console)
    _print_doubts(doubts(root), console)
    _print_delays(delays_of_last_run(root), console)
    _print_stages(stages, console)
    if truth is not None:
        print_accuracy(measure(root, truth), console)


def histories(features: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return a name and the windows of each session and purpose, in the order of their beginning.

    ``since`` is the time from the session's first window, of whatever purpose.
    """
    first = features.groupby(SESSION)["window_start"].transform("min")
    timed = features.assign(since=features["window_start"] - first)
    groups = timed.groupby(list(WINDOW_KEY), sort=False, dropna=False)
    return [(_name(rows.iloc[0]), rows) for _, rows in groups]


def _name(row: Any) -> str:
    part = row["part"]
    shown = part if len(part) <= _PART_LENGTH else f"{part[: _PART_LENGTH - 1]}…"
    return escape_controls(f"{row['subject_ref'][:SHORT_REF]} {shown}".rstrip())


def _grid(title: str, *columns: str, left: int = 1) -> Table:
    """Return a table whose first ``left`` columns are text and whose others are numbers."""
    grid = _frame(title)
    for index, name in enumerate(columns):
        grid.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    return grid


def _frame(title: str) -> Table:
    return Table(
        title=title or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def _print_counts(counts: dict[str, int], console: Console) -> None:
    grid = _grid("Tables", "table", "rows")
    for name, rows in counts.items():
        grid.add_row(name, f"{rows:,}")
    console.print(grid)
    console.print()


def _print_sessions(features: pd.DataFrame, console: Console) -> None:
    """Print one line per session and purpose: a letter for each window, in order of time."""
    length = (features["window_end"] - features["window_start"]).iloc[0]
    sessions = [
        (name, rows.assign(slot=(rows["since"] // length).astype(int)))
        for name, rows in histories(features)
    ]
    recent = sessions[-_SESSIONS_SHOWN:]
    margin = 2 + max(len(name) for name, _ in recent)
    room = max(8, (console.width - margin) // 2)
    width = min(room, 1 + max(int(rows["slot"].max()) for _, rows in recent))
    seconds = int(length.total_seconds())
    title = f"Shown expression, estimated, a column each {seconds} s"
    console.print(Text.assemble((title, "bold"), "; · abstained, blank no event"))
    console.print(_legend())
    console.print(_ruler(margin, width, seconds))
    for name, rows in recent:
        console.print(_session_line(name.ljust(margin), rows, width), no_wrap=True, crop=True)
    hidden = len(sessions) - len(recent)
    cut = sum(int(rows["slot"].max()) >= width for _, rows in recent)
    if hidden or cut:
        notes = [f"{hidden} earlier sessions not shown"] if hidden else []
        notes += [f"{cut} sessions are longer; their last {width} windows are shown"] if cut else []
        console.print(Text("; ".join(notes), style="dim"))
    console.print()


def _session_line(name: str, rows: pd.DataFrame, width: int) -> Text:
    cells = [Text("  ")] * width
    shift = max(0, int(rows["slot"].max()) + 1 - width)
    kept = rows[rows["slot"] >= shift]
    for slot, expression in zip(kept["slot"] - shift, kept["expression"], strict=True):
        cells[slot] = _swatch(expression)
    return Text.assemble(name, *cells)


def _swatch(expression: str | None) -> Text:
    if expression is None:
        return Text("· ", style="dim")
    return Text(f"{LETTERS.get(expression, '?')} ", style=_style(expression))


def _style(expression: str) -> str:
    ink = "#000000" if expression in _DARK_INK else "#ffffff"
    return f"{ink} on {COLOURS[expression]}" if expression in COLOURS else "reverse"


def _legend() -> Text:
    parts = [
        Text.assemble((f" {LETTERS[name]} ", _style(name)), f" {name} ") for name in EXPRESSIONS
    ]
    return Text.assemble(*parts)


def _ruler(margin: int, width: int, seconds: int) -> Text:
    every = 6
    marks = [f"{slot * seconds // 60}:{slot * seconds % 60:02d}" for slot in range(0, width, every)]
    ticks = "".join(mark.ljust(2 * every) for mark in marks)[: 2 * width]
    return Text(" " * margin + ticks, style="dim")


def _print_windows(features: pd.DataFrame, console: Console) -> None:
    last = features.tail(_WINDOWS_LISTED)
    grid = _frame(
        f"Last {len(last)} of {len(features):,} windows (TVFM: events of text, voice, face, motion)"
    )
    for name in ("ends", "who", "shown"):
        grid.add_column(name, no_wrap=True)
    for name in ("conf.", "TVFM", "val.", "aro."):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("decision")
    for row in last.to_dict("records"):
        grid.add_row(*_window_cells(row))
    console.print(grid)
    taken = features["action"].fillna("no decision").value_counts()
    actions = ", ".join(f"{action} {count:,}" for action, count in taken.items())
    console.print(Text.assemble(("Decisions: ", "bold"), escape_controls(actions)))
    console.print()


def _window_cells(row: dict[Any, Any]) -> list[Text]:
    shown = row["expression"]
    known = "" if shown is None else escape_controls(f" {shown} ")
    expression = Text(known, _style(shown)) if known else Text("abstained", "dim")
    counts = [int(row[f"n_{modality}"]) for modality in MODALITIES]
    events = "".join("·" if n == 0 else str(n) if n <= 9 else "+" for n in counts)
    taken = "–" if pd.isna(row["action"]) else f"{row['action']} ({row['reason']})"
    return [
        Text(f"{row['window_end']:%H:%M:%S}"),
        Text(_name(row)),
        expression,
        Text(f"{row['confidence']:.2f}"),
        Text(events),
        Text(f"{row['valence']:+.2f}"),
        Text(f"{row['arousal']:+.2f}"),
        Text(escape_controls(taken)),
    ]


def _print_unreadable(counted: pd.DataFrame, console: Console) -> None:
    """Warn that somebody may have withdrawn consent and that it is unknown who."""
    number = int(counted.loc[counted["code"] == _UNREADABLE, "n"].sum())
    if number:
        console.print(Text(f" {describe_unreadable(number)} ", "bold white on red"), soft_wrap=True)
        console.print()


def _print_losses(counted: pd.DataFrame, stages: pd.DataFrame, console: Console) -> None:
    again = int(stages["repeated"].fillna(0).sum())
    if again:
        what = "event" if again == 1 else "events"
        console.print(f"{again:,} {what} of the last run came again, unchanged; each counts once.")
    unknown = int(stages["unknown_shapes"].fillna(0).sum())
    if unknown:
        what = "name" if unknown == 1 else "names"
        console.print(
            f"{unknown:,} {what} among the weights of motion events are of no known vocabulary: "
            "`affectstream shapes LOG` lists them by source."
        )
    if not len(counted):
        console.print(Text("No dead letter and no refusal.\n"))
        return
    grid = _grid("Dead letters and refusals", "kind", "code", "stage or article", "events", left=3)
    for row in counted.itertuples():
        names = (str(row.kind), str(row.code), str(row.where))
        grid.add_row(*(Text(escape_controls(name)) for name in names), f"{row.n:,}")
    console.print(grid)
    console.print()


def _print_causes(counted: pd.DataFrame, console: Console) -> None:
    """Print what is wrong with records that became dead letters, the most frequent first."""
    if not len(counted):
        return
    console.print(Text("What to change in records", "bold"))
    for row in counted.head(CAUSES_SHOWN).itertuples():
        what = escape_controls(f"{row.code}, such as {row.example}")
        console.print(Text(f"{row.n:>7,}  {what}"))
        console.print(Padding(Text(escape_controls(str(row.detail)), "dim"), (0, 0, 0, 9)))
    if more := count_unshown(counted):
        console.print(Text(f"{'':9}{more}", "dim"))
    console.print()


def known_quality(code: str) -> QualityCode | None:
    """Return the quality code of this name, None where this version knows none."""
    return next((known for known in QualityCode if known == code), None)


def _print_doubts(counted: pd.DataFrame, console: Console) -> None:
    """Print what lowered the confidence of estimates, and what to do about it."""
    if not len(counted):
        return
    console.print(Text("What lowered confidence", "bold"))
    shown = counted.head(CAUSES_SHOWN).itertuples(index=False, name=None)
    for modality, quality, n, abstained, of in shown:
        what = f"{quality}: {n / of:.0%} of {modality}, {abstained:,} abstained"
        console.print(Text(f"{n:>7,}  {escape_controls(what)}"))
        if code := known_quality(quality):
            console.print(Padding(Text(f"{code.meaning} {code.cure}", "dim"), (0, 0, 0, 9)))
    if (more := len(counted) - CAUSES_SHOWN) > 0:
        console.print(Text(f"         and {more} more, less frequent", "dim"))
    console.print()


def count_unshown(counted: pd.DataFrame) -> str:
    """Return how many causes stand behind those that are shown, and of how many dead letters."""
    rest = counted["n"].iloc[CAUSES_SHOWN:]
    if not len(rest):
        return ""
    what = "cause" if len(rest) == 1 else "causes"
    return f"and {len(rest):,} more {what}, of {int(rest.sum()):,} dead letters"


def _print_delays(delays: pd.DataFrame, console: Console) -> None:
    """Print how long events of each source took; where even the least is long, a clock is behind.

    Nothing where all came within AHEAD_S of their records.
    """
    strange = delays[(delays["most"] > AHEAD_S) | (delays["least"] < -AHEAD_S)]
    if not len(strange):
        return
    grid = _grid("From event to record, by source, in seconds", "source", "least", "most")
    for row in strange.head(_SOURCES_SHOWN).itertuples():
        grid.add_row(
            Text(escape_controls(str(row.source))), f"{row.least:,.1f}", f"{row.most:,.1f}"
        )
    console.print(grid)
    console.print("Where even the least is long, the source's clock is behind, or all was queued.")
    console.print()


def _print_stages(stages: pd.DataFrame, console: Console) -> None:
    if not len(stages):
        return
    names = ("stage", "rows in", "rows out", "seconds", "in model", "rows/s", "share")
    grid = _grid("Where the time of the last run went", *names)
    total = max(float(stages["seconds"].sum()), 1e-9)
    for row in stages.to_dict("records"):
        forward = row["forward_seconds"]
        grid.add_row(
            Text(escape_controls(row["stage"])),
            f"{row['rows_in']:,.0f}",
            f"{row['rows_out']:,.0f}",
            f"{row['seconds']:.2f}",
            "" if pd.isna(forward) else f"{forward:.2f}",
            f"{row['rows_in'] / row['seconds']:,.0f}" if row["seconds"] > 0 else "–",
            f"{row['seconds'] / total:.0%}",
        )
    console.print(grid)
    console.print()


def print_accuracy(accuracy: Accuracy, console: Console) -> None:
    """Print agreement with the ground truth: by modality, corpus and fused windows."""
    console.print(
        Text.assemble(
            ("Against the ground truth: ", "bold"),
            f"{accuracy.true_events:,} labelled events, {accuracy.observed:,} observed, "
            f"{accuracy.refused:,} refused, {accuracy.dead:,} dead letters; "
            f"{accuracy.tied_windows:,} windows without one majority label left out",
        )
    )
    names = ("estimates", "n", "accuracy", "chance", "F1", "kept", "acc. kept", "ECE")
    grid = _grid("", *names)
    sections = (accuracy.modalities, accuracy.corpora, accuracy.languages, accuracy.windows)
    for section in sections:
        for score in section:
            grid.add_row(Text(escape_controls(score.name)), f"{score.n:,}", *_figures(score))
        grid.add_section()
    console.print(grid)
    for stand_in in accuracy.stand_ins:
        console.print(stand_in.note)
    console.print()


def _figures(score: Score) -> list[Text]:
    beats = "green" if score.accuracy > score.chance else "red"
    shown = [score.chance, score.macro_f1, score.coverage, score.accuracy_kept]
    return [
        Text(f"{score.accuracy:.1%}", beats),
        *[Text("–" if np.isnan(v) else f"{v:.1%}") for v in shown],
        Text(f"{score.ece:.3f}"),
    ]
