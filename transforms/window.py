"""WindowSessions: observations → one row a subject, session and window, grouped by shard."""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms import trigger
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindow,
    IntervalWindow,
    TimestampedValue,
)
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import PaneInfoTiming, WindowedValue

from schemas.arrow import take_rows, vector_column, vectors
from schemas.events import HELD, PACKED, SESSION_COLUMNS, TIME, WINDOW
from schemas.ids import first_half, stable_ids
from schemas.vocabularies import EXPRESSIONS, MODALITIES
from transforms.log import MAX_ROWS
from transforms.stage import stage_counters, timed

_LABELS, _MODES = len(EXPRESSIONS), len(MODALITIES)
Keyed = tuple[int, pa.RecordBatch]
MAX_HELD = 32_000
"""Rows that one worker collects before it sends them to their shards."""


def hold(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Cut OBSERVATIONS rows, or pseudonymous context events, to the HELD rows of a window."""
    columns = {"event_key": pa.array(first_half(batch["event_id"]))}
    if is_observed(batch):
        columns["modality"] = pc.index_in(batch["modality"], pa.array(MODALITIES)).cast(pa.int8())
    else:
        columns["modality"] = pa.repeat(pa.scalar(-1, pa.int8()), batch.num_rows)
    for field in HELD:
        if field.name not in columns:
            known = field.name in batch.schema.names
            columns[field.name] = (
                batch[field.name] if known else pa.nulls(batch.num_rows, field.type)
            )
    return pa.record_batch([columns[name] for name in HELD.names], schema=HELD)


def pack(held: pa.RecordBatch) -> pa.RecordBatch:
    """Return HELD rows as PACKED rows; at most 32,767 different sessions."""
    names = [held[name] for name, _ in SESSION_COLUMNS]
    joined = pc.binary_join_element_wise(
        *names, "\x1f", null_handling="replace", null_replacement="\x1e"
    )
    codes = joined.dictionary_encode().indices
    first = pa.array(np.unique(codes.to_numpy(), return_index=True)[1])
    fields = PACKED.field("session").type.value_type
    sessions = pa.StructArray.from_arrays([n.take(first) for n in names], fields=list(fields))
    coded = pa.DictionaryArray.from_arrays(codes.cast(pa.int16()), sessions)
    columns = [coded if f.name == "session" else held[f.name].cast(f.type) for f in PACKED]
    return pa.record_batch(columns, schema=PACKED)


def unpack(packed: pa.RecordBatch) -> pa.RecordBatch:
    """Return PACKED rows as HELD rows."""
    sessions = packed["session"].dictionary_decode()
    columns = {name: pc.struct_field(sessions, name) for name, _ in SESSION_COLUMNS}
    for field in HELD:
        if field.name not in columns:
            columns[field.name] = packed[field.name].cast(field.type)
    return pa.record_batch([columns[name] for name in HELD.names], schema=HELD)


def is_observed(batch: pa.RecordBatch) -> bool:
    """Tell observations from the context events that come with them."""
    return "modality" in batch.schema.names


def shard_of(subject_ref: str, shards: int) -> int:
    """Return a subject's shard: the first 32 bits of its reference modulo ``shards``.

    References are keyed digests, so shards fill evenly and the same in every process.
    """
    return int(subject_ref[:8], 16) % shards


def split_by_shard(
    held: pa.RecordBatch, shards: int, length_us: int
) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Yield (shard, earliest event time in µs, PACKED rows): each piece lies in one window."""
    refs = held["subject_ref"].dictionary_encode()
    numbers = [shard_of(ref, shards) for ref in refs.dictionary.to_pylist()]
    shard = np.array(numbers, np.int64)[refs.indices.to_numpy()]
    times = held["event_time"].cast(pa.int64()).to_numpy()
    key = times // length_us * shards + shard
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    ordered = held.take(pa.array(order))
    for start, stop in zip(starts, np.r_[starts[1:], len(order)], strict=True):
        rows = pack(ordered.slice(start, stop - start))
        yield int(shard[order[start]]), int(times[order[start:stop]].min()), rows


class _SplitByShard(beam.DoFn):
    """Collects rows over the batches of a bundle, so that pieces are few and names are coded once.

    A piece has at most MAX_HELD rows, which the 16-bit codes of PACKED can count.
    """

    def __init__(self, shards: int, length_us: int) -> None:
        self._shards, self._length_us = shards, length_us

    def start_bundle(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        self._batches.append(hold(batch))
        self._rows += batch.num_rows
        if self._rows + MAX_ROWS > MAX_HELD:
            for shard, at, rows in self._split():
                yield TimestampedValue((shard, rows), at)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._rows:
            for shard, at, rows in self._split():
                yield WindowedValue((shard, rows), at, (GlobalWindow(),))

    def _split(self) -> Iterator[tuple[int, Timestamp, pa.RecordBatch]]:
        held = pa.concat_batches(self._batches)
        self.start_bundle()
        for shard, earliest, rows in split_by_shard(held, self._shards, self._length_us):
            yield shard, Timestamp(micros=earliest), rows


def window_rows(
    batches: Iterable[pa.RecordBatch], start: dt.datetime, end: dt.datetime, *, late: bool
) -> pa.RecordBatch:
    """Aggregate the PACKED rows of one shard and window to WINDOW rows.

    Rows are ordered by subject, session, event time and event id, and an event counts once, so
    the result does not hang on how they came. Without an observation there is no row.
    """
    held = pa.concat_batches([unpack(batch) for batch in batches])
    order, group = _ordered(held)
    held = held.take(pa.array(order))
    heads = np.flatnonzero(np.diff(group, prepend=-1))
    counts, scores, confidence = _by_modality(held, group, len(heads))
    at = held.take(pa.array(heads))
    count = at.num_rows
    instants = [pa.repeat(pa.scalar(instant, TIME), count) for instant in (start, end)]
    length = pa.repeat(str(int((end - start).total_seconds() * 1e6)), count)
    begin = pa.repeat(start.isoformat(), count)
    columns = {
        "window_id": stable_ids(at["subject_ref"], at["session_ref"], begin, length),
        "window_start": instants[0],
        "window_end": instants[1],
        "revision": pa.array(np.bincount(group, minlength=count).astype(np.int32)),
        "late": pa.repeat(late, count),
        "counts": _int_vectors(counts),
        "modality_scores": vector_column(scores.reshape(count, -1)),
        "modality_confidence": vector_column(confidence),
        "activity": _last(held, group, count, "activity"),
        "game_result": _last(held, group, count, "game_result"),
    }
    rows = pa.record_batch(
        [columns[name] if name in columns else at[name] for name in WINDOW.names], schema=WINDOW
    )
    return take_rows(rows, counts.sum(axis=1) > 0)


def _ordered(held: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """Return rows by session, event time and event id, each event once, and their session."""
    sessions = pc.binary_join_element_wise(held["subject_ref"], held["session_ref"], "\x1f")
    session, event = _ranks(sessions), held["event_key"].to_numpy()
    order = np.lexsort((event, held["event_time"].cast(pa.int64()).to_numpy(), session))
    first = np.unique(event[order], return_index=True)[1]
    if len(first) < len(order):
        order = order[np.sort(first)]
    return order, np.unique(session[order], return_inverse=True)[1]


def _ranks(names: pa.Array) -> np.ndarray:
    """Number strings by their order: equal strings get equal numbers."""
    coded = names.dictionary_encode()
    rank = np.empty(len(coded.dictionary), np.int64)
    rank[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(len(rank))
    return rank[coded.indices.to_numpy()]


def _by_modality(
    held: pa.RecordBatch, group: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts (n, 4), confidence-weighted mean scores (n, 4, 7), mean confidence (n, 4)."""
    modality = held["modality"].to_numpy()
    seen = modality >= 0
    cell = group[seen] * _MODES + modality[seen]
    scores = vectors(held["scores"], _LABELS)[seen].astype(np.float64)
    weight = scores.max(axis=1, initial=0.0)  # the confidence of each event
    size = groups * _MODES
    counts = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weight, minlength=size)
    sums = [np.bincount(cell, weight * scores[:, i], minlength=size) for i in range(_LABELS)]
    mean = np.stack(sums, axis=1) / np.maximum(total, 1e-12)[:, None]
    confidence = total / np.maximum(counts, 1)
    shape = (groups, _MODES)
    return counts.reshape(shape), mean.reshape(*shape, _LABELS), confidence.reshape(shape)


def _last(held: pa.RecordBatch, group: np.ndarray, groups: int, name: str) -> pa.Array:
    said = np.flatnonzero(held[name].is_valid().to_numpy(zero_copy_only=False))
    row = np.full(groups, -1)
    row[group[said]] = said  # rows are in time order, so the latest is what stays
    return held[name].take(pa.array(row, mask=row < 0))


def _int_vectors(rows: np.ndarray) -> pa.Array:
    flat = pa.array(rows.astype(np.int32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


class _WindowRows(beam.DoFn):
    def setup(self) -> None:
        self._rows_in, self._rows_out, self._busy_us = stage_counters("WindowSessions")

    def process(
        self,
        element: tuple[int, Iterable[pa.RecordBatch]],
        window: IntervalWindow = beam.DoFn.WindowParam,
        pane: Any = beam.DoFn.PaneInfoParam,
    ) -> Iterator[pa.RecordBatch]:
        batches = list(element[1])
        if not batches:  # accumulating panes may be empty
            return
        start, end = window.start.to_utc_datetime(True), window.end.to_utc_datetime(True)
        with timed(self._busy_us):
            rows = window_rows(batches, start, end, late=pane.timing == PaneInfoTiming.LATE)
        self._rows_in.inc(sum(batch.num_rows for batch in batches))
        self._rows_out.inc(rows.num_rows)
        if rows.num_rows:
            yield rows


class WindowSessions(beam.PTransform):
    """Observation and context batches → WINDOW batches, one a shard, window and pane.

    Fixed windows of event time. A late event within ``lateness_s`` makes its window's rows anew,
    with all events so far, as a higher revision.
    """

    def __init__(self, *, length_s: float, lateness_s: float, shards: int) -> None:
        super().__init__()
        self._length_s, self._lateness_s, self._shards = length_s, lateness_s, shards

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        split = beam.ParDo(_SplitByShard(self._shards, int(self._length_s * 1_000_000)))
        return (
            pcoll
            | "ByShard" >> split.with_output_types(Keyed)  # (shard, PACKED rows of one window)
            | "Window"
            >> beam.WindowInto(
                FixedWindows(self._length_s),
                trigger=trigger.AfterWatermark(late=trigger.AfterCount(1)),
                accumulation_mode=trigger.AccumulationMode.ACCUMULATING,
                allowed_lateness=self._lateness_s,
            )
            | "Group" >> beam.GroupByKey()  # (shard, PACKED batches) a window
            | "Rows" >> beam.ParDo(_WindowRows()).with_output_types(pa.RecordBatch)
        )
