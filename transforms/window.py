"""WindowSessions: observations → one row a subject, session, purpose and window, by shard.

Rows of one window agree in all of WINDOW_KEY. A context event counts in the windows of its own
purpose, scenario and age band only: it was allowed for these, and to steer another purpose's
decision would be a use that nobody consented to.
"""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.transforms import trigger
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindow,
    IntervalWindow,
    TimestampedValue,
)
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import PaneInfoTiming, WindowedValue

from schemas.arrow import equal_runs, number_distinct, take_rows, vector_column, vectors
from schemas.events import CONTEXT_FIELDS, HELD, SESSION_COLUMNS, TIME, WINDOW, WINDOW_KEY
from schemas.ids import first_half, stable_ids
from schemas.modalities import MODALITIES
from schemas.settings import Windows
from schemas.stages import OBSERVATION, Stage, kind_of
from schemas.tables import OBSERVATIONS
from schemas.vocabularies import EXPRESSIONS
from transforms.sources.recorded import MAX_ROWS
from transforms.stage import count_time, stage_counters

_LABELS, _MODES = len(EXPRESSIONS), len(MODALITIES)
Keyed = tuple[int, pa.RecordBatch]
MAX_HELD = 32_000
"""Rows that one worker collects before it sends them to their shards."""


_NAMES = [name for name, _ in SESSION_COLUMNS]
_SESSION = HELD.field("session").type.value_type
_ONE_SHARD = pa.scalar(0, pa.uint16())
"""What landed does not tell the shard, on which no row depends."""


