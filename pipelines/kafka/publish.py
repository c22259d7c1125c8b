"""Publish: a recorded log → Kafka, paced or as fast as possible, with its own times or now's."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from kafka import KafkaProducer
from kafka.errors import InvalidRecordError, InvalidTimestampError
from rich.console import Console
from rich.progress import Progress

from pipelines.kafka.clients import python_settings
from pipelines.kafka.reasons import explain_kafka_error
from pipelines.kafka.retime import find_structured, shift_times
from pipelines.kafka.topics import MAX_MESSAGE, need_topics
from schemas.errors import AffectstreamError
from schemas.events import RAW, record_times
from schemas.settings import Kafka
from transforms.sources.recorded import count_records, log_files, read_records

_NO_TIME = -1
"""What Kafka stores for a record without a time."""
_LONGEST_GAP_S = 3_600
_APART_MS = 366 * 86_400_000
"""Times that are so far from the others are wrong, or another log's."""
_AHEAD_MS = 3_600_000
"""How far ahead of its clock a broker takes a record's time, unless a topic says otherwise."""
_ONCE_OR_NEVER = {"enable_idempotence": False, "retries": 0}
_SENT = ("topic", "partition", "offset", "key", "headers", "value")
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
    """Sends records and keeps the first error; kafka-python reports errors late.

    ``refused`` are the places of the records that the broker did not take for their time. Those
    that it may refuse go by a producer of their own: an idempotent one sends nothing after that.
    """

    make: Callable[..., KafkaProducer]
    producers: dict[bool, KafkaProducer] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _ahead: bool = False

    def send(self, record: dict[str, Any]) -> None:
        """Send a record; one whose time is out of range has a batch of its own.

        A batch stores times as 64-bit differences from its first, and is refused as a whole where
        one of them is too far ahead: such records share no batch with others.
        """
        ahead = record["ahead"]
        if record["alone"] or ahead != self._ahead:
            self._flush()
        self._ahead = ahead
        if ahead not in self.producers:
            self.producers[ahead] = self.make(**_ONCE_OR_NEVER if ahead else {})
        self._send(self.producers[ahead], record)
        if record["alone"]:
            self._flush()

    def _send(self, producer: KafkaProducer, record: dict[str, Any]) -> None:
        if self.errors:
            raise self.errors[0]
        sent = producer.send(
            record["topic"],
            key=_NULL if record["key"] is None else record["key"],
            value=_NULL if record["value"] is None else record["value"],
            headers=record["headers"],
            timestamp_ms=record["timestamp"],
        )
        sent.add_errback(partial(self._note, record["place"] if record["ahead"] else None))

    def _note(self, ahead: str | None, error: BaseException) -> None:
        if ahead and isinstance(error, InvalidRecordError | InvalidTimestampError):
            self.refused.append(ahead)
        else:
            self.errors.append(error)

    def _flush(self) -> None:
        for producer in self.producers.values():
            producer.flush()

    def close(self) -> None:
        """Close all producers."""
        for producer in self.producers.values():
            producer.close(timeout=5)

    def finish(self) -> None:
        """Wait until all is acknowledged; raise the first error."""
        self._flush()
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

    ``speed`` is how many times faster than recorded; 0 is as fast as possible. Gaps of more than an
    hour are not waited for. ``retime`` shifts all times by one amount, so that the first record is
    sent now, or, with ``speed`` 0, the last; times that are years from most others don't count
    there. A record without a usable time keeps what it has and follows the one before it. A null
    header name or value is sent empty, since kafka-python cannot send null.

    Raises:
        AffectstreamError: the log or the broker cannot be used, or a record was refused; all others
            are sent where that was for its time alone.
    """
    total = count_records(log)
    span, topics = _survey(log)
    now = time.time()
    shift_ms = _shift_ms(log, span, now, paced=speed > 0) if retime else 0
    with explain_kafka_error(kafka), Progress(console=console, transient=True) as bar:
        need_topics(kafka, topics, "WRITE")
        task = bar.add_task("publishing", total=total)
        sender = _Sender(partial(_producer, kafka, compression))
        try:
            pace = Pace(speed, now)
            for number, record in enumerate(_records(log, shift_ms)):
                if speed and record["at"] is not None:
                    time.sleep(max(0.0, pace.due(record["at"]) - time.time()))
                sender.send(record)
                if number % 500 == 0:
                    bar.update(task, completed=number)
            sender.finish()
        finally:
            sender.close()
    if sender.refused:
        message = (
            f"{total - len(sender.refused):,} of {total:,} records are sent; the broker refused "
            f"{len(sender.refused):,} whose time is more than an hour ahead, such as "
            f"{sender.refused[0]} of the log: correct their times, or raise "
            "message.timestamp.after.max.ms of the topic"
        )
        raise AffectstreamError(message)
    return PublishResult(total, time.time() - now, shift_ms / 1000)


@dataclass(slots=True)
class Pace:
    """When records are due, in seconds since 1970, by the gaps between their times."""

    speed: float
    now: float
    _last: int | None = None

    def due(self, at: int) -> float:
        """Return when the next record of a log is due; ``at`` is its time in ms.

        One wrong time would make it due in decades: a long gap, either way, counts as none.
        """
        gap_s = 0.0 if self._last is None else (at - self._last) / 1000 / self.speed
        self._last = at
        if abs(gap_s) <= _LONGEST_GAP_S:
            self.now += gap_s
        return self.now


def _producer(kafka: Kafka, compression: str | None, **more: Any) -> KafkaProducer:
    def plain(value: Any) -> bytes | None:
        return None if value is _NULL else value

    return KafkaProducer(
        **python_settings(kafka),
        **{"enable_idempotence": True} | more,
        acks="all",
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
    """Return the first and the last time of records in ms, None where none has any; the topics."""
    files = [str(path) for path in log_files(log)]
    places = ds.dataset(files, schema=RAW).to_table(columns=["timestamp", "topic"])
    if not len(places):
        message = f"{log} holds no record: there is nothing to publish"
        raise AffectstreamError(message)
    times, _ = record_times(places["timestamp"].combine_chunks())
    known = times.drop_null().cast(pa.int64()).to_numpy() // 1000
    return span_of(known), set(pc.unique(places["topic"]).to_pylist())


def span_of(times_ms: np.ndarray) -> tuple[int, int] | None:
    """Return the first and the last time of most records: of those no year apart."""
    ordered = np.sort(times_ms)
    parts = np.split(ordered, np.flatnonzero(np.diff(ordered) > _APART_MS) + 1)
    most = max(parts, key=len)
    return (int(most[0]), int(most[-1])) if len(most) else None


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
            columns = [batch[name].to_pylist() for name in _SENT]
            modes = find_structured(batch) if shift_ms else outside
            for at, own, alone, structured, topic, partition, offset, key, headers, value in zip(
                known, given, outside.tolist(), modes.tolist(), *columns, strict=True
            ):
                pairs = [(h["key"] or "", h["value"] or b"") for h in headers or () if h]
                record = {"topic": topic, "key": key, "headers": pairs, "value": value}
                sent_at = own if at is None else at + shift_ms
                if shift_ms:
                    record = shift_times(record, shift_ms, structured=structured)
                yield record | {
                    "timestamp": sent_at,
                    "at": at,
                    "alone": alone,
                    "ahead": sent_at - time.time() * 1000 > _AHEAD_MS,
                    "place": f"{topic} {partition}:{offset}",
                }
