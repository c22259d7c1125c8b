"""A session log on disk: RAW rows in Parquet parts, and the ground truth beside them."""

import heapq
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from pipelines.sessionlogs.cloudevents import Event, encode
from schemas.errors import AffectstreamError
from schemas.events import RAW, TIME, TOPICS

TRUTH = pa.schema(
    [
        ("source", pa.string()),
        ("id", pa.string()),
        ("subject", pa.string()),
        ("session_id", pa.string()),
        ("region", pa.string()),
        ("event_time", TIME),
        ("kind", pa.string()),
        ("expression", pa.string()),
        ("lang", pa.string()),
        ("corpus", pa.string()),
        ("stand_in", pa.string()),
    ]
)
"""One row a session event that shows an expression; source and id join it to the log.

``stand_in`` says what the event is where it is not of its recogniser's kind: see ``Event``.
"""

PARTITIONS: Final = 3
GROUP_ROWS: Final = 16_384
GROUP_BYTES: Final = 32 << 20
PART_BYTES: Final = 512 << 20

_TOPIC_INDEX = {topic: index for index, topic in enumerate(TOPICS)}
_LOG, _TRUTH = "log", "truth.parquet"
UNPLACED = pa.schema([f for f in RAW if f.name != "offset"])
"""RAW without the offset, which the writer gives."""


@dataclass(frozen=True, slots=True)
class SessionLog:
    """A written log: ``folder`` holds RAW parts, ``truth`` the expressions shown in it.

    ``planted`` counts, by dead-letter and refusal code, the records that were made wrong on
    purpose; ``duplicate`` counts events that were sent twice.
    """

    folder: Path
    truth: Path
    records: int
    planted: Mapping[str, int]


def partition_of(key: bytes) -> int:
    """Return a key's partition: CRC32 modulo partitions, as librdkafka's default does."""
    return crc32(key) % PARTITIONS


class LogWriter:
    """Writes RAW rows and truth rows in bounded row groups and gives every record its offset."""

    def __init__(self, root: Path) -> None:
        self._folder = root / _LOG
        self._folder.mkdir(parents=True)
        self._truth = pq.ParquetWriter(root / _TRUTH, TRUTH, compression="zstd")
        self._part: pq.ParquetWriter | None = None
        self._part_bytes = 0
        self._parts = 0
        self._next = np.zeros((len(TOPICS), PARTITIONS), np.int64)
        self.records = 0
        self.planted: Counter[str] = Counter()

    def write_rows(self, rows: pa.RecordBatch) -> None:
        """Append RAW rows that still lack ``offset``, in arrival order, as one row group."""
        offsets = pa.array(self._offsets(rows))
        columns = [*rows.columns[:2], offsets, *rows.columns[2:]]
        batch = pa.record_batch(columns, schema=RAW)
        if self._part is None:
            path = self._folder / f"part-{self._parts:05d}.parquet"
            self._part = pq.ParquetWriter(path, RAW, compression="zstd")
            self._parts += 1
        self._part.write_batch(batch, row_group_size=max(1, batch.num_rows))
        self.records += batch.num_rows
        self._part_bytes += batch.nbytes
        if self._part_bytes > PART_BYTES:
            self._part.close()
            self._part, self._part_bytes = None, 0

    def write_truth(self, rows: pa.RecordBatch) -> None:
        """Append truth rows as one row group."""
        self._truth.write_batch(rows)

    def write_events(self, events: Iterable[Event]) -> None:
        """Append events that come in arrival order; a row group is held at most."""
        group: list[Event] = []
        size = 0
        for event in events:
            group.append(event)
            size += len(event.payload or b"")
            if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
                self._write_group(group)
                group, size = [], 0
        if group:
            self._write_group(group)

    def _write_group(self, events: list[Event]) -> None:
        self.write_rows(_raw_rows(events))
        self.write_truth(_truth_rows(events))
        self.planted.update(e.planted for e in events if e.planted)

    def _offsets(self, rows: pa.RecordBatch) -> np.ndarray:
        topics = pc.index_in(rows["topic"], pa.array(list(_TOPIC_INDEX))).to_numpy()
        places = topics * PARTITIONS + rows["partition"].to_numpy()
        order = np.argsort(places, kind="stable")
        counts = np.bincount(places, minlength=self._next.size)
        starts = np.cumsum(counts) - counts
        rank = np.arange(len(places)) - starts[places[order]]
        offsets = np.empty(len(places), np.int64)
        offsets[order] = rank + self._next.reshape(-1)[places[order]]
        self._next += counts.reshape(self._next.shape)
        return offsets

    def close(self) -> None:
        """Finish the open files."""
        if self._part is not None:
            self._part.close()
        self._truth.close()


