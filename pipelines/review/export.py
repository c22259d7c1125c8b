"""Reviewers' labels as training data, of people who consented to training and of nobody else."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from pipelines.access.actions import check_action, log_action
from pipelines.backfill.rebuild import COUNTS, OBSERVED, rebuild_windows
from pipelines.config import Config
from pipelines.review.consent import refusals_to_train
from pipelines.tables.arrow_types import rows_with
from pipelines.tables.query import standing
from schemas.errors import AffectstreamError
from schemas.settings import Windows
from schemas.strict import replace_file
from schemas.table import Root
from schemas.tables import EMOTION_FEATURES, TABLES
from schemas.vocabularies import CONFIRMED, EXPRESSIONS

_READ: Final = {
    "review_queue": (
        *("review_id", "decision_id", "window_id"),
        *("reviewer_decision", "reviewed_at", "reviewed_expression"),
    ),
    "emotion_features": (
        *("window_id", "subject_ref", "window_start", "window_end", "scenario", "purpose"),
        *("region", "age_band", "vocabulary", "scores", "model_id", "expression", *COUNTS),
    ),
}
_OF_WINDOW: Final = ("modality_scores", "modality_confidence")
LABELS = pa.schema(
    [
        ("decision_id", pa.string()),
        ("window_id", pa.string()),
        ("person", pa.int32()),
        ("label", pa.string()),
        ("reviewed_at", EMOTION_FEATURES.field("window_end").type),
        *(EMOTION_FEATURES.field(name).remove_metadata() for name in ("scenario", "purpose")),
        *(EMOTION_FEATURES.field(name).remove_metadata() for name in ("region", "age_band")),
        *(EMOTION_FEATURES.field(name).remove_metadata() for name in COUNTS),
        # Parquet readers stumble over a null list of fixed size: these have any.
        *((name, pa.list_(pa.float32())) for name in (*_OF_WINDOW, "scores")),
        *((name, pa.string()) for name in ("vocabulary", "model_id")),
    ]
)
"""One row for each window that all of its reviewers agree on, by its first decision.

