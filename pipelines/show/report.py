"""One HTML file that shows what a run left in the tables, without any other file or network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.show import pictures
from pipelines.show.accuracy import Accuracy, GroundTruth, Score, measure
from pipelines.show.escapes import escape_controls
from pipelines.show.screen import CAUSES_SHOWN, count_unshown, histories, known_quality
from pipelines.tables.query import tables
from pipelines.tables.views import (
    causes,
    doubts,
    losses,
    stages_of_last_run,
    windows_with_decisions,
)
from schemas.errors import AffectstreamError
from schemas.strict import replace_file
from schemas.table import Root

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


@dataclass(frozen=True, slots=True)
class _Figure:
    """An SVG of ``pictures`` with its caption; ``shape`` is a class of the style sheet."""

    svg: str
    caption: str = ""
    shape: str = ""


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading, and beneath it notes, pictures and a table; ``fused`` is a score to begin with."""

    title: str
    notes: Sequence[str] = ()
    figures: Sequence[_Figure] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    fused: Score | None = None


def write_report(root: Root, out: Path, truth: GroundTruth | None = None) -> Path:
    """Write the report of the tables under this root as one HTML file and return its path."""
    accuracy = None if truth is None else measure(root, truth)
    features = windows_with_decisions(root)
    sections = [
        _overview(tables(root), accuracy),
        _expressions(features, accuracy),
        _agreement(accuracy),
        _decisions(features),
        _losses(losses(root), causes(root)),
        _doubts(doubts(root)),
        _stages(stages_of_last_run(root)),
    ]
    page = _TEMPLATES.get_template("report.html.jinja").render(sections=sections)
    try:
        with replace_file(out, private=False) as file:
            file.write(escape_controls(page, keep="\n").encode())
    except OSError as error:
        message = f"cannot write {out}: {error.strerror}; give a file in a folder that exists"
        raise AffectstreamError(message) from error
    return out


def _overview(counts: dict[str, int], accuracy: Accuracy | None) -> _Section:
    rows = [[name, f"{count:,}"] for name, count in counts.items()]
    fused = accuracy.fused if accuracy else None
    return _Section("Tables", head=["table", "rows"], rows=rows, fused=fused)


def _expressions(features: pd.DataFrame, accuracy: Accuracy | None) -> _Section:
    title = "Expressions over time"
    if not len(features):
        return _Section(title, ["The tables hold no window yet."])
    shown = list(pictures.sessions(features))
    windows = sum(len(rows) for _, rows in shown)
    scope = (
        f"{len(shown)} of {len(histories(features))} sessions and {windows:,} of "
        f"{len(features):,} windows, the newest; a name is the first six digits of the subject's "
        "pseudonym."
    )
    if features["part"].any():
        scope += " A session of several purposes, scenarios or age bands counts once for each."
    caption = "Estimated expression of each window; hatched where the model abstained."
    if accuracy:
        caption += " The thin strip beneath is the label that most events of the window carry."
    figures = [
        _Figure(pictures.timeline(features, accuracy.window_truth if accuracy else None), caption),
        _Figure(
            pictures.valence_arousal(features),
            "Estimated shown valence and arousal, -1 to 1; small and pale points are less sure.",
        ),
    ]
    return _Section(title, [scope], figures)


def _agreement(accuracy: Accuracy | None) -> _Section:
    title = "Agreement with the ground truth"
    if accuracy is None:
        return _Section(title, ["No ground truth was given."])
    counted = (
        f"{accuracy.true_events:,} labelled events: {accuracy.observed:,} observed, "
        f"{accuracy.refused:,} refused, {accuracy.dead:,} dead letters. {accuracy.tied_windows:,} "
        "windows whose labels tie are left out."
    )
    notes = [counted, *(stand_in.note for stand_in in accuracy.stand_ins)]
    if not accuracy.observed:
        return _Section(title, [*notes, "No labelled event has an observation."])
    head = ["estimates", "n", "accuracy", "chance", "macro-F1", "kept", "acc. kept", "ECE"]
    groups = (accuracy.modalities, accuracy.corpora, accuracy.languages, accuracy.windows)
    rows = [_score_row(score) for group in groups for score in group]
    return _Section(title, notes, _agreement_figures(accuracy), head, rows)


