"""Record: a range of topics → a recorded log, byte for byte as on the wire."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from kafka import KafkaConsumer
from rich.console import Console
from rich.progress import Progress

from pipelines.kafka.clients import partitions_of, read_to_end, reader_settings
from pipelines.kafka.reasons import explain_kafka_error
from pipelines.kafka.topics import need_topics
from schemas.arrow import take_rows
from schemas.errors import AffectstreamError
from schemas.events import RAW, TOPICS, record_times
from schemas.settings import Kafka
from schemas.strict import make_private_folder
from transforms.sources.recorded import read_records, split_to_bounds


def record(
    out: Path,
    kafka: Kafka,
    *,
    topics: list[str] | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    console: Console,
) -> int:
    """Write the records that the topics hold now, in the order of time; return how many.

    ``since_ms`` and ``until_ms`` (exclusive) bound the records' timestamps; a record without a
    usable one takes that of the record before it in its partition. The records of a partition keep
    the order of their offsets. Partitions are first written to files of their own and then merged,
    so memory holds one batch of each.

    Raises:
        AffectstreamError: ``out`` exists, or the broker or a topic cannot be read.
    """
    if out.exists():
        message = f"{out} exists: name a new folder for the log"
        raise AffectstreamError(message)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_private_folder(partial)  # texts, voices, faces and subject ids as they were sent
    (partial / "apart").mkdir()
    total = 0
    try:
        need_topics(kafka, topics or TOPICS)
        with explain_kafka_error(kafka), Progress(console=console, transient=True) as bar:
            task = bar.add_task("recording", total=None)
            for rows in _spool(partial / "apart", kafka, topics or list(TOPICS)):
                bar.update(task, advance=rows)
        apart = sorted((partial / "apart").glob("*.parquet"))
        with pq.ParquetWriter(partial / "part-00000.parquet", RAW, compression="zstd") as file:
            parts = [
                _select_span(add_times(read_records(path)), since_ms, until_ms) for path in apart
            ]
            for batch in merge_by_time(parts):
                total += batch.num_rows
                for part in split_to_bounds(batch):
                    file.write_batch(part)
        if not total:
            message = "the topics hold no record in this range: there is nothing to record"
            raise AffectstreamError(message)
        shutil.rmtree(partial / "apart")
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return total


def _spool(folder: Path, kafka: Kafka, topics: list[str]) -> Iterator[int]:
    """Write what each partition holds to a file of its own; yield numbers of rows."""
    consumer = KafkaConsumer(**reader_settings(kafka))
    try:
        partitions = partitions_of(consumer, topics)
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        with ExitStack() as stack:
            files: dict[tuple[str, int], pq.ParquetWriter] = {}
            for batch in read_to_end(consumer, partitions):
                place = (batch["topic"][0].as_py(), batch["partition"][0].as_py())
                if place not in files:
                    path = folder / f"{place[0]}-{place[1]:05d}.parquet"
                    files[place] = stack.enter_context(pq.ParquetWriter(path, RAW))
                files[place].write_batch(batch)
                yield batch.num_rows
    finally:
        consumer.close()


Timed = tuple[pa.RecordBatch, np.ndarray]
"""A RAW batch, and its records' times in ms since 1970."""

_BEFORE_ALL: Final = np.iinfo(np.int64).min


def add_times(batches: Iterable[pa.RecordBatch]) -> Iterator[Timed]:
    """Add the records' times to the batches of a partition.

    A record without a usable time takes that of the record before it; such records at the start of
    a partition come before all others.
    """
    last = _BEFORE_ALL
    for batch in batches:
        usable, _ = record_times(batch["timestamp"])
        known = usable.is_valid().to_numpy(zero_copy_only=False)
        times = pc.fill_null(usable.cast(pa.int64()), 0).to_numpy() // 1000
        place = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
        filled = np.where(place < 0, last, times[place])
        last = filled[-1] if len(filled) else last
        yield batch, filled


def _select_span(
    batches: Iterable[Timed], since_ms: int | None, until_ms: int | None
) -> Iterator[Timed]:
    """Keep the records of a span of time."""
    for batch, times in batches:
        keep = np.ones(len(times), bool)
        if since_ms is not None:
            keep &= times >= since_ms
        if until_ms is not None:
            keep &= times < until_ms
        if keep.any():
            yield take_rows(batch, keep), times[keep]


@dataclass(slots=True)
class _Head:
    """The batch of a partition that is being merged; ``reached`` never falls within it."""

    batches: Iterator[Timed]
    batch: pa.RecordBatch
    reached: np.ndarray


def merge_by_time(partitions: Iterable[Iterator[Timed]]) -> Iterator[pa.RecordBatch]:
    """Merge the RAW batches of partitions by time; each partition keeps its own order.

    A record's place in time is the latest time of its partition so far.
    """
    heads = [
        head for batches in partitions if (head := _read_head(batches, _BEFORE_ALL)) is not None
    ]
    while heads:
        limit = min(int(head.reached[-1]) for head in heads)
        parts, places, rest = [], [], []
        for head in heads:
            count = int(np.searchsorted(head.reached, limit, side="right"))
            parts.append(head.batch.slice(0, count))
            places.append(head.reached[:count])
            if count < head.batch.num_rows:
                rest.append(_Head(head.batches, head.batch.slice(count), head.reached[count:]))
            elif (following := _read_head(head.batches, limit)) is not None:
                rest.append(following)
        order = np.argsort(np.concatenate(places), kind="stable")
        yield pa.concat_batches(parts).take(pa.array(order))
        heads = rest


def _read_head(batches: Iterator[Timed], reached: int) -> _Head | None:
    following = next(batches, None)
    if following is None:
        return None
    batch, times = following
    return _Head(batches, batch, np.maximum.accumulate(np.maximum(times, reached)))