``label`` is the expression that was shown. The columns of WINDOW are what fusion reads, null where
observations are no longer kept; ``scores`` are what it said. ``person`` numbers the people of one
file, so that whoever trains can keep them apart; no pseudonym leaves."""

UNCLEAR, DISPUTED, NO_LABEL, GONE = "unclear", "reviewers_disagree", "no_expression", "window_gone"
NOT_STORED = "expression_not_stored"
"""Why a reviewed window has no label: nobody can tell, two reviews of it differ, it was confirmed
that it shows nothing, it is no longer there, or which expression was confirmed is not known, since
an earlier version or another program stored that."""


class Exported(NamedTuple):
    """How many labels were written, and how many were left out, by reason: a RefusalCode, too."""

    labels: int
    left_out: Counter[str]


def export_labels(
    config: Config, out: Path, *, role: str | None = None, now: dt.datetime | None = None
) -> Exported:
    """Write the labels that may be trained on to a Parquet file that its owner alone may read.

    The export is a line of the audit log, with those whose windows are in it.

    Raises:
        AffectstreamError: the role may not export, the tables or the file cannot be used, or what
            decides on consent cannot be read. Nothing is written then.
    """
    check_action(config.access, config.tables, role, "export")
    at = now or dt.datetime.now(dt.UTC) + dt.timedelta(seconds=config.kafka.clock_offset_s)
    labelled, left_out = _labelled(config.tables)
    codes = refusals_to_train(config, labelled, at) if len(labelled) else []
    left_out.update(code for code in codes if code is not None)
    allowed = labelled.filter(pa.array([code is None for code in codes], pa.bool_()))
    rows = _with_inputs(config.tables, allowed.sort_by("decision_id"))
    subjects = list(dict.fromkeys(allowed["subject_ref"].to_pylist()))
    what = f"{len(rows):,} labels"
    with log_action(config.access, config.tables, role, "export", what, subjects, len(rows)):
        _write(rows, out)
    return Exported(len(rows), left_out)


def _labelled(root: Root) -> tuple[pa.Table, Counter[str]]:
    """Return the windows with a label each, and why other windows that were reviewed have none.

    Reviews are of one window whatever rule, reason or version of a policy has queued them.
    """
    missing = [name for name in _READ if name not in standing(root)]
    if missing:
        message = f"there is no {missing[0]} under {root}: name the folder of a job's tables"
        raise AffectstreamError(message)
    reviews = _rows(root, "review_queue")
    said: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in reviews.filter(reviews["reviewer_decision"].is_valid()).to_pylist():
        said[row["window_id"]].append(row)
    windows = _by_id(_rows(root, "emotion_features", "window_id", said))
    found, left_out = [], Counter[str]()
    for window_id, rows in said.items():
        window = windows.get(window_id)
        label = _label(rows, window)
        if label not in EXPRESSIONS or window is None:
            left_out[label if label not in EXPRESSIONS else GONE] += 1
            continue
        latest = max(row["reviewed_at"] for row in rows)
        first = min(row["decision_id"] for row in rows)
        found.append(window | {"decision_id": first, "label": label, "reviewed_at": latest})
    names = [*_READ["emotion_features"], "decision_id", "label", "reviewed_at"]
    own = {field.name: field for field in (*EMOTION_FEATURES, *LABELS)}
    schema = pa.schema([own[name] for name in names])
    return pa.Table.from_pylist(found, schema=schema), left_out


def _label(rows: list[dict[str, Any]], window: dict[str, Any] | None) -> str:
    """Return the expression that all reviews of a window give, or why there is none."""
    given = {
        row["reviewed_expression" if row["reviewer_decision"] == CONFIRMED else "reviewer_decision"]
        for row in rows
    }
    if len(given) > 1:
        return DISPUTED
    label = given.pop()
    if label is not None:
        return str(label)
    if window is None:
        return GONE
    return NO_LABEL if window["expression"] is None else NOT_STORED


def _with_inputs(root: Root, labelled: pa.Table) -> pa.Table:
    """Return LABELS rows: with what fusion had read of each window, where it can be rebuilt."""
    inputs = _inputs(root, labelled)
    people = labelled["subject_ref"].combine_chunks().dictionary_encode().indices
    rows = labelled.append_column("person", people.cast(pa.int32())).to_pylist()
    for row in rows:
        made = inputs.get(row["window_id"])
        if made is not None and made["counts"] == [row[name] for name in COUNTS]:
            row |= {name: made[name] for name in _OF_WINDOW}
    whole = [{name: row.get(name) for name in LABELS.names} for row in rows]
    return pa.Table.from_pylist(whole, schema=LABELS)


def _inputs(root: Root, labelled: pa.Table) -> dict[str, dict[str, Any]]:
    """Return window id → WINDOW row of what stands of the labelled windows' observations."""
    if "observations" not in standing(root) or not len(labelled):
        return {}
    subjects = pc.unique(labelled["subject_ref"]).to_pylist()
    seen = rows_with(DeltaTable(f"{root}/observations"), "subject_ref", subjects, OBSERVED)
    start, end = (labelled[name].cast(pa.int64()).to_numpy() for name in _SPAN)
    wanted = set(labelled["window_id"].to_pylist())
    found: dict[str, dict[str, Any]] = {}
    for length in np.unique(end - start).tolist():
        rows = rebuild_windows(seen, Windows(length_s=length / 1e6))
        mask = pc.is_in(rows["window_id"], pa.array(sorted(wanted)))
        found |= _by_id(pa.Table.from_batches([rows.filter(mask)]))
    return found


_SPAN = ("window_start", "window_end")


def _rows(root: Root, name: str, column: str | None = None, ids: Iterable[str] = ()) -> pa.Table:
    """Return what an export reads of a table: all rows, or those with one of these ids.

    A column that was added since the table was written is null.
    """
    table, schema = DeltaTable(f"{root}/{name}"), TABLES[name].schema
    known = {field.name for field in table.schema().fields}
    names = [each for each in _READ[name] if each in known]
    if column is None:
        rows = table.to_pyarrow_table(columns=names)
    else:
        rows = rows_with(table, column, ids, names)
    for each in _READ[name]:
        if each not in known:
            rows = rows.append_column(each, pa.nulls(len(rows), schema.field(each).type))
    return rows.select(_READ[name]).cast(pa.schema([schema.field(each) for each in _READ[name]]))


def _by_id(rows: pa.Table) -> dict[str, dict[str, Any]]:
    """Return the rows by their first column."""
    key = rows.column_names[0]
    return {row[key]: row for row in rows.to_pylist()}


def _write(rows: pa.Table, out: Path) -> None:
    try:
        with replace_file(out) as file:
            pq.write_table(rows, file)
    except OSError as error:
        message = f"cannot write {out}: {error.strerror}; give a file in a folder that exists"
        raise AffectstreamError(message) from error
