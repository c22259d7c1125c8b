"""Schemas of what is in flight: RAW records, EVENT batches by kind, WINDOW batches.

A recorded log is a Parquet folder of exactly the RAW columns. Topics, CloudEvents attributes and
payload fields are contracts; the JSON Schemas beside this module are their published form.
"""

import datetime as dt
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.attributes import ATTRIBUTES, COLUMN_OF
from schemas.modalities import MODALITIES, Columns
from schemas.stages import with_kind
from schemas.vocabularies import EXPRESSIONS

TIME: Final = pa.timestamp("us", tz="UTC")
DAY_US: Final = 86_400_000_000

RAW = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("key", pa.binary()),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
        ("value", pa.binary()),
    ]
)
"""One Kafka record a row, as it was on the wire."""

CONTEXT: Final = "session.context"

GOVERNANCE = ("governance.consent", "governance.erasure")

TOPICS = MappingProxyType(
    {modality.topic: modality.name for modality in MODALITIES.values()}
    | {topic: topic.partition(".")[2] for topic in (CONTEXT, *GOVERNANCE)}
)
"""Input topic → kind of event."""

TOPIC_OF = MappingProxyType({kind: topic for topic, kind in TOPICS.items()})

KINDS = tuple(TOPICS.values())

MEDIA_KINDS = tuple(modality.name for modality in MODALITIES.values() if modality.media)

SESSIONS = tuple(modality.topic for modality in MODALITIES.values())
"""The topics that the watermark waits for."""

CONTEXTS = (CONTEXT,)
"""Topics that the watermark waits for only while records wait in them: they are nearly idle."""

GOVERNANCE_KINDS = tuple(TOPICS[topic] for topic in GOVERNANCE)

AHEAD_S: Final = 60.0
"""An event whose time is further ahead of its record's is dead-lettered: its clock is wrong."""

BEHIND_S: Final = 60.0
"""What is recorded so much later than its event time is judged as of both times: an event by the
law and the consents of both, and a grant holds from its record on. Events of a live job come within
``kafka.delay_s`` and ``windows.lateness_s``, 62 s unless they are set; one that comes later loses
nothing where law and consent were the same all along."""

BEHIND_US: Final = int(BEHIND_S * 1e6)

EVENT_TYPES = MappingProxyType({kind: f"{topic}.v1" for topic, kind in TOPICS.items()})
"""Kind → the CloudEvents ``type`` that its topic carries."""

REFERENCE = [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64())]
"""Where a row came from: every dead letter names it."""

CONTEXT_COLUMNS = [
    (COLUMN_OF[name], pa.string()) for name, each in ATTRIBUTES.items() if each.carried == "window"
]
_EVENT_COLUMNS = [
    (COLUMN_OF[name], pa.string()) for name, each in ATTRIBUTES.items() if each.carried == "event"
]

CODED = pa.dictionary(pa.int32(), pa.string())

PERSON_COLUMNS = [("person_ref", CODED), ("person_fold", CODED)]
"""Coded alike, a code a spelling, since few people stand in a batch."""

SCENE_CLASSES = ("scene_classes", CODED)
"""The protected classes as which the scene's name reads, between spaces; the name itself ends."""

PRIOR_COLUMNS = [("prior_subject_ref", pa.string()), ("prior_session_ref", pa.string())]
"""The references under the key before the event's own, for a week after keys were rotated.

They lead a history on over a rotation, and land with features so that rows can be joined."""

SHARD_COLUMN = ("shard_hash", pa.uint16())
"""Says in which shard a subject is, whatever key period: 16 bits, which name nobody."""

PAYLOADS: Mapping[str, Columns] = MappingProxyType(
    {modality.name: modality.columns for modality in MODALITIES.values()}
    | {
        "context": (
            ("scene", pa.string()),
            ("activity", pa.string()),
            ("game_result", pa.string()),
            ("lesson_state", pa.string()),
            ("details", pa.string()),
        ),
        "consent": (
            ("granted", pa.bool_()),
            ("purposes", pa.list_(pa.string())),
            ("modalities", pa.list_(pa.string())),
            ("purposes_given", pa.int32()),
            ("modalities_given", pa.int32()),
            ("suspends", pa.bool_()),
            ("given_by", pa.string()),
        ),
        "erasure": (("reason", pa.string()),),
    }
)
"""Kind → payload columns of its EVENT batch.

``suspends`` marks a prohibition that only closes the gate, see ``gating.governance``.
``details`` is a JSON object of the context's other fields, see ``decoding.payloads``.
"""


def event_schema(kind: str) -> pa.Schema:
    """Schema of an EVENT batch of this kind as decoded: raw subject and session id still in it.

    ``content`` is a masked checksum of what the event says: its value, and the attributes that a
    recogniser, the gate or a window looks at. ``recorded_at`` is the record's own time, null where
    it has none; of session events it ends at the gate.
    """
    return _schema(kind, [("subject", pa.string()), ("session_id", pa.string())])


