"""How far a live job has come: lag and rate from Kafka, unreadable records from dead letters."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from deltalake import DeltaTable
from kafka import KafkaConsumer
from kafka.errors import KafkaError

from pipelines.kafka.clients import partitions_of, reader_settings
from pipelines.live.partitions import Counts
from pipelines.tables.arrow_types import rows_with
from schemas.errors import DeadLetterCode
from schemas.events import TOPICS
from schemas.settings import Kafka

_COUNT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """Of each topic: partitions, records read, records that wait; and records read per second.

    ``truncated``: a topic is missing, or ends before what was read of it.
    """

    partitions: Counts
    read: dict[str, int]
    lag: dict[str, int]
    per_s: float
    truncated: bool = False

    @property
    def records_wait(self) -> bool:
        """Whether records wait; the marker of a transaction at a partition's end looks like one."""
        return any(lag > self.partitions.get(topic, 0) for topic, lag in self.lag.items())


class TopicProgress:
    """The offsets that the job commits with each checkpoint, against the ends of the topics."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._consumer: KafkaConsumer | None = None
        self._last: tuple[float, int] | None = None

    def measure(self) -> ReadProgress | None:
        """Return where the job stands, None while the broker does not answer."""
        try:
            consumer = self._consumer = self._consumer or self._connect()
            partitions = partitions_of(consumer, TOPICS)
            ends = consumer.end_offsets(partitions, timeout_ms=2000)
            begins = consumer.beginning_offsets(partitions, timeout_ms=2000)
            done = {tp: consumer.committed(tp, timeout_ms=2000) for tp in partitions}
        except KafkaError:
            self.close()
            return None
        read, lag = dict.fromkeys(TOPICS, 0), dict.fromkeys(TOPICS, 0)
        for tp in partitions:
            place = begins[tp] if done[tp] is None else done[tp]
            read[tp.topic] += place - begins[tp]
            lag[tp.topic] += ends[tp] - place
        counts = Counter(tp.topic for tp in partitions)
        shorter = any((done[tp] or 0) > ends[tp] for tp in partitions)
        truncated = shorter or len(counts) < len(TOPICS)
        return ReadProgress(counts, read, lag, self._rate(sum(read.values())), truncated)

    def _rate(self, total: int) -> float:
        now = time.monotonic()
        before, self._last = self._last, (now, total)
        if before is None or now == before[0]:
            return 0.0
        return max(0.0, (total - before[1]) / (now - before[0]))

    def _connect(self) -> KafkaConsumer:
        soon = {"bootstrap_timeout_ms": 5_000, "group_id": self._kafka.group}
        return KafkaConsumer(**reader_settings(self._kafka) | soon)

    def close(self) -> None:
        """Disconnect; the next measurement connects again, with the password of that time."""
        if self._consumer:
            self._consumer.close()
        self._consumer = None


@dataclass(slots=True)
class UnreadableRecords:
    """How many governance records name nobody, by their dead letters."""

    clock: Callable[[], float] = time.monotonic
    count: int = 0
    _version: int = -1
    _counted_at: float = -math.inf

    def update(self, letters: DeltaTable | None) -> int:
        """Return the count; dead letters are counted again at most every five seconds."""
        now = self.clock()
        if letters is None or letters.version() == self._version:
            return self.count
        if now - self._counted_at >= _COUNT_EVERY_S:
            self._version, self._counted_at = letters.version(), now
            code = str(DeadLetterCode.GOVERNANCE_UNREADABLE)
            self.count = rows_with(letters, "code", [code], []).num_rows
        return self.count
