"""Schemas of the Delta tables: the only place that defines them.

Every field carries ``doc`` metadata with its unit and range. All tables are partitioned by
``event_date``.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import pyarrow as pa

from schemas.arkit import BLENDSHAPES
from schemas.events import EMBEDDING_WIDTH, REFERENCE, TIME
from schemas.modalities import MODALITIES
from schemas.stages import OBSERVATION, with_kind
from schemas.vocabularies import EXPRESSIONS

Root = str | Path
"""Where the tables stand: a folder, or the URI of one in an object store (``s3://bucket/…``)."""

PARTITION: Final = "event_date"

NO_DAY: Final = dt.date(1970, 1, 1)
"""The partition of a row of which no time is known."""

_SCORES = pa.list_(pa.float32(), len(EXPRESSIONS))
_WEIGHTS = pa.list_(pa.float32(), len(BLENDSHAPES))
_IN_ORDER = "ARKit-52 weights, 0-1, in Apple's order"
_ORDER = ", ".join(EXPRESSIONS)


FIRST_VERSION: Final = 1
"""Version of every schema as affectstream 0.1.0 wrote it."""


def _field(
    name: str, kind: pa.DataType, doc: str, since: int = FIRST_VERSION, **more: str
) -> pa.Field:
    """Make a column; one that is added to a table names the schema version that it came with.

    ``more`` may name its ``unit``, its ``range`` where no expectation does, and ``example="never"``
    where the dictionary must not show a value.
    """
    return pa.field(name, kind, metadata={"doc": doc, "since": str(since), **more})


def since(field: pa.Field) -> int:
    """Return the version of the schema that a column came with."""
    return int(field.metadata[b"since"])


_DATE = _field(PARTITION, pa.date32(), "UTC day of the row; the partition")
_SUBJECT = [
    _field("subject_ref", pa.string(), "keyed HMAC of region and subject id, 32 hex digits"),
    _field("session_ref", pa.string(), "keyed HMAC of region and session id, 32 hex digits"),
]
_CONTEXT = [
    _field("scene_id", pa.string(), "scene of the virtual world"),
    _field("scenario", pa.string(), "kind of scene: game, social, learning, support, work"),
    _field("purpose", pa.string(), "purpose of processing that the event names"),
    _field("region", pa.string(), "legal region of the subject"),
    _field("age_band", pa.string(), "child, teen, adult or unknown"),
]
_EXPRESSION = [
    _field("vocabulary", pa.string(), "vocabulary and version of the scores"),
    _field("scores", _SCORES, f"calibrated probabilities of {_ORDER}; sum 1", range="0 to 1"),
    _field("expression", pa.string(), "most probable shown expression; null where abstained"),
    _field("confidence", pa.float32(), "calibrated probability of that expression, 0-1"),
    _field("abstained", pa.bool_(), "true where the confidence is under the model's threshold"),
    _field("valence", pa.float32(), "estimated shown valence, -1 to 1"),
    _field("arousal", pa.float32(), "estimated shown arousal, -1 to 1"),
]

_EVENT_ID = "row id: keyed hash of kind, subject, CloudEvents source and id, and minute"
_CONTENT = _field("content", pa.int64(), "masked checksum: tells a repetition from a reused id")

OBSERVATIONS = pa.schema(
    [
        _field("event_id", pa.string(), _EVENT_ID),
        *_SUBJECT,
        *_CONTEXT,
        _field("event_time", TIME, "event time, UTC"),
        _field("modality", pa.string(), "text, voice, face or motion"),
        *_EXPRESSION,
        _field("quality", pa.string(), "what lowered the confidence: a stable code, or null"),
        _field("embedding", pa.list_(pa.float32(), EMBEDDING_WIDTH), "projected model state"),
        _field("model_id", pa.string(), "name and version of the recogniser"),
        _CONTENT,
        _DATE,
    ]
)

_ATTENTION = f"attention on {', '.join(MODALITIES)}; 0 where missing, sum 1"
_REVISION = "number of distinct events in the window; grows when late"
EMOTION_FEATURES = pa.schema(
    [
        _field(
            "window_id",
            pa.string(),
            "row id: hash of subject, session, purpose, scenario, age band, start and length",
        ),
        *_SUBJECT,
        *_CONTEXT,
        _field("window_start", TIME, "inclusive start of the window, UTC"),
        _field("window_end", TIME, "exclusive end of the window, UTC"),
        _field("revision", pa.int32(), _REVISION, unit="events"),
        *[
            _field(f"n_{m}", pa.int32(), f"{m} events in the window", unit="events")
            for m in MODALITIES
        ],
        *_EXPRESSION,
        _field("attention", pa.list_(pa.float32(), len(MODALITIES)), _ATTENTION, range="0 to 1"),
        _field("activity", pa.string(), "last activity that the scene's context told, or null"),
        _field("game_result", pa.string(), "last game result that the context told, or null"),
        _field("lesson_state", pa.string(), "last lesson state that the context told, or null", 2),
        _field("model_id", pa.string(), "name and version of the fusion model"),
        _DATE,
    ]
)

EXPRESSION_DECISIONS = pa.schema(
    [
        _field("decision_id", pa.string(), "row id: hash of window_id and policy version"),
        _field("window_id", pa.string(), "the feature row that was decided on"),
        *_SUBJECT,
        *_CONTEXT,
        _field("window_end", TIME, "event time of the decision, UTC"),
        _field("expression", pa.string(), "expression held after hysteresis; null where none"),
        _field("confidence", pa.float32(), "smoothed probability of that expression, 0-1"),
        _field("valence_shift", pa.float32(), "valence minus the subject's running baseline"),
        _field("arousal_shift", pa.float32(), "arousal minus the subject's running baseline"),
        _field("action", pa.string(), "what the avatar or service does next"),
        _field("reason", pa.string(), "stable code of the rule that decided"),
        _field("reply_id", pa.string(), "id of a reply template; null where none"),
        _field("intensity", pa.float32(), "strength of the avatar expression, 0-1"),
        _field("avatar_weights", _WEIGHTS, _IN_ORDER, range="0 to 1"),
        _field("policy_version", pa.string(), "scenario policy and version"),
        _field("expires_at", TIME, "after this the decision is stale, UTC"),
        _DATE,
    ]
)

DEAD_LETTERS = pa.schema(
    [
        _field(
            "dead_letter_id",
            pa.string(),
            "row id: hash of reference, event id, stage and code",
        ),
        _field("stage", pa.string(), "stage that could not go on"),
        _field("code", pa.string(), "stable code, see schemas.errors.DeadLetterCode"),
        _field("topic", pa.string(), "topic of the source record"),
        _field("partition", pa.int32(), "partition of the source record"),
        _field("offset", pa.int64(), "offset of the source record"),
        _field("event_id", pa.string(), "keyed id of the event; null where it told none"),
        _field("event_time", TIME, "event time, UTC; null where not decoded"),
        _field("detail", pa.string(), "what is wrong, without any payload"),
        _DATE,
    ]
)

REFUSALS = pa.schema(
    [
        _field("event_id", pa.string(), _EVENT_ID),
        *_SUBJECT,
        *_CONTEXT,
        _field("event_time", TIME, "event time, UTC"),
        _field("modality", pa.string(), "text, voice, face, motion or context"),
        _field("code", pa.string(), "stable code, see schemas.errors.RefusalCode"),
        _field("article", pa.string(), "legal ground of the refusal"),
        _field("policy_version", pa.string(), "policy table and version"),
        _CONTENT,
        _DATE,
    ]
)

_PERSON = "keyed HMAC of the subject id: whom a grant counts for"
_FOLD = "the same in any spelling: whom a withdrawal counts for"
CONSENT_LEDGER = pa.schema(
    [
        _field("ledger_id", pa.string(), "row id: hash of all that the row says of consent"),
        _field("event_id", pa.string(), "the consent or erasure event; null where it had no id"),
        _field("subject_ref", pa.string(), "keyed HMAC of region and subject id"),
        _field("person_ref", pa.string(), _PERSON, example="never"),
        _field("person_fold", pa.string(), _FOLD, example="never"),
        _field("region", pa.string(), "legal region of the subject; null where it was not told"),
        _field("purpose", pa.string(), "purpose; * for every purpose"),
        _field("modality", pa.string(), "modality; * for every modality"),
        _field("action", pa.string(), "granted, withdrawn or erasure_requested"),
        _field("event_time", TIME, "from when it holds, UTC"),
        _field("recorded_at", TIME, "when it was recorded, UTC: the later word holds"),
        _field("notice_id", pa.string(), "notice that the subject saw"),
        _DATE,
    ]
)

_PLACE = REFERENCE[1:]  # without the topic, which marks batches that are not recognised yet


def on_its_way(table: pa.Schema) -> pa.Schema:
    """Return a table of events as its rows come to their writer: with the places of the records.

    They do not land: the same records have other places where a log is published again, and the
    tables would differ.
    """
    return pa.schema([*table, *_PLACE])


OBSERVED = with_kind(on_its_way(OBSERVATIONS), OBSERVATION)
"""OBSERVATIONS rows as they come to their writer and to the windows."""


REVIEW_QUEUE = pa.schema(
    [
        _field("review_id", pa.string(), "row id: hash of decision_id and reason"),
        _field("decision_id", pa.string(), "the decision that a person should look at"),
        _field("window_id", pa.string(), "its feature row"),
        _field("subject_ref", pa.string(), "keyed HMAC of region and subject id"),
        _field("scenario", pa.string(), "kind of scene"),
        _field("reason", pa.string(), "low_confidence or high_stakes"),
        _field("confidence", pa.float32(), "calibrated probability, 0-1"),
        _field("window_end", TIME, "event time of the decision, UTC"),
        _field(
            "reviewer_decision",
            pa.string(),
            "confirmed, unclear, or the expression that the reviewer saw; null until one decided",
        ),
        _field("reviewed_by", pa.string(), "who decided, as they called themselves", 2),
        _field("reviewed_at", TIME, "when they decided, UTC", 2),
        _DATE,
    ]
)

RUNS = pa.schema(
    [
        _field("run_id", pa.string(), "row id: hash of the log's and the config's fingerprints"),
        _field("log", pa.string(), "fingerprint of the recorded log"),
        _field("config", pa.string(), "fingerprint of the configuration"),
        _field("started_at", TIME, "when the run started, UTC"),
        _field("seconds", pa.float64(), "duration of the run", unit="s"),
        _field("records", pa.int64(), "records read", unit="records"),
        _field("stages", pa.string(), "JSON: stage → rows in, rows out, seconds"),
        _field(
            PARTITION, pa.date32(), "UTC day of the log's first record with a time; the partition"
        ),
    ]
)

Owner = Literal["expression", "privacy", "operations"]
"""Who answers for a table: the recommendation and avatar teams' data, the privacy officer's, or
that of whoever runs the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Everything the project knows of one table; whatever treats tables follows these rows.

    ``schema`` begins with the row id. ``time`` is a column that is never null and that the rows of
    a live job hardly ever go back in; ``pruned_by`` the column that lookups of row ids are limited
    by, which is ``time`` unless the table has none. Rows of an ``awaited`` table are committed as
    they come, since somebody waits for them; those of others are collected for some seconds.
    ``subject`` is the column that says whose the rows are, None where they are nobody's.
    ``retention_days`` is how long rows are kept, None where they are the proof of something:
    ``affectstream maintain`` deletes those of earlier days. ``retention_reason`` says why so long.
    """

    name: str
    description: str
    schema: pa.Schema
    owner: Owner
    retention_days: int | None
    retention_reason: str
    time: str | None = None
    pruned_by: str = ""
    awaited: bool = False
    subject: str | None = None

    def __post_init__(self) -> None:
        """Refuse a row that names a column which its schema does not have."""
        named = {self.lookup_column} | ({self.subject} if self.subject else set())
        if unknown := sorted(named - set(self.schema.names)):
            message = f"table {self.name} names {unknown[0]!r}, which its schema does not have"
            raise ValueError(message)

    @property
    def row_id(self) -> str:
        """The column that identifies a row."""
        return str(self.schema.names[0])

    @property
    def version(self) -> int:
        """Version of the schema: that of its newest column."""
        return max(map(since, self.schema))

    @property
    def lookup_column(self) -> str:
        """The column that is never null and by which file statistics prune a lookup."""
        return self.time or self.pruned_by

    @property
    def revised(self) -> bool:
        """Whether a later row may replace one with the same id."""
        return "revision" in self.schema.names

    @property
    def of_events(self) -> bool:
        """Whether each row is one event, whose checksum tells a repetition from a reused id."""
        return "content" in self.schema.names


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            Table(
                name="observations",
                description="what a recogniser estimated from one event",
                schema=OBSERVATIONS,
                owner="expression",
                retention_days=30,
                retention_reason="features are rebuilt from them: GDPR 5(1)(e), BIPA 15(a)",
                time="event_time",
                subject="subject_ref",
            ),
            Table(
                name="emotion_features",
                description="fused estimate of a subject, session and window",
                schema=EMOTION_FEATURES,
                owner="expression",
                retention_days=365,
                retention_reason="a person's usual state and trend: GDPR 5(1)(e), BIPA 15(a)",
                time="window_start",
                awaited=True,
                subject="subject_ref",
            ),
            Table(
                name="expression_decisions",
                description="what follows from a window: action, reply id, avatar weights",
                schema=EXPRESSION_DECISIONS,
                owner="expression",
                retention_days=365,
                retention_reason="decisions can be explained: GDPR 15, 22, AI Act 26(6)",
                time="window_end",
                awaited=True,
                subject="subject_ref",
            ),
            Table(
                name="dead_letters",
                description="what could not be processed: code, cause and source record",
                schema=DEAD_LETTERS,
                owner="operations",
                retention_days=90,
                retention_reason="sources can be repaired: GDPR 5(1)(c), (d)",
                pruned_by="offset",
            ),
            Table(
                name="refusals",
                description="what the gate refused, with the legal ground",
                schema=REFUSALS,
                owner="privacy",
                retention_days=365,
                retention_reason="proof that law and consent were obeyed: GDPR 5(2)",
                time="event_time",
                subject="subject_ref",
            ),
            Table(
                name="consent_ledger",
                description="consents, withdrawals and erasure requests as they were recorded",
                schema=CONSENT_LEDGER,
                owner="privacy",
                retention_days=None,
                retention_reason="consent is proved as long as it counts: GDPR 7(1)",
                time="event_time",
                subject="subject_ref",
            ),
            Table(
                name="review_queue",
                description="decisions that a person should look at",
                schema=REVIEW_QUEUE,
                owner="operations",
                retention_days=365,
                retention_reason="a person looked at a decision: GDPR 22(3), AI Act 14",
                time="window_end",
                awaited=True,
                subject="subject_ref",
            ),
            Table(
                name="runs",
                description="runs over recorded logs: rows and seconds of each stage",
                schema=RUNS,
                owner="operations",
                retention_days=365,
                retention_reason="what ran on what, under which settings: AI Act 12",
                pruned_by="run_id",
            ),
        )
    }
)
"""Name → table, in the order in which they are shown."""
