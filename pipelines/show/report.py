"""One HTML file that shows what a run left in the tables, without any other file or network."""

from html import escape
from pathlib import Path

import pandas as pd

from pipelines.show import pictures
from pipelines.show.accuracy import Accuracy, GroundTruth, Score, measure
from pipelines.show.screen import histories, losses, stages_of_last_run, windows_with_decisions
from pipelines.tables.query import tables
from schemas.errors import AffectstreamError
from schemas.tables import Root

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --line: #c9d0d9;
  --page: #ffffff; --note: #eef3f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #a2adbb; --line: #465160;
  --page: #14181e; --note: #1e2630; } }
body { margin: 2rem auto; padding: 0 1.2rem; max-width: 60rem; color: var(--ink);
  background: var(--page); font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .6rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .3rem; }
p { margin: .3rem 0 .7rem; } .soft, figcaption { color: var(--soft); font-size: .88rem; }
.first { background: var(--note); padding: .7rem 1rem; border-radius: .4rem; }
figure { margin: .6rem 0 0; } svg { width: 100%; height: auto; }
.half figcaption { text-align: center; }
.half svg { max-width: 34rem; display: block; margin: auto; }
.scroll { overflow-x: auto; margin-top: .8rem; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""

_FIRST = (
    "Every expression here is an <strong>estimate of what was shown</strong> in text, voice, face "
    "or motion. It is never a finding of what a person feels, and no decision about a person "
    "should rest on it alone."
)


def write_report(root: Root, out: Path, truth: GroundTruth | None = None) -> Path:
    """Write the report of the tables under this root as one HTML file and return its path."""
    accuracy = None if truth is None else measure(root, truth)
    features = windows_with_decisions(root)
    parts = [
        _overview(tables(root), accuracy),
        _expressions(features, accuracy),
        _agreement(accuracy),
        _decisions(features),
        _losses(losses(root)),
        _stages(stages_of_last_run(root)),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Session report</title><style>{_STYLE}</style></head><body>"
        f'<h1>Session report</h1><p class="first">{_FIRST}</p>{"".join(parts)}</body></html>\n'
    )
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(out)
    except OSError as error:
        message = f"cannot write {out}: {error.strerror}; give a file in a folder that exists"
        raise AffectstreamError(message) from error
    return out


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _nothing(title: str, why: str) -> str:
    return _section(title, f'<p class="soft">{escape(why)}</p>')


def _figure(svg: str, caption: str, shape: str = "") -> str:
    caption = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    label = svg.replace("<svg ", '<svg role="img" ', 1)
    return f'<figure class="{shape}">{label}{caption}</figure>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def _overview(counts: dict[str, int], accuracy: Accuracy | None) -> str:
    fused = accuracy.fused if accuracy else None
    headline = ""
    if fused is not None:
        headline = (
            f"<p>The fused estimate agrees with the label in <strong>{fused.accuracy:.0%}</strong> "
            f"of {fused.n:,} labelled windows; always naming the commonest label would in "
            f"{fused.chance:.0%}.</p>"
        )
    rows = _table(["table", "rows"], [[name, f"{count:,}"] for name, count in counts.items()])
    return _section("Tables", headline + rows)


def _expressions(features: pd.DataFrame, accuracy: Accuracy | None) -> str:
    title = "Expressions over time"
    if not len(features):
        return _nothing(title, "The tables hold no window yet.")
    shown = list(pictures.sessions(features))
    windows = sum(len(rows) for _, rows in shown)
    scope = (
        f"{len(shown)} of {len(histories(features))} sessions and {windows:,} of "
        f"{len(features):,} windows, the newest; a name is the first six digits of the subject's "
        "pseudonym."
    )
    if features["part"].any():
        scope += " A session of several purposes, scenarios or age bands counts once for each."
    strip = " The thin strip beneath is the label that most events of the window carry."
    caption = "Estimated expression of each window; hatched where the model abstained."
    figures = _figure(
        pictures.timeline(features, accuracy.window_truth if accuracy else None),
        caption + (strip if accuracy else ""),
    ) + _figure(
        pictures.valence_arousal(features),
        "Estimated shown valence and arousal, -1 to 1; small and pale points are less sure.",
    )
    return _section(title, f'<p class="soft">{escape(scope)}</p>{figures}')


def _agreement(accuracy: Accuracy | None) -> str:
    title = "Agreement with the ground truth"
    if accuracy is None:
        return _nothing(title, "No ground truth was given.")
    counted = (
        f"{accuracy.true_events:,} labelled events: {accuracy.observed:,} observed, "
        f"{accuracy.refused:,} refused, {accuracy.dead:,} dead letters. {accuracy.tied_windows:,} "
        "windows whose labels tie are left out."
    )
    notes = [counted, *(stand_in.note for stand_in in accuracy.stand_ins)]
    body = "".join(f'<p class="soft">{escape(note)}</p>' for note in notes)
    if not accuracy.observed:
        return _section(title, body + "<p>No labelled event has an observation.</p>")
    if accuracy.modalities or accuracy.windows:
        body += _figure(pictures.accuracy_bars(accuracy), "")
    if accuracy.fused is not None:
        body += _figure(
            pictures.confusion(accuracy.fused),
            "Fused windows: label against estimate; the shade is the share of the label's row.",
            "half",
        )
        body += _figure(pictures.calibration(accuracy.fused), "Fused windows.")
    head = ["estimates", "n", "accuracy", "chance", "macro-F1", "kept", "acc. kept", "ECE"]
    groups = (accuracy.modalities, accuracy.corpora, accuracy.languages, accuracy.windows)
    rows = [_score_row(score) for group in groups for score in group]
    return _section(title, body + _table(head, rows))


def _score_row(score: Score) -> list[str]:
    shares = (score.accuracy, score.chance, score.macro_f1, score.coverage, score.accuracy_kept)
    cells = ["–" if pd.isna(share) else f"{share:.1%}" for share in shares]
    return [score.name, f"{score.n:,}", *cells, f"{score.ece:.3f}"]


def _decisions(features: pd.DataFrame) -> str:
    title = "Decisions by action"
    taken = (features["action"] + " · " + features["reason"]).dropna().value_counts()
    if not len(taken):
        return _nothing(title, "The tables hold no decision yet.")
    names, values = [str(name) for name in taken.index], [int(value) for value in taken]
    return _section(title, _figure(pictures.counts(names, values), "Action · reason."))


def _losses(counted: pd.DataFrame) -> str:
    title = "Dead letters and refusals"
    if not len(counted):
        return _nothing(title, "No record was unusable and no event was refused.")
    names = [f"{row.code} · {row.where}" for row in counted.itertuples()]
    colours = [pictures.LOSS_COLOURS[kind] for kind in counted["kind"]]
    svg = pictures.counts(names, [int(n) for n in counted["n"]], colours)
    caption = "Grey: dead letters, by code and stage. Orange: refusals, by code and legal ground."
    return _section(title, _figure(svg, caption))


def _stages(frame: pd.DataFrame) -> str:
    title = "Where the time went"
    if not len(frame):
        return _nothing(title, "The tables hold no run yet.")
    caption = "Seconds of the newest run, by stage."
    inside = frame["forward_seconds"].sum() / max(frame["seconds"].sum(), 1e-9)
    caption += f" {inside:.0%} of the time was spent inside model forward passes."
    return _section(title, _figure(pictures.stages(frame), caption))