def _agreement_figures(accuracy: Accuracy) -> list[_Figure]:
    figures = []
    if accuracy.modalities or accuracy.windows:
        figures.append(_Figure(pictures.accuracy_bars(accuracy)))
    if accuracy.fused is not None:
        caption = (
            "Fused windows: label against estimate; the shade is the share of the label's row."
        )
        figures.append(_Figure(pictures.confusion(accuracy.fused), caption, "half"))
        figures.append(_Figure(pictures.calibration(accuracy.fused), "Fused windows."))
    return figures


def _score_row(score: Score) -> list[str]:
    shares = (score.accuracy, score.chance, score.macro_f1, score.coverage, score.accuracy_kept)
    cells = ["–" if pd.isna(share) else f"{share:.1%}" for share in shares]
    return [score.name, f"{score.n:,}", *cells, f"{score.ece:.3f}"]


def _decisions(features: pd.DataFrame) -> _Section:
    title = "Decisions by action"
    taken = (features["action"] + " · " + features["reason"]).dropna().value_counts()
    if not len(taken):
        return _Section(title, ["The tables hold no decision yet."])
    names, values = [str(name) for name in taken.index], [int(value) for value in taken]
    return _Section(title, figures=[_Figure(pictures.counts(names, values), "Action · reason.")])


def _losses(counted: pd.DataFrame, why: pd.DataFrame) -> _Section:
    title = "Dead letters and refusals"
    if not len(counted):
        return _Section(title, ["No record was unusable and no event was refused."])
    names = [f"{row.code} · {row.where}" for row in counted.itertuples()]
    colours = [pictures.LOSS_COLOURS[kind] for kind in counted["kind"]]
    svg = pictures.counts(names, [int(n) for n in counted["n"]], colours)
    caption = "Grey: dead letters, by code and stage. Orange: refusals, by code and legal ground."
    rows = [
        [*map(escape_controls, map(str, (row.code, row.detail, row.example))), f"{row.n:,}"]
        for row in why.head(CAUSES_SHOWN).itertuples()
    ]
    head = ["dead letter", "what is wrong", "such as", "events"] if rows else []
    notes = (
        [f"Listed are the most frequent causes, {more}."] if (more := count_unshown(why)) else []
    )
    return _Section(title, notes, [_Figure(svg, caption)], head, rows)


def _doubts(counted: pd.DataFrame) -> _Section:
    title = "What lowered confidence"
    if not len(counted):
        return _Section(title, ["No observation has a quality code."])
    names = [f"{row.quality} · {row.modality}" for row in counted.itertuples()]
    svg = pictures.counts(names, [int(n) for n in counted["n"]])
    caption = "Events by quality code and modality."
    rows = [
        [quality, code.meaning, f"{n / of:.0%} of {modality}", f"{abstained:,}"]
        for modality, quality, n, abstained, of in counted.itertuples(index=False, name=None)
        if (code := known_quality(quality))
    ]
    head = ["quality code", "what it means", "share", "abstained"] if rows else []
    return _Section(title, figures=[_Figure(svg, caption)], head=head, rows=rows)


def _stages(frame: pd.DataFrame) -> _Section:
    title = "Where the time went"
    if not len(frame):
        return _Section(title, ["The tables hold no run yet."])
    inside = frame["forward_seconds"].sum() / max(frame["seconds"].sum(), 1e-9)
    caption = (
        "Seconds of the newest run, by stage. "
        f"{inside:.0%} of the time was spent inside model forward passes."
    )
    return _Section(title, figures=[_Figure(pictures.stages(frame), caption)])