def pseudonymous_schema(kind: str) -> pa.Schema:
    """Schema after ``Pseudonymise``: keyed references instead of subject and session id.

    ``person_ref`` and ``person_fold`` say whose consent counts, and end at the gate: a person is
    the same in every region and spelling, and under every key period.
    """
    references = [("subject_ref", pa.string()), ("session_ref", pa.string()), *PRIOR_COLUMNS]
    return _schema(kind, [*references, SHARD_COLUMN, *PERSON_COLUMNS, SCENE_CLASSES])


def _schema(kind: str, who: list[tuple[str, pa.DataType]]) -> pa.Schema:
    columns = [
        *REFERENCE,
        ("event_id", pa.string()),
        ("content", pa.int64()),
        ("event_type", pa.string()),
        ("event_time", TIME),
        ("recorded_at", TIME),
        *who,
        *CONTEXT_COLUMNS,
        *_EVENT_COLUMNS,
        *PAYLOADS[kind],
    ]
    return with_kind(pa.schema(columns), kind)


EMBEDDING_WIDTH: Final = 32

CONTEXT_FIELDS = ("activity", "game_result", "lesson_state")
"""What context events tell that lands with the features."""

CODE: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
"""What a context field must be to reach a rule, or, new with 0.2, a table: no free text."""

FIELD_NAME: Final = r"[a-z][a-z0-9_]{0,31}"
"""The names of the context fields without a column that reach a rule."""

SESSION_COLUMNS = [
    ("subject_ref", pa.string()),
    ("session_ref", pa.string()),
    *PRIOR_COLUMNS,
    *CONTEXT_COLUMNS,
    *((name, pa.string()) for name in CONTEXT_FIELDS),
    ("details", pa.string()),
]

WINDOW_KEY = ("subject_ref", "session_ref", "purpose", "scenario", "age_band")
"""What rows of one window, and of one history, have in common.

Consent, law and the rules of a scenario judge by the last three: rows that differ in one are never
mixed. A null is a value of its own.
"""

HELD = pa.schema(
    [
        ("event_key", pa.uint64()),
        ("session", pa.dictionary(pa.int16(), pa.struct(SESSION_COLUMNS))),
        ("event_time", TIME),
        ("modality", pa.int8()),
        ("content", pa.int32()),
        ("scores", pa.list_(pa.float16(), len(EXPRESSIONS))),
    ]
)
"""What is shuffled to a window and kept there of an observation or context event.

``event_key`` is the first half of the event id; ``session`` says whose the event is and in which
context, coded by batch; ``modality`` is an index into MODALITIES or -1 for a context event, whose
scores are null; ``content`` tells an event that came again from one whose id was reused. Scores
are half floats: an error of 0.0005 at most, the same in every run. A row
is about 50 bytes where it would be 220 with names and floats, and the embedded runner needs some
five times this for each event of a log.
"""

WINDOW = pa.schema(
    [
        ("window_id", pa.string()),
        ("subject_ref", pa.string()),
        ("session_ref", pa.string()),
        *PRIOR_COLUMNS,
        *CONTEXT_COLUMNS,
        ("window_start", TIME),
        ("window_end", TIME),
        ("revision", pa.int32()),
        ("late", pa.bool_()),
        ("counts", pa.list_(pa.int32(), len(MODALITIES))),
        ("modality_scores", pa.list_(pa.float32(), len(MODALITIES) * len(EXPRESSIONS))),
        ("modality_confidence", pa.list_(pa.float32(), len(MODALITIES))),
        *((name, pa.string()) for name in CONTEXT_FIELDS),
        ("details", pa.string()),
        ("shard", pa.int32()),
    ]
)
"""One row a WINDOW_KEY and window before fusion; modalities in the order of MODALITIES.

``modality_scores`` is the confidence-weighted mean of the modality's calibrated score vectors,
zeros where the modality has no event; ``revision`` the number of distinct events in the row,
context events included; CONTEXT_FIELDS are the last that the context told, and so is each field of
``details``.
"""


_ZONE = r"([Zz]|[+-]((0\d|1[0-7]):[0-5]\d|18:00))"
RFC_3339: Final = r"^[1-8]\d{3}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?" + _ZONE + "$"
"""How event times are written that are read; the source in Java takes the same."""


def _ms(year: int) -> int:
    return int(dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)


_FIRST_MS, _END_MS = _ms(1000), _ms(9000)
"""As for event times: no calendar here can count a day back or on from what is outside."""


def record_times(timestamps: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return RAW ``timestamp`` values as TIME, and a mask of those that are no time at all.

    Null, -1 (Kafka's own "none") and 0 (a clock that was never set) mean that there is none. Any
    other value that is not of the years 1000 to 8999 marks its row and is null, too; it would
    overflow as microseconds, or be a partition of a table that nothing can write to again.
    """
    ms = timestamps.cast(pa.int64())
    numbers = pc.fill_null(ms, -1).to_numpy()
    none = (numbers == -1) | (numbers == 0)
    outside = ~none & ((numbers < _FIRST_MS) | (numbers >= _END_MS))
    usable = np.where(none | outside, 0, numbers) * 1000
    return pa.array(usable, pa.int64(), mask=none | outside).cast(TIME), outside
