"""Schemas of the Delta tables: the only place that defines them.

Every field carries ``doc`` metadata with its unit and range. All tables are partitioned by
``event_date``.
"""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from schemas.avatar.columns import AVATAR_COLUMNS
from schemas.decisions.columns import BASELINE_COLUMNS, RULE_COLUMNS
from schemas.events import EMBEDDING_WIDTH, PRIOR_COLUMNS, REFERENCE, SHARD_COLUMN, TIME
from schemas.modalities import MODALITIES
from schemas.stages import OBSERVATION, with_kind
from schemas.table import PARTITION, Table, column
from schemas.vocabularies import EXPRESSIONS

_SCORES = pa.list_(pa.float32(), len(EXPRESSIONS))
_ORDER = ", ".join(EXPRESSIONS)

_DATE = column(PARTITION, pa.date32(), "UTC day of the row; the partition")
_SUBJECT = [
    column("subject_ref", pa.string(), "keyed HMAC of region and subject id, 32 hex digits"),
    column("session_ref", pa.string(), "keyed HMAC of region and session id, 32 hex digits"),
]
_PRIOR_SUBJECT = "the subject's reference under the key before, in the week after a rotation"
_PRIOR_SESSION = "the session's reference under the key before, likewise"
_CONTEXT = [
    column("scene_id", pa.string(), "public name of the scene, or a keyed pseudonym of it"),
    column("scenario", pa.string(), "kind of scene, such as game, social, learning, support, work"),
    column("purpose", pa.string(), "purpose of processing that the event names"),
    column("region", pa.string(), "legal region of the subject"),
    column("age_band", pa.string(), "child, teen, adult or unknown"),
]
_EXPRESSION = [
    column("vocabulary", pa.string(), "vocabulary and version of the scores"),
    column(
        "scores",
        _SCORES,
        f"calibrated probabilities of {_ORDER}, in coarse steps; sum 1",
        range="0 to 1",
    ),
    column("expression", pa.string(), "most probable shown expression; null where abstained"),
    column("confidence", pa.float32(), "calibrated probability of that expression, 0-1"),
    column(
        "abstained", pa.bool_(), "true where the exact confidence was under the model's threshold"
    ),
    column("valence", pa.float32(), "estimated shown valence, -1 to 1"),
    column("arousal", pa.float32(), "estimated shown arousal, -1 to 1"),
]

_EVENT_ID = "row id: keyed hash of kind, subject, CloudEvents source and id, and minute"
_CONTENT = column("content", pa.int64(), "masked checksum: tells a repetition from a reused id")

OBSERVATIONS = pa.schema(
    [
        column("event_id", pa.string(), _EVENT_ID),
        *_SUBJECT,
        *_CONTEXT,
        column("event_time", TIME, "event time, UTC"),
        column("modality", pa.string(), "text, voice, face or motion"),
        *_EXPRESSION,
        column("quality", pa.string(), "what lowered the confidence: a stable code, or null"),
        column(
            "embedding",
            pa.list_(pa.float32(), EMBEDDING_WIDTH),
            "projected model state; null but for the purposes of `landing.embeddings_for`",
        ),
        column("model_id", pa.string(), "name and version of the recogniser"),
        _CONTENT,
        _DATE,
    ]
)

