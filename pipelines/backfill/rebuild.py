"""Observations → features → decisions, by the functions that the stream itself calls.

The rows are those of the stream where the observations say all that the stream knew. What they do
not say:

- Context events land in no table. The features that stand carry what these told (``activity``,
  ``game_result``, ``lesson_state``), their number within ``revision``, and the scene and region of
  a window that had some. Fields of a context that have no column reach no backfill.
- Under which references the key before knew a subject: features that stand carry them, too.
- Which events were late. The stream decides on a window once, before its late events; a backfill
  decides on all of them, and what is decided after it in the session may differ too.
- What else came under an event's id. Of two events of one id the observation of the first stands;
  the window of the stream may have counted the other.
"""

import datetime as dt
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_serving.fusion import Fusion
from schemas.events import CONTEXT_COLUMNS, CONTEXT_FIELDS, PRIOR_COLUMNS, WINDOW
from schemas.modalities import MODALITIES
from schemas.settings import Windows
from schemas.stages import OBSERVATION, with_kind
from schemas.tables import EMOTION_FEATURES, EXPRESSION_DECISIONS, OBSERVATIONS
from transforms.decide import NEEDED, Before, Decider
from transforms.fuse import fuse_batch
from transforms.window import (
    MAX_HELD,
    split_by_shard,
    to_window_input,
    window_rows,
)

OBSERVED = [
    "event_id",
    "subject_ref",
    "session_ref",
    *(name for name, _ in CONTEXT_COLUMNS),
    "event_time",
    "modality",
    "scores",
    "content",
]
"""The columns of observations that a window looks at."""
CARRIED = [
    "window_id",
    "scene_id",
    "region",
    "revision",
    *(f"n_{modality}" for modality in MODALITIES),
    *CONTEXT_FIELDS,
    *(name for name, _ in PRIOR_COLUMNS),
]
"""The columns of features that stand which say what observations don't: of contexts and keys."""
DECIDED_ON = [*NEEDED, "event_date"]
"""The columns of features that decisions follow from, and their day."""
COUNTS = [f"n_{modality}" for modality in MODALITIES]
_INPUT = with_kind(pa.schema([OBSERVATIONS.field(name) for name in OBSERVED]), OBSERVATION)


def length_us(windows: Windows) -> int:
    """Return the length of a window in µs, as the stream cuts event time."""
    return int(windows.length_s * 1_000_000)


def rebuild_features(observations: pa.Table, windows: Windows, fusion: Fusion) -> pa.Table:
    """Return the feature rows of these observations, which are all that some windows had."""
    rows = rebuild_windows(observations, windows)
    if not rows.num_rows:
        return EMOTION_FEATURES.empty_table()
    return pa.Table.from_batches([fuse_batch(fusion, rows)])


def rebuild_windows(observations: pa.Table, windows: Windows) -> pa.RecordBatch:
    """Return the WINDOW rows of these observations: what fusion reads, and no context."""
    held = defaultdict(list)
    span = length_us(windows)
    ordered = observations.select(OBSERVED).sort_by("event_time")
    for batch in ordered.to_batches(max_chunksize=MAX_HELD):
        rows = pa.Table.from_batches([batch]).cast(_INPUT).combine_chunks().to_batches()[0]
        for _, earliest, piece in split_by_shard(to_window_input(rows), 1, span):
            held[earliest // span].append(piece)
    rows = [
        window_rows(pieces, time_of(place * span), time_of((place + 1) * span), late=False)
        for place, pieces in sorted(held.items())
    ]
    return pa.concat_batches(rows) if rows else pa.RecordBatch.from_pylist([], WINDOW)


def carry_context(rebuilt: pa.Table, stand: pa.Table) -> pa.Table:
    """Give rebuilt features what only the rows of their windows that stand can tell.

    ``stand`` has the columns CARRIED. A window of which no row stands had no context.
    """
    place = pc.index_in(rebuilt["window_id"], stand["window_id"].combine_chunks())
    known = stand.take(place.combine_chunks())
    counted = sum(known[name].to_numpy() for name in COUNTS)
    told = np.nan_to_num(known["revision"].to_numpy() - counted).astype(np.int32)
    columns = {name: known[name] for name in (*CONTEXT_FIELDS, *dict(PRIOR_COLUMNS))}
    columns["revision"] = pc.add(rebuilt["revision"], pa.array(told))
    for name in ("scene_id", "region"):
        columns[name] = pc.if_else(pa.array(told > 0), known[name], rebuilt[name])
    return pa.table(
        [columns.get(name, rebuilt[name]) for name in EMOTION_FEATURES.names],
        schema=EMOTION_FEATURES,
    )


def rebuild_decisions(
    features: pa.Table, decider: Decider, before: Before | None
) -> tuple[pa.Table, Before | None]:
    """Return the decisions on these feature rows, and the histories that they leave.

    ``features`` has the columns NEEDED; none of its windows may end before one that the histories
    of ``before`` have seen.
    """
    if not len(features):
        return EXPRESSION_DECISIONS.empty_table(), before
    whole = features.append_column("details", pa.nulls(len(features), pa.string()))
    decisions, _, after = decider.drain(whole.to_batches(), before)
    return pa.Table.from_batches([decisions]), after


def time_of(micros: int) -> dt.datetime:
    """Return the time so many µs after the beginning of 1970, UTC."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)
