"""Every metric that is exported: its name, kind, unit, labels and meaning.

The exporter, the page of the reference and the tests of dashboard and alerts follow these rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

PREFIX = "affectstream_"
_SUFFIX = MappingProxyType({"s": "_seconds", "By": "_bytes", "1": ""})
"""UCUM unit → how Prometheus writes it at the end of a name."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``unit`` is UCUM's: s, By, or 1 for plain numbers.

    A counter begins at 0 with the process that exports it and never goes back while that lives. A
    gauge that was not observed for a while has the value ``unseen``, or with None is not exported.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    labels: tuple[str, ...] = ()
    unit: Literal["1", "s", "By"] = "1"
    unseen: float | None = None

    @property
    def exported(self) -> str:
        """The name in Prometheus."""
        ending = "_total" if self.kind == "counter" else ""
        return f"{PREFIX}{self.name}{_SUFFIX[self.unit]}{ending}"


STAGE_ROWS = Metric(
    "stage_rows",
    "counter",
    "Rows that a stage received, passed on, and failed on (dead letters and refusals); what is "
    "processed again after a restart counts again",
    ("stage", "outcome"),
)
STAGE_BUSY = Metric("stage_busy", "counter", "Time that a stage worked", ("stage",), "s")
STAGE_BATCHES = Metric(
    "stage_batches", "counter", "Batches that a stage worked on; of a table's, commits", ("stage",)
)
MODEL_FORWARD = Metric(
    "model_forward", "counter", "Time in a recogniser's forward passes", ("stage",), "s"
)
EVENTS_REPEATED = Metric(
    "events_repeated", "counter", "Events that came again unchanged; each counts once in its window"
)
CONSENT_AGE = Metric(
    "consent_age",
    "gauge",
    "Mean age of the consents that the gate judged by, since the observation before",
    unit="s",
)
DEAD_LETTERS = Metric(
    "dead_letters", "counter", "Dead letters that landed, each once", ("stage", "code")
)
REFUSALS = Metric("refusals", "counter", "Refusals that landed, each once", ("code", "article"))
GOVERNANCE_UNREADABLE = Metric(
    "governance_unreadable_records",
    "gauge",
    "Consent and erasure records in dead_letters that name nobody, or a crowd",
)
WATERMARK_DELAY = Metric(
    "watermark_delay",
    "gauge",
    "How far the windows' watermark is behind the clock of event time",
    unit="s",
)
KAFKA_LAG = Metric(
    "kafka_lag_records",
    "gauge",
    "Records of a topic that no checkpoint has as read yet",
    ("topic",),
)
TABLE_VERSION = Metric("table_version", "gauge", "Newest version of a table", ("table",))
TABLE_COMMIT_AGE = Metric(
    "table_commit_age",
    "gauge",
    "Time since the supervisor saw a table's newest version",
    ("table",),
    "s",
)
JOB_RUNNING = Metric(
    "job_running", "gauge", "1 while Flink says that the job runs, else 0", unseen=0
)
JOB_RESTARTS = Metric("job_restarts", "counter", "Starts of the job after the first one")
CHECKPOINT_AGE = Metric(
    "checkpoint_age", "gauge", "Time since the newest complete checkpoint began", unit="s"
)
CHECKPOINT_SIZE = Metric(
    "checkpoint_size", "gauge", "Size of the newest complete checkpoint", unit="By"
)
CHECKPOINT_DURATION = Metric(
    "checkpoint_duration", "gauge", "How long the newest complete checkpoint took", unit="s"
)

REPLIES = Metric(
    "replies",
    "counter",
    "Replies asked of a language model; only those made, or of help, were sent, and else the "
    "template stands",
    ("outcome",),
)
REPLY_HAZARDS = Metric(
    "reply_hazards",
    "counter",
    "What the reply filter found in candidates and in what persons said",
    ("hazard",),
)

API_REQUESTS = Metric(
    "api_requests", "counter", "Requests that the HTTP API answered", ("route", "status")
)
API_BUSY = Metric(
    "api_busy", "counter", "Time from a request to its answer, all together", ("route",), "s"
)

LIVE = (
    STAGE_ROWS,
    STAGE_BUSY,
    STAGE_BATCHES,
    MODEL_FORWARD,
    EVENTS_REPEATED,
    CONSENT_AGE,
    DEAD_LETTERS,
    REFUSALS,
    GOVERNANCE_UNREADABLE,
    WATERMARK_DELAY,
    KAFKA_LAG,
    TABLE_VERSION,
    TABLE_COMMIT_AGE,
    JOB_RUNNING,
    JOB_RESTARTS,
    CHECKPOINT_AGE,
    CHECKPOINT_SIZE,
    CHECKPOINT_DURATION,
    REPLIES,
    REPLY_HAZARDS,
)
"""What the supervisor of a live job exports."""

API = (API_REQUESTS, API_BUSY)
"""What the HTTP API exports."""

METRICS: Mapping[str, Metric] = MappingProxyType(
    {metric.exported: metric for metric in (*LIVE, *API)}
)
"""Name in Prometheus → metric."""