_ATTENTION = f"attention on {', '.join(MODALITIES)}; 0 where missing, sum 1"
_REVISION = "number of distinct events in the window; grows when late"
EMOTION_FEATURES = pa.schema(
    [
        column(
            "window_id",
            pa.string(),
            "row id: hash of subject, session, purpose, scenario, age band, start and length",
        ),
        *_SUBJECT,
        *_CONTEXT,
        column("window_start", TIME, "inclusive start of the window, UTC"),
        column("window_end", TIME, "exclusive end of the window, UTC"),
        column("revision", pa.int32(), _REVISION, unit="events"),
        *[
            column(f"n_{m}", pa.int32(), f"{m} events in the window", unit="events")
            for m in MODALITIES
        ],
        *_EXPRESSION,
        column("attention", pa.list_(pa.float32(), len(MODALITIES)), _ATTENTION, range="0 to 1"),
        column("activity", pa.string(), "code of the last activity that context told"),
        column(
            "game_result",
            pa.string(),
            "code of the last game result that context told",
        ),
        column(
            "lesson_state",
            pa.string(),
            "code of the last lesson state that context told",
            2,
        ),
        column("model_id", pa.string(), "name and version of the fusion model"),
        column("prior_subject_ref", pa.string(), _PRIOR_SUBJECT, 3),
        column("prior_session_ref", pa.string(), _PRIOR_SESSION, 3),
        _DATE,
    ]
)

EXPRESSION_DECISIONS = pa.schema(
    [
        column("decision_id", pa.string(), "row id: hash of window_id and policy version"),
        column("window_id", pa.string(), "the feature row that was decided on"),
        *_SUBJECT,
        *_CONTEXT,
        column("window_end", TIME, "event time of the decision, UTC"),
        column("expression", pa.string(), "expression held after hysteresis; null where none"),
        column("confidence", pa.float32(), "smoothed probability of that expression, 0-1"),
        column("valence_shift", pa.float32(), "valence minus the subject's running baseline"),
        column("arousal_shift", pa.float32(), "arousal minus the subject's running baseline"),
        column("action", pa.string(), "what the avatar or service does next"),
        column("reason", pa.string(), "stable code of the rule that decided"),
        column("reply_id", pa.string(), "id of a reply template; null where none"),
        column("intensity", pa.float32(), "strength of the avatar expression, 0-1"),
        *AVATAR_COLUMNS,
        column("policy_version", pa.string(), "scenario policy and version"),
        column("expires_at", TIME, "after this the decision is stale, UTC"),
        column("prior_subject_ref", pa.string(), _PRIOR_SUBJECT, 2),
        *RULE_COLUMNS,
        *BASELINE_COLUMNS,
        _DATE,
    ]
)

DEAD_LETTERS = pa.schema(
    [
        column(
            "dead_letter_id",
            pa.string(),
            "row id: hash of reference, event id, stage and code",
        ),
        column("stage", pa.string(), "stage that could not go on"),
        column("code", pa.string(), "stable code, see schemas.errors.DeadLetterCode"),
        column("topic", pa.string(), "topic of the source record; keyed where nobody knows it"),
        column("partition", pa.int32(), "partition of the source record"),
        column("offset", pa.int64(), "offset of the source record"),
        column("event_id", pa.string(), "keyed id of the event; null where it told none"),
        column("event_time", TIME, "event time, UTC; null where not decoded"),
        column("detail", pa.string(), "what is wrong, without any payload"),
        _DATE,
    ]
)

REFUSALS = pa.schema(
    [
        column("event_id", pa.string(), _EVENT_ID),
        *_SUBJECT,
        *_CONTEXT,
        column("event_time", TIME, "event time, UTC"),
        column("modality", pa.string(), "text, voice, face, motion or context"),
        column("code", pa.string(), "stable code, see schemas.errors.RefusalCode"),
        column("article", pa.string(), "legal ground of the refusal"),
        column("policy_version", pa.string(), "policy table and version"),
        _CONTENT,
        _DATE,
    ]
)

