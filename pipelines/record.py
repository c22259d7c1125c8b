"""Record: a range of topics → a recorded log, exactly as the records were on the wire."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.progress import Progress

from pipelines.config import Kafka
from pipelines.kafka_clients import python_settings, raw_batch
from pipelines.topics import need_topics, told
from schemas.errors import AffectstreamError
from schemas.events import RAW, TOPICS

_AHEAD = 5_000
"""Records that are held of one partition until the others have come as far."""


@dataclass(slots=True)
class _Partition:
    """What was read of one partition and not yet written, with its place in time in ms."""

    end: int
    position: int
    reached: int = -1
    held: list[tuple[int, Any]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.position >= self.end

    def take(self, records: list[Any]) -> None:
        for found in records:
            self.position = found.offset + 1
            if found.offset < self.end:
                self.reached = max(self.reached, found.timestamp)
                self.held.append((self.reached, found))


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

    ``since_ms`` and ``until_ms`` (exclusive) bound the records' timestamps. The records of a
    partition stay in the order of offsets.

    Raises:
        AffectstreamError: ``out`` exists, or the broker or a topic cannot be read.
    """
    if out.exists():
        message = f"{out} exists: name a new folder for the log"
        raise AffectstreamError(message)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    total = 0
    try:
        need_topics(kafka, topics or TOPICS)
        with told(kafka), Progress(console=console, transient=True) as bar:
            task = bar.add_task("recording", total=None)
            with pq.ParquetWriter(partial / "part-00000.parquet", RAW, compression="zstd") as file:
                for rows in _in_order(kafka, topics or list(TOPICS)):
                    chosen = [r for r in rows if _within(r.timestamp, since_ms, until_ms)]
                    if chosen:
                        file.write_batch(raw_batch(chosen))
                    total += len(chosen)
                    bar.update(task, completed=total)
        if not total:
            message = "the topics hold no record in this range: there is nothing to record"
            raise AffectstreamError(message)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return total


def _within(at: int, since_ms: int | None, until_ms: int | None) -> bool:
    return (since_ms is None or at >= since_ms) and (until_ms is None or at < until_ms)


def _in_order(kafka: Kafka, topics: list[str]) -> Iterator[list[Any]]:
    """Yield all that the topics hold now, merged by time; memory is bounded by ``_AHEAD``."""
    consumer = KafkaConsumer(
        **python_settings(kafka), auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        partitions = _partitions(consumer, topics)
        consumer.assign(list(partitions))
        consumer.seek_to_beginning()
        while True:
            reading = [p for p in partitions.values() if not p.done]
            limit = min((p.reached for p in reading), default=None)
            ready = []
            for p in partitions.values():
                count = sum(limit is None or at <= limit for at, _ in p.held)
                ready += p.held[:count]
                del p.held[:count]
            if ready:
                yield [found for _, found in sorted(ready, key=lambda pair: pair[0])]
            if not reading:
                return
            full = {tp for tp, p in partitions.items() if p.done or len(p.held) > _AHEAD}
            consumer.pause(*full)
            consumer.resume(*(set(partitions) - full))
            for tp, records in consumer.poll(timeout_ms=500).items():
                partitions[tp].take(records)
            for tp, p in partitions.items():  # transaction markers are offsets without a record
                p.position = max(p.position, consumer.position(tp) if tp not in full else 0)
    finally:
        consumer.close()


def _partitions(consumer: KafkaConsumer, topics: list[str]) -> dict[TopicPartition, _Partition]:
    found = [
        TopicPartition(topic, number)
        for topic in topics
        for number in sorted(consumer.partitions_for_topic(topic) or ())
    ]
    begins, ends = consumer.beginning_offsets(found), consumer.end_offsets(found)
    return {tp: _Partition(ends[tp], begins[tp]) for tp in found}
