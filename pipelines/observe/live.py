"""The metrics of a live job: what its supervisor sees of Flink, Kafka and the tables."""

import math
import time
from collections import Counter
from collections.abc import Mapping

from deltalake import DeltaTable

from pipelines.live.flink_rest import FlinkRest
from pipelines.live.screen import View
from pipelines.observe import catalogue as of
from pipelines.observe.exporter import Exporter
from pipelines.observe.increases import Increases
from pipelines.observe.settings import Observe
from pipelines.observe.stage_metrics import STAGE_METRIC, Name, sum_stage_metrics
from pipelines.replies.counts import HAZARDS, OUTCOMES
from pipelines.tables.changes import CHANGE, ChangesGoneError, read_changes, readable_versions
from pipelines.tables.compaction import CompactedTables
from schemas.errors import AffectstreamError
from schemas.stages import CONSENT_AGE, Stage

EACH_S = 5.0
"""How often Flink is asked for what its tasks count, some 20 requests of 4 ms, and the tables for
what landed."""

_OUTCOMES = {"rows_in": "received", "rows_out": "passed", "refused": "failed"}
_MICROSECONDS = {
    "busy_us": of.STAGE_BUSY,
    "inference_batch_latency_micro_secs_sum": of.STAGE_BUSY,  # RunInference's, of a recogniser
    "forward_us": of.MODEL_FORWARD,
}
_CODED = {
    "dead_letters": (of.DEAD_LETTERS, ("stage", "code")),
    "refusals": (of.REFUSALS, ("code", "article")),
}
"""Table → the metric that counts its rows, and the columns that are its labels."""


class LiveMetrics:
    """Exports each view of a live job; with port 0 it does nothing.

    ``problem`` says why nothing is exported where the address cannot be listened on: a job is worth
    more than its metrics.
    """

    def __init__(self, settings: Observe, tables: CompactedTables) -> None:
        self._off = not settings.port
        self._tables = tables
        self._counted = {name: version for name, (version, _) in tables.refresh().items()}
        self._increases: Increases[Name] = Increases()
        self._replies: dict[tuple[str, str], int] = {}
        self._read_at = -math.inf
        self.problem: str | None = None
        self.exporter = Exporter(of.LIVE)
        self.exporter.add(of.JOB_RESTARTS, 0)
        self.exporter.set(of.JOB_RUNNING, 0)
        if self._off:
            return
        try:
            self.exporter.serve(settings.host, settings.port)
        except AffectstreamError as error:
            self.problem = str(error)

    def close(self) -> None:
        """Stop answering."""
        self.exporter.close()

    def count_restart(self) -> None:
        """Count a start of the job after its first one."""
        self._increases = Increases()
        self.exporter.add(of.JOB_RESTARTS, 1)

    def update(self, view: View, rest: FlinkRest) -> None:
        """Export a view, and every few seconds what stages counted and what landed."""
        if self._off:
            return
        self._export(view)
        now = time.monotonic()
        if now - self._read_at < EACH_S:
            return
        self._read_at = now
        self._count_replies()
        for name in _CODED:
            self._count_landed(name)
        if view.health and (found := rest.task_metrics(STAGE_METRIC)) is not None:
            self._count_stages(sum_stage_metrics(found))

    def _export(self, view: View) -> None:
        put, health = self.exporter.set, view.health
        put(of.JOB_RUNNING, float(health is not None and health.state == "RUNNING"))
        put(of.GOVERNANCE_UNREADABLE, view.unreadable)
        if view.delay_s is not None:
            put(of.WATERMARK_DELAY, view.delay_s)
        if view.read:
            for topic, lag in view.read.lag.items():
                put(of.KAFKA_LAG, lag, topic)
        for table, (version, seconds) in view.tables.items():
            put(of.TABLE_VERSION, version, table)
            put(of.TABLE_COMMIT_AGE, seconds, table)
        if health and health.checkpoints:
            put(of.CHECKPOINT_AGE, (health.now_ms - health.began_ms) / 1000)
            put(of.CHECKPOINT_SIZE, health.checkpoint_bytes)
            put(of.CHECKPOINT_DURATION, health.checkpoint_ms / 1000)

    def _count_replies(self) -> None:
        """Count the replies of a feed in this process."""
        for metric, counts in ((of.REPLIES, OUTCOMES), (of.REPLY_HAZARDS, HAZARDS)):
            for name, value in dict(counts).items():
                counted = self._replies.get((metric.name, name), 0)
                self.exporter.add(metric, value - counted, name)
                self._replies[metric.name, name] = value

    def _count_stages(self, readings: Mapping[Name, int]) -> None:
        grown, add = self._increases.since_last(readings), self.exporter.add
        for (stage, name), more in grown.items():
            if name in _MICROSECONDS:
                add(_MICROSECONDS[name], more / 1e6, stage)
            elif name in _OUTCOMES or name.startswith("dead_"):
                add(of.STAGE_ROWS, more, stage, _OUTCOMES.get(name, "failed"))
            elif name == "batches":
                add(of.STAGE_BATCHES, more, stage)
                add(of.STAGE_ROWS, 0, stage, "failed")  # a series from the start, not from a fault
            elif name == "repeated":
                add(of.EVENTS_REPEATED, more)
        if asked := grown.get((Stage.GATE, f"{CONSENT_AGE}_count")):
            age_ms = grown[Stage.GATE, f"{CONSENT_AGE}_sum"] / asked
            self.exporter.set(of.CONSENT_AGE, age_ms / 1000)

    def _count_landed(self, name: str) -> None:
        """Count by code what landed in a table since the last time, each row once."""
        table, before = self._tables.table(name), self._counted.get(name, -1)
        if table is None or table.version() == before:
            return
        metric, columns = _CODED[name]
        try:
            landed = _landed_since(table, before, columns)
        except AffectstreamError:
            return  # being made, its feed not noted yet: no figure is worth the job
        for labels, rows in landed.items():
            self.exporter.add(metric, rows, *labels)
        self._counted[name] = table.version()


def _landed_since(
    table: DeltaTable, version: int, columns: tuple[str, ...]
) -> Counter[tuple[str, ...]]:
    """Count the rows that came after a version by the values of these columns."""
    try:
        first = max(version + 1, readable_versions(table).first)
        if first > table.version():
            return Counter()
        changes = read_changes(table, first, table.version(), columns)
    except ChangesGoneError:
        return Counter()  # the supervisor slept for longer than files are kept
    rows = zip(*(changes[name].to_pylist() for name in (CHANGE, *columns)), strict=True)
    return Counter(tuple(v or "" for v in values) for change, *values in rows if change == "insert")