def _raw_rows(events: list[Event]) -> pa.RecordBatch:
    records = [encode(event) for event in events]
    columns: list[Any] = [
        [r.topic for r in records],
        [partition_of(r.key) for r in records],
        [r.timestamp for r in records],
        [r.key for r in records],
        [r.headers for r in records],
        [r.value for r in records],
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, UNPLACED, strict=True)]
    return pa.record_batch(arrays, schema=UNPLACED)


def _truth_rows(events: list[Event]) -> pa.RecordBatch:
    rows = [
        {
            "source": e.source,
            "id": e.id,
            "subject": e.subject.id,
            "session_id": e.subject.session,
            "region": e.subject.region,
            "event_time": e.time_ms * 1000,
            "kind": e.kind,
            "expression": e.expression,
            "lang": e.lang,
            "corpus": e.corpus,
            "stand_in": e.stand_in,
        }
        for e in events
        if e.expression is not None
    ]
    return pa.RecordBatch.from_pylist(rows, TRUTH)


def in_arrival_order(events: Iterable[Event]) -> Iterator[Event]:
    """Reorder events from event-time order to arrival order.

    An event never arrives before its event time, so what arrived by the event time that was just
    read can leave; what is held spans the longest delay, not the log.
    """
    held: list[tuple[int, int, Event]] = []
    for number, event in enumerate(events):
        while held and held[0][0] <= event.time_ms:
            yield heapq.heappop(held)[2]
        heapq.heappush(held, (event.arrival_ms, number, event))
    while held:
        yield heapq.heappop(held)[2]


def with_progress(events: Iterable[Event], start_ms: int, stop_ms: int) -> Iterator[Event]:
    """Pass events on and show on stderr, if it is a terminal, how far their arrival has come."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("writing the log", total=stop_ms - start_ms)
        for number, event in enumerate(events):
            if number % 1_000 == 0:
                progress.update(task, completed=event.arrival_ms - start_ms)
            yield event


@contextmanager
def new_log(out: Path) -> Iterator[LogWriter]:
    """Open a writer whose files appear at ``out`` when the block ends, or not at all.

    Raises:
        AffectstreamError: ``out`` exists and is no session log, or can not be written.
    """
    if out.exists() and not is_session_log(out):
        message = f"{out} exists and is not a session log: name a new folder or an old session log"
        raise AffectstreamError(message)
    out = out.absolute()
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        message = f"{out} can not be written ({error.strerror}): name a folder that can"
        raise AffectstreamError(message) from error
    try:
        writer = LogWriter(partial)
        try:
            yield writer
        finally:
            writer.close()
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def describe_log(out: Path, writer: LogWriter) -> SessionLog:
    """Describe the log that this writer left at ``out``."""
    planted = MappingProxyType(dict(sorted(writer.planted.items())))
    return SessionLog(out / _LOG, out / _TRUTH, writer.records, planted)


def is_session_log(path: Path) -> bool:
    """Tell whether a folder is empty or holds a log and its truth and nothing else."""
    if not path.is_dir():
        return False
    names = {entry.name for entry in path.iterdir()}
    return names in (set(), {_LOG, _TRUTH}) and all(
        part.suffix == ".parquet" for part in (path / _LOG).glob("*")
    )