_PERSON = "keyed HMAC of the subject id: whom a grant counts for"
_FOLD = "the same in any spelling: whom a withdrawal counts for"
CONSENT_LEDGER = pa.schema(
    [
        column("ledger_id", pa.string(), "row id: hash of all that the row says of consent"),
        column("event_id", pa.string(), "the consent or erasure event; null where it had no id"),
        column("subject_ref", pa.string(), "keyed HMAC of region and subject id"),
        column("person_ref", pa.string(), _PERSON, example="never"),
        column("person_fold", pa.string(), _FOLD, example="never"),
        column("region", pa.string(), "legal region of the subject; null where it was not told"),
        column("purpose", pa.string(), "purpose; * for every purpose"),
        column("modality", pa.string(), "modality; * for every modality"),
        column("action", pa.string(), "granted, withdrawn, suspended or erasure_requested"),
        column("event_time", TIME, "from when it holds, UTC"),
        column("recorded_at", TIME, "when it was recorded, UTC: the later word holds"),
        column("notice_id", pa.string(), "notice that the subject saw: its code, or keyed"),
        column("age_band", pa.string(), "the person's as the record told it; null where not", 2),
        column("given_by", pa.string(), "self or guardian, of a grant; null where not told", 2),
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


OBSERVED = with_kind(
    pa.schema([*on_its_way(OBSERVATIONS), *PRIOR_COLUMNS, SHARD_COLUMN]), OBSERVATION
)
"""OBSERVATIONS rows as they come to their writer and to the windows."""


REVIEW_QUEUE = pa.schema(
    [
        column("review_id", pa.string(), "row id: hash of decision_id and reason"),
        column("decision_id", pa.string(), "the decision that a person should look at"),
        column("window_id", pa.string(), "its feature row"),
        column("subject_ref", pa.string(), "keyed HMAC of region and subject id"),
        column("scenario", pa.string(), "kind of scene"),
        column("reason", pa.string(), "low_confidence, high_stakes or disagreement"),
        column("confidence", pa.float32(), "the decision's: smoothed probability, 0-1"),
        column("window_end", TIME, "event time of the decision, UTC"),
        column(
            "reviewer_decision",
            pa.string(),
            "confirmed, unclear, or the expression that the reviewer saw; null until one decided",
        ),
        column("reviewed_by", pa.string(), "who decided, as they called themselves", 2),
        column("reviewed_at", TIME, "when they decided, UTC", 2),
        column(
            "reviewed_expression",
            pa.string(),
            "the expression that they say was shown; if they confirmed, that of the window then; "
            "null where nobody can tell, or the window named none",
            3,
        ),
        _DATE,
    ]
)

RUNS = pa.schema(
    [
        column("run_id", pa.string(), "row id: hash of the log's and the config's fingerprints"),
        column("log", pa.string(), "fingerprint of the recorded log"),
        column("config", pa.string(), "fingerprint of the configuration"),
        column("started_at", TIME, "when the run started, UTC"),
        column("seconds", pa.float64(), "duration of the run", unit="s"),
        column("records", pa.int64(), "records read", unit="records"),
        column("stages", pa.string(), "JSON: stage → rows in, rows out, seconds"),
        column(
            PARTITION, pa.date32(), "UTC day of the log's first record with a time; the partition"
        ),
    ]
)

ERASURES = pa.schema(
    [
        column("erasure_id", pa.string(), "row id: chosen by chance, so that it tells nothing"),
        column("tombstone", pa.string(), "keyed hash of the person, under a key of its own"),
        column("erased_until", TIME, "what was recorded of the person until then is gone, UTC"),
        column("requested_at", TIME, "when it was asked for, UTC"),
        column("completed_at", TIME, "when nothing was left, UTC; null where it is under way"),
        column("rows_deleted", pa.int64(), "rows deleted from all tables", unit="rows"),
        column("files_deleted", pa.int64(), "files deleted for all of this run", unit="files"),
        column("tables", pa.string(), "JSON: table → rows deleted"),
        column("versions", pa.string(), "JSON: table → version from which on it has none of them"),
        column(
            "places", pa.string(), "JSON: folders and stores that were searched, and nothing found"
        ),
        _DATE,
    ]
)

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
            Table(
                name="erasures",
                description="who was erased, by a hash that no other table has; when, and where",
                schema=ERASURES,
                owner="privacy",
                retention_days=None,
                retention_reason="an erasure is proved and holds: GDPR 5(2), 17",
                time="requested_at",
            ),
        )
    }
)
"""Name → table, in the order in which they are shown."""
