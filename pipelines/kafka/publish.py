"""Publish: a recorded log → Kafka, paced or as fast as possible, with its own times or now's."""

import datetime as dt
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from kafka import KafkaProducer
from rich.console import Console
from rich.progress import Progress

from pipelines.kafka.clients import python_settings
from pipelines.kafka.reasons import explain_kafka_error
from pipelines.kafka.topics import MAX_MESSAGE, need_topics
from schemas.errors import AffectstreamError
from schemas.events import RAW, record_times
from schemas.settings import Kafka
from transforms.sources.recorded import count_records, log_files, read_records

_NO_TIME = -1
"""What Kafka stores for a record without a time."""
_NULL = object()
"""Stands for a null key or value, since kafka-python refuses a record of which both are null."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What was sent: records, seconds, and how far event times were shifted."""

    records: int
    seconds: float
    shift_s: float


@dataclass(slots=True)
class _Sender:
    """Sends records and keeps the first error; kafka-python reports errors late."""

    producer: KafkaProducer
    errors: list[BaseException] = field(default_factory=list)

    def send(self, record: dict[str, Any]) -> None:
        """Send a record; one whose time is out of range has a batch of its own.

        A batch stores times as 64-bit differences from its first.
        """
        if record["alone"]:
            self.producer.flush()
        self._send(record)
        if record["alone"]:
            self.producer.flush()

    def _send(self, record: dict[str, Any]) -> None:
        if self.errors:
            raise self.errors[0]
        sent = self.producer.send(
            record["topic"],
            key=_NULL if record["key"] is None else record["key"],
            value=_NULL if record["value"] is None else record["value"],
            headers=record["headers"],
            timestamp_ms=record["timestamp"],
        )
        sent.add_errback(self.errors.append)

    def finish(self) -> None:
        self.producer.flush()
        if self.errors:
            raise self.errors[0]


def publish(
    log: Path,
    kafka: Kafka,
    *,
    speed: float = 0.0,
    retime: bool = False,
    compression: str | None = None,
    console: Console,
) -> PublishResult:
    """Send every record of a log in its order, keyed, acknowledged by all replicas, once each.

    ``speed`` is how many times faster than recorded; 0 is as fast as possible. ``retime`` shifts
    all times by one amount, so that the first record is sent now, or, with ``speed`` 0, the last. A
    record without a usable time keeps what it has and follows the one before it. A null header
    value is sent empty, since kafka-python cannot send null.

    Raises:
        AffectstreamError: the log or the broker cannot be used, or a record was refused.
    """
    total = count_records(log)
    span, topics = _survey(log)
    now = time.time()
    shift_ms = _shift_ms(log, span, now, paced=speed > 0) if retime else 0
    with explain_kafka_error(kafka), Progress(console=console, transient=True) as bar:
        need_topics(kafka, topics, "WRITE")
        task = bar.add_task("publishing", total=total)
        sender = _Sender(_producer(kafka, compression))
        try:
            for number, record in enumerate(_records(log, shift_ms)):
                if speed and span and record["at"] is not None:
                    due = now + (record["at"] - span[0]) / 1000 / speed
                    time.sleep(max(0.0, due - time.time()))
                sender.send(record)
                if number % 500 == 0:
                    bar.update(task, completed=number)
            sender.finish()
        finally:
            sender.producer.close(timeout=5)
    return PublishResult(total, time.time() - now, shift_ms / 1000)


def _producer(kafka: Kafka, compression: str | None) -> KafkaProducer:
    def plain(value: Any) -> bytes | None:
        return None if value is _NULL else value

    return KafkaProducer(
        **python_settings(kafka),
        acks="all",
        enable_idempotence=True,
        compression_type=compression,
        max_request_size=MAX_MESSAGE,
        batch_size=256 << 10,
        linger_ms=5,
        allow_auto_create_topics=False,
        max_block_ms=20_000,
        key_serializer=plain,
        value_serializer=plain,
    )


def _survey(log: Path) -> tuple[tuple[int, int] | None, set[str]]:
    """Return the first and the last time of a record in ms, None where none has any; the topics."""
    files = [str(path) for path in log_files(log)]
    places = ds.dataset(files, schema=RAW).to_table(columns=["timestamp", "topic"])
    if not len(places):
        message = f"{log} holds no record: there is nothing to publish"
        raise AffectstreamError(message)
    times, _ = record_times(places["timestamp"].combine_chunks())
    span = pc.min_max(times.cast(pa.int64())).as_py()
    topics = set(pc.unique(places["topic"]).to_pylist())
    return (None if span["min"] is None else (span["min"] // 1000, span["max"] // 1000)), topics


def _shift_ms(log: Path, span: tuple[int, int] | None, now: float, *, paced: bool) -> int:
    if span is None:
        message = f"no record of {log} has a time that could be shifted: leave out `--retime`"
        raise AffectstreamError(message)
    return int(now * 1000) - span[0 if paced else 1]


def _records(log: Path, shift_ms: int) -> Iterator[dict[str, Any]]:
    """Yield records to send; ``at`` is a record's own time in ms, None where it is unusable."""
    for path in log_files(log):
        for batch in read_records(path):
            usable, outside = record_times(batch["timestamp"])
            known = pc.divide(usable.cast(pa.int64()), 1000).to_pylist()
            given = pc.fill_null(batch["timestamp"].cast(pa.int64()), _NO_TIME).to_pylist()
            columns = [batch[name].to_pylist() for name in ("topic", "key", "headers", "value")]
            for at, own, alone, topic, key, headers, value in zip(
                known, given, outside.tolist(), *columns, strict=True
            ):
                pairs = [(h["key"], h["value"] or b"") for h in headers]
                record = {"topic": topic, "key": key, "headers": pairs, "value": value}
                yield (shift_times(record, shift_ms) if shift_ms else record) | {
                    "timestamp": own if at is None else at + shift_ms,
                    "at": at,
                    "alone": alone,
                }


def shift_times(record: dict[str, Any], shift_ms: int) -> dict[str, Any]:
    """Shift the CloudEvents time of a record; a record without a readable one stays unchanged."""
    structured = any(
        key == "content-type" and value.startswith(b"application/cloudevents")
        for key, value in record["headers"]
    )
    if structured:
        return record | {"value": _shift_json_time(record["value"], shift_ms)}
    headers = [
        (
            key,
            _shift_time(value.decode(errors="replace"), shift_ms).encode()
            if key == "ce_time"
            else value,
        )
        for key, value in record["headers"]
    ]
    return record | {"headers": headers}


def _shift_json_time(value: bytes | None, shift_ms: int) -> bytes | None:
    try:
        event = json.loads(value or b"")
        return json.dumps(event | {"time": _shift_time(event["time"], shift_ms)}).encode()
    except (ValueError, TypeError, KeyError):
        return value


def _shift_time(time_: str, shift_ms: int) -> str:
    try:
        moved = dt.datetime.fromisoformat(time_) + dt.timedelta(milliseconds=shift_ms)
    except (ValueError, OverflowError, TypeError):
        return time_
    return moved.isoformat(timespec="microseconds")