def to_window_input(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Cut observations, in flight or landed, or context events to the columns a window needs."""
    count = batch.num_rows
    if kind_of(batch) == OBSERVATION:
        modality = pc.index_in(batch["modality"], pa.array(list(MODALITIES))).cast(pa.int8())
        scores = batch["scores"]
    else:
        modality = pa.repeat(pa.scalar(-1, pa.int8()), count)
        scores = pa.nulls(count, OBSERVATIONS.field("scores").type)
    known = batch.schema.names
    names = {
        name: batch[name] if name in known else pa.nulls(count, pa.string()) for name in _NAMES
    }
    own = {name: batch[name] for name in ("event_id", "event_time", "content")}
    shard = batch["shard_hash"] if "shard_hash" in known else pa.repeat(_ONE_SHARD, count)
    own |= {"shard_hash": shard, "modality": modality, "scores": scores}
    return pa.record_batch(own | names)


def split_by_shard(
    rows: pa.RecordBatch, shards: int, length_us: int
) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Yield (shard, earliest event time in µs, HELD rows): each piece lies in one window.

    ``rows`` are as ``to_window_input`` returns them.
    """
    code, sessions = _sessions(rows)
    shard = rows["shard_hash"].to_numpy().astype(np.int64) % shards
    times = rows["event_time"].cast(pa.int64()).to_numpy()
    place = times // length_us * shards + shard
    order = np.argsort(place, kind="stable")
    code, times, shard = code[order], times[order], shard[order]
    columns = {
        "event_key": pa.array(first_half(rows["event_id"])[order]),
        "event_time": rows["event_time"].take(pa.array(order)),
        "modality": rows["modality"].take(pa.array(order)),
        "content": rows["content"].cast(pa.int32()).take(pa.array(order)),
        "scores": rows["scores"].cast(HELD.field("scores").type).take(pa.array(order)),
    }
    for start, stop in equal_runs(place[order]):
        here, index = np.unique(code[start:stop], return_inverse=True)
        coded = pa.DictionaryArray.from_arrays(
            pa.array(index.astype(np.int16)), sessions.take(pa.array(here))
        )
        piece = {name: column.slice(start, stop - start) for name, column in columns.items()}
        piece["session"] = coded
        batch = pa.record_batch([piece[name] for name in HELD.names], schema=HELD)
        yield int(shard[start]), int(times[start:stop].min()), batch


def _sessions(rows: pa.RecordBatch) -> tuple[np.ndarray, pa.StructArray]:
    """Number the sessions of these rows; return each row's number, and the sessions."""
    names = [rows[name] for name in _NAMES]
    code, first = number_distinct(*names)
    distinct_names = [name.take(pa.array(first)) for name in names]
    return code, pa.StructArray.from_arrays(distinct_names, fields=list(_SESSION))


class _SplitByShard(beam.DoFn):
    """Collects rows over the batches of a bundle, so that pieces are few and names are coded once.

    A piece has at most MAX_HELD rows, which the 16-bit codes of HELD can count.
    """

    def __init__(self, shards: int, length_us: int) -> None:
        self._shards, self._length_us = shards, length_us

    def start_bundle(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        self._batches.append(to_window_input(batch))
        self._rows += batch.num_rows
        if self._rows + MAX_ROWS > MAX_HELD:
            for shard, at, held in self._split():
                yield TimestampedValue((shard, held), at)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._rows:
            for shard, at, held in self._split():
                yield WindowedValue((shard, held), at, (GlobalWindow(),))

    def _split(self) -> Iterator[tuple[int, Timestamp, pa.RecordBatch]]:
        rows = pa.concat_batches(self._batches)
        self.start_bundle()
        for shard, earliest, held in split_by_shard(rows, self._shards, self._length_us):
            yield shard, Timestamp(micros=earliest), held


@dataclass(frozen=True, slots=True)
class _Events:
    """The distinct events of one shard and window, by window id, event time and event key.

    ``group`` is a row of ``window_ids``, ``entry`` a row of ``sessions``.
    """

    group: np.ndarray
    entry: np.ndarray
    modality: np.ndarray
    scores: np.ndarray
    sessions: pa.StructArray
    window_ids: pa.Array


def window_rows(
    batches: Iterable[pa.RecordBatch],
    start: dt.datetime,
    end: dt.datetime,
    *,
    late: bool,
    shard: int = 0,
) -> pa.RecordBatch:
    """Aggregate the HELD rows of one shard and window to WINDOW rows.

    Events are in a fixed order and each counts once, so the result does not depend on how they
    came. Without an observation there is no row. Where scene or region change within a window,
    its first event tells them.
    """
    span = (start.isoformat(), str(int((end - start).total_seconds() * 1e6)))
    events = _events(list(batches), span)
    heads = np.flatnonzero(np.diff(events.group, prepend=-1))
    count = len(heads)
    counts, scores, confidence = _by_modality(events, count)
    of_head = events.sessions.take(pa.array(events.entry[heads]))
    columns = dict(zip(_NAMES, of_head.flatten(), strict=True)) | {
        "window_id": events.window_ids,
        "window_start": pa.repeat(pa.scalar(start, TIME), count),
        "window_end": pa.repeat(pa.scalar(end, TIME), count),
        "revision": pa.array(np.bincount(events.group, minlength=count).astype(np.int32)),
        "late": pa.repeat(late, count),
        "counts": _int_vectors(counts),
        "modality_scores": vector_column(scores.reshape(count, -1)),
        "modality_confidence": vector_column(confidence),
        **{name: _last(events, count, name) for name in CONTEXT_FIELDS},
        "details": _last_details(events, count),
        "shard": pa.repeat(pa.scalar(shard, pa.int32()), count),
    }
    rows = pa.record_batch([columns[name] for name in WINDOW.names], schema=WINDOW)
    return take_rows(rows, counts.sum(axis=1) > 0)


def repetitions(batches: Sequence[pa.RecordBatch]) -> int:
    """Count the HELD rows whose event was there before them, unchanged."""
    key, content = (
        np.concatenate([batch[name].to_numpy() for batch in batches])
        for name in ("event_key", "content")
    )
    return len(key) - len(np.unique(np.stack([key, content.astype(np.uint64)]), axis=1).T)


def _events(batches: list[pa.RecordBatch], span: tuple[str, ...]) -> _Events:
    sessions = pa.concat_arrays([batch["session"].dictionary for batch in batches])
    sizes = [len(batch["session"].dictionary) for batch in batches]
    offsets = np.cumsum([0, *sizes[:-1]])
    entry = np.concatenate(
        [b["session"].indices.to_numpy() + o for b, o in zip(batches, offsets, strict=True)]
    )
    key, time, modality = (
        np.concatenate([batch[name].to_numpy() for batch in batches])
        for name in ("event_key", "event_time", "modality")
    )
    scores = np.concatenate([vectors(batch["scores"], _LABELS) for batch in batches])
    group, window_ids = _rank_sessions(sessions, WINDOW_KEY, span)
    order = np.lexsort((key, time, group[entry]))
    first = np.unique(key[order], return_index=True)[1]
    if len(first) < len(order):  # an event came twice
        content = (_rank_sessions(sessions, _NAMES)[0][entry], modality, *scores.T)
        order = np.lexsort((*content, key, time, group[entry]))  # if it differs, neither came first
        order = order[np.sort(np.unique(key[order], return_index=True)[1])]
    entry = entry[order]
    kept, seen = np.unique(group[entry], return_inverse=True)
    return _Events(
        seen,
        entry,
        modality[order],
        scores[order].astype(np.float64),
        sessions,
        window_ids.take(pa.array(kept)),
    )


def _rank_sessions(
    sessions: pa.StructArray, names: Iterable[str], beside: tuple[str, ...] = ()
) -> tuple[np.ndarray, pa.Array]:
    """Number what sessions have in these columns by the order of its ids; return the ids too.

    An id is a hash of the columns and of what stands ``beside`` them all.
    """
    columns = [sessions.field(name) for name in names]
    number, first = number_distinct(*columns)
    shown = [column.take(pa.array(first)) for column in columns]
    ids = stable_ids(*shown, *beside)
    order = pc.sort_indices(ids).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[number], ids.take(pa.array(order))


def _by_modality(events: _Events, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts (n, 4), confidence-weighted mean scores (n, 4, 7), mean confidence (n, 4)."""
    seen = events.modality >= 0
    cell = events.group[seen] * _MODES + events.modality[seen]
    scores = events.scores[seen]
    weight = scores.max(axis=1, initial=0.0)  # the confidence of each event
    size = groups * _MODES
    counts = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weight, minlength=size)
    sums = [np.bincount(cell, weight * scores[:, i], minlength=size) for i in range(_LABELS)]
    mean = np.stack(sums, axis=1) / np.maximum(total, 1e-12)[:, None]
    confidence = total / np.maximum(counts, 1)
    shape = (groups, _MODES)
    return counts.reshape(shape), mean.reshape(*shape, _LABELS), confidence.reshape(shape)


def _last(events: _Events, groups: int, name: str) -> pa.Array:
    """Return what the context told last in each row's window, null where nothing."""
    told = events.sessions.field(name)
    if told.null_count == len(told):  # no context event among them, as in most windows
        return pa.nulls(groups, pa.string())
    said = np.flatnonzero(told.is_valid().to_numpy(zero_copy_only=False)[events.entry])
    entry = np.full(groups, -1)
    entry[events.group[said]] = events.entry[said]  # in time order, so the latest stays
    return told.take(pa.array(entry, mask=entry < 0))


def _last_details(events: _Events, groups: int) -> pa.Array:
    """Return the last value of each other field that the context told, as a JSON object a row."""
    told = events.sessions.field("details")
    if told.null_count == len(told):
        return pa.nulls(groups, pa.string())
    merged: dict[int, dict[str, str]] = defaultdict(dict)
    known = told.to_pylist()
    for group, entry in zip(events.group.tolist(), events.entry.tolist(), strict=True):
        if known[entry] is not None:  # in time order, so the latest stays
            merged[group].update(json.loads(known[entry]))
    written = {group: json.dumps(fields, sort_keys=True) for group, fields in merged.items()}
    return pa.array([written.get(group) for group in range(groups)], pa.string())


def _int_vectors(rows: np.ndarray) -> pa.Array:
    flat = pa.array(rows.astype(np.int32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


class _WindowRows(beam.DoFn):
    def setup(self) -> None:
        counters = stage_counters(Stage.WINDOW)
        self._rows_in, self._rows_out, self._busy_us, self._batches = counters
        self._repeated = Metrics.counter(Stage.WINDOW, "repeated")

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
        with count_time(self._busy_us):
            late = pane.timing == PaneInfoTiming.LATE
            rows = window_rows(batches, start, end, late=late, shard=element[0])
        held = sum(batch.num_rows for batch in batches)
        self._rows_in.inc(held)
        self._batches.inc()
        self._rows_out.inc(rows.num_rows)
        if not late and held > (pc.sum(rows["revision"]).as_py() or 0):
            self._repeated.inc(repetitions(batches))
        if rows.num_rows:
            yield rows


class WindowSessions(beam.PTransform):
    """Observation and context batches → WINDOW batches, one a shard, window and pane.

    Fixed windows of event time. A late event within the allowed lateness makes its window's rows
    anew, with all events so far, as a higher revision.
    """

    def __init__(self, *, windows: Windows) -> None:
        super().__init__()
        self._windows = windows

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        windows = self._windows
        split = beam.ParDo(_SplitByShard(windows.shards, int(windows.length_s * 1_000_000)))
        return (
            pcoll
            | "ByShard" >> split.with_output_types(Keyed)  # (shard, HELD rows of one window)
            | "Window"
            >> beam.WindowInto(
                FixedWindows(windows.length_s),
                trigger=trigger.AfterWatermark(late=trigger.AfterCount(1)),
                accumulation_mode=trigger.AccumulationMode.ACCUMULATING,
                allowed_lateness=windows.lateness_s,
            )
            | "Group" >> beam.GroupByKey()  # (shard, HELD batches) a window
            | "Rows" >> beam.ParDo(_WindowRows()).with_output_types(pa.RecordBatch)
        )
