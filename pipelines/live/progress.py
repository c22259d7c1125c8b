"""How far a live job has come: lag and rate from Kafka, the last commits from the tables."""

import time
from collections import Counter
from dataclasses import dataclass

import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from kafka import KafkaConsumer
from kafka.errors import KafkaError

from pipelines.kafka.clients import partitions_of, reader_settings
from pipelines.live.partitions import Counts
from schemas.errors import DeadLetterCode
from schemas.events import TOPICS
from schemas.settings import Kafka
from schemas.tables import TABLES, Root

_COUNT_EACH_S = 5.0
COMPACT_EACH = 150
"""Commits after which a table is compacted: one costs 12 ms below 100 files, 95 ms at 1,000."""


@dataclass(frozen=True, slots=True)
class Read:
    """Of each topic: partitions, records read, records that wait; and records read a second.

    ``cut``: a topic is missing, or ends before what was read of it.
    """

    partitions: Counts
    read: dict[str, int]
    lag: dict[str, int]
    per_s: float
    cut: bool = False

    @property
    def waits(self) -> bool:
        """Whether records wait; the marker of a transaction at a partition's end looks like one."""
        return any(lag > self.partitions.get(topic, 0) for topic, lag in self.lag.items())


class TopicProgress:
    """The offsets that the job commits with each checkpoint, against the ends of the topics."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._consumer: KafkaConsumer | None = None
        self._last: tuple[float, int] | None = None

    def look(self) -> Read | None:
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
        cut = len(counts) < len(TOPICS) or any((done[tp] or 0) > ends[tp] for tp in partitions)
        return Read(counts, read, lag, self._rate(sum(read.values())), cut)

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
        """Let go of the broker; the next look connects anew, with the password as it is then."""
        if self._consumer:
            self._consumer.close()
        self._consumer = None


@dataclass(slots=True)
class _Followed:
    table: DeltaTable
    version: int
    seen_at: float
    compacted: int


class TableProgress:
    """The tables' versions, and their compaction when they have many small files.

    ``unreadable`` counts the dead letters of governance records that name nobody.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._tables: dict[str, _Followed] = {}
        self._counted: tuple[int, float] = (-1, 0.0)
        self.unreadable = 0

    def look(self) -> dict[str, tuple[int, float]]:
        """Return version and seconds since it was first seen, a table; compact where due."""
        now = time.monotonic()
        for name in TABLES:
            try:
                self._follow(name, now)
            except (DeltaError, OSError):
                continue  # not made yet, or being replaced: the next look will tell
        self._count_unreadable(now)
        return {name: (f.version, now - f.seen_at) for name, f in self._tables.items()}

    def _count_unreadable(self, now: float) -> None:
        """Count anew where there are new dead letters, but at most once in five seconds."""
        letters = self._tables.get("dead_letters")
        version, counted_at = self._counted
        if letters is None or letters.version == version or now - counted_at < _COUNT_EACH_S:
            return
        self._counted = letters.version, now
        code = pc.field("code") == str(DeadLetterCode.GOVERNANCE_UNREADABLE)
        self.unreadable = letters.table.to_pyarrow_dataset().count_rows(filter=code)

    def _follow(self, name: str, now: float) -> None:
        known = self._tables.get(name)
        if known is None:
            table = DeltaTable(f"{self._root}/{name}")
            self._tables[name] = _Followed(table, table.version(), now, table.version())
            return
        known.table.update_incremental()
        if known.table.version() != known.version:
            known.version, known.seen_at = known.table.version(), now
        if known.version - known.compacted >= COMPACT_EACH:
            known.compacted = known.version
            try:
                known.table.optimize.compact()
                known.table.vacuum(dry_run=False)  # what compactions left for more than a week
            except CommitFailedError:
                known.compacted -= COMPACT_EACH // 2  # the writer was faster: soon again
