import datetime as dt
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from schemas.events import EVENT_TYPES, KINDS, TOPICS, event_schema
from schemas.stages import DEAD, MAIN
from schemas.tables import DEAD_LETTERS
from transforms.validate import ValidateEvents, validate_batch

PAYLOAD: dict[str, dict[str, Any]] = {
    "text": {"text": "see you there", "lang": "en"},
    "voice": {"media": b"RIFF", "media_format": "wav", "media_bytes": 4},
    "face": {"media": b"\x89PNG", "media_format": "png", "media_bytes": 4},
    "motion": {
        "weights": [0.5] * 55,
        "weights_given": 52,
        "weight_min": 0.0,
        "weight_max": 1.0,
        "pose_max": 3.14159265,
    },
    "context": {"scene": "market", "activity": "trading", "game_result": "won"},
    "consent": {
        "granted": True,
        "purposes": ["*"],
        "modalities": ["text"],
        "purposes_given": 1,
        "modalities_given": 1,
    },
    "erasure": {"reason": "account closed"},
}


def events(kind: str, *changes: dict[str, Any]) -> pa.RecordBatch:
    topic = next(topic for topic, its_kind in TOPICS.items() if its_kind == kind)
    rows = [
        {
            "topic": topic,
            "partition": 3,
            "offset": number,
            "event_id": f"{number:032x}",
            "event_type": EVENT_TYPES[kind],
            "event_time": dt.datetime(2026, 9, 1, 10, 0, number, tzinfo=dt.UTC),
            "subject": "alice",
            "session_id": "session-1",
            "scene_id": "scene-1",
            "scenario": "social",
            "purpose": "avatar_mirroring",
            "region": "US-IL",
            "age_band": "adult",
            "notice_id": "notice-1",
            **PAYLOAD[kind],
            **change,
        }
        for number, change in enumerate(changes)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=event_schema(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_good_events_go_on_untouched(kind: str) -> None:
    batch = events(kind, {}, {"notice_id": None, "age_band": None, "purpose": None})
    valid, dead = validate_batch(batch, kind)
    assert valid is batch
    assert dead.num_rows == 0
    assert dead.schema == DEAD_LETTERS


BAD = [
    ("text", {"event_id": None}, "the event's id is missing"),
    ("text", {"event_type": "other.v1"}, "`type` is none of session.text.v1"),
    (
        "text",
        {"event_time": dt.datetime(1970, 1, 1, tzinfo=dt.UTC)},
        "`time` is not 2000-01-01T00:00:00Z to 2100-01-01T00:00:00Z",
    ),
    ("face", {"subject": ""}, "`subject` has not 1 to 256 characters"),
    ("face", {"session_id": None}, "`sessionid` is missing"),
    ("context", {"scenario": None}, "`scenario` is missing"),
    ("text", {"region": ""}, "`region` has not 1 to 16 characters"),
    ("text", {"region": "E U"}, r"`region` does not match ^[A-Za-z0-9][A-Za-z0-9_.-]*\Z"),
    ("text", {"purpose": "games\n"}, r"`purpose` does not match ^[A-Za-z0-9][A-Za-z0-9_.-]*\Z"),
    ("text", {"age_band": "12"}, "`ageband` is none of child, teen, adult, unknown"),
    ("text", {"scene_id": "a\x1fb"}, "`sceneid` holds control characters"),
    ("text", {"text": None}, "`text` is missing"),
    ("text", {"text": "说" * 4001}, "`text` has not 1 to 4000 characters"),
    ("text", {"lang": "English!"}, "`lang` does not match "),
    ("voice", {"media_format": "unknown"}, "the format of the media is none of wav, flac, ogg"),
    ("voice", {"media_format": "png"}, "the format of the media is none of wav, flac, ogg"),
    ("face", {"media_bytes": 1_000_001}, "the size of the media in bytes is not 1 to 1000000"),
    ("motion", {"weights_given": 0}, "the number of shapes in `weights` is not at least 1"),
    ("motion", {"weight_min": -0.1}, "the least of `weights` is not at least 0"),
    ("motion", {"weight_max": 1.1}, "the largest of `weights` is not at most 1"),
    ("motion", {"weight_max": float("nan")}, "the largest of `weights` is missing"),
    ("motion", {"pose_max": 3.2}, "an angle of `head` is not 0 to 3.1416"),
    ("consent", {"region": None}, "`region` is missing"),
    ("consent", {"purposes_given": 0}, "the number of `purposes` is not at least 1"),
    ("erasure", {"subject": None}, "`subject` is missing"),
]


@pytest.mark.parametrize(("kind", "change", "asked"), BAD)
def test_a_failing_row_dies_with_what_its_expectation_asks(
    kind: str, change: dict[str, Any], asked: str
) -> None:
    batch = events(kind, {}, change, {})
    valid, dead = validate_batch(batch, kind)
    assert valid["offset"].to_pylist() == [0, 2]
    assert valid.schema == batch.schema
    (letter,) = dead.to_pylist()
    assert letter["detail"].startswith(asked)
    assert letter["code"] == "expectation_failed"
    assert letter["stage"] == "ValidateEvents"
    assert (letter["partition"], letter["offset"]) == (3, 1)


def test_one_dead_letter_a_row_names_the_first_expectation_that_fails() -> None:
    batch = events(
        "text",
        {"text": "", "subject": None},
        {"text": "", "lang": "?"},
        {"session_id": None, "purpose": "E U", "notice_id": ""},
        {"scenario": None, "session_id": "", "text": None},
    )
    valid, dead = validate_batch(batch, "text")
    assert valid.num_rows == 0
    assert dead["detail"].to_pylist() == [
        "`subject` is missing",
        "`text` has not 1 to 4000 characters",
        "`sessionid` is missing",
        "`sessionid` has not 1 to 256 characters",
    ]


def test_a_session_may_be_missing_only_where_the_subject_governs_their_data() -> None:
    for kind in ("consent", "erasure"):
        _, dead = validate_batch(events(kind, {"session_id": None, "scenario": None}), kind)
        assert dead.num_rows == 0


def test_a_withdrawal_needs_no_more_than_a_subject() -> None:
    bare = {"granted": False, "region": None, "event_type": None, "purposes_given": None}
    batch = events("consent", bare, bare | {"event_id": None, "age_band": "senior"})
    assert validate_batch(batch, "consent")[0] is batch


def test_the_stage_splits_events_and_dead_letters() -> None:
    good = events("text", {})
    mixed = events("motion", {}, {"weight_max": 2.0})
    bad = events("consent", {"region": None})
    with beam.Pipeline(runner=FnApiRunner()) as p:
        outputs = p | beam.Create([good, mixed, bad]) | ValidateEvents()
        counts = outputs[MAIN] | "Count" >> beam.Map(lambda b: (b["topic"][0].as_py(), b.num_rows))
        details = outputs[DEAD] | "Detail" >> beam.FlatMap(lambda b: b["detail"].to_pylist())
        assert_that(counts, equal_to([("session.text", 1), ("session.motion", 1)]), "events")
        expected = [
            "the largest of `weights` is not at most 1",
            "`region` is missing",
        ]
        assert_that(details, equal_to(expected), "dead letters")


@pytest.mark.parametrize("field", ["activity", "game_result", "lesson_state"])
def test_a_context_field_that_lands_has_no_control_characters(field: str) -> None:
    valid, dead = validate_batch(events("context", {field: "won\x1b[31m\n"}, {}), "context")
    assert (valid.num_rows, dead.num_rows) == (1, 1)
