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
    ("text", {"event_id": None}, "expect_column_values_to_not_be_null(event_id)"),
    ("text", {"event_type": "other.v1"}, "expect_column_values_to_be_in_set(event_type)"),
    (
        "text",
        {"event_time": dt.datetime(1970, 1, 1, tzinfo=dt.UTC)},
        "expect_column_values_to_be_between(event_time)",
    ),
    ("face", {"subject": ""}, "expect_column_value_lengths_to_be_between(subject)"),
    ("face", {"session_id": None}, "expect_column_values_to_not_be_null(session_id)"),
    ("context", {"scenario": None}, "expect_column_values_to_not_be_null(scenario)"),
    ("text", {"region": ""}, "expect_column_value_lengths_to_be_between(region)"),
    ("text", {"region": "E U"}, "expect_column_values_to_match_regex(region)"),
    ("text", {"purpose": "games\n"}, "expect_column_values_to_match_regex(purpose)"),
    ("text", {"age_band": "12"}, "expect_column_values_to_be_in_set(age_band)"),
    ("text", {"scene_id": "a\x1fb"}, "expect_column_values_to_not_match_regex(scene_id)"),
    ("text", {"text": None}, "expect_column_values_to_not_be_null(text)"),
    ("text", {"text": "说" * 4001}, "expect_column_value_lengths_to_be_between(text)"),
    ("text", {"lang": "English!"}, "expect_column_values_to_match_regex(lang)"),
    ("voice", {"media_format": "unknown"}, "expect_column_values_to_be_in_set(media_format)"),
    ("voice", {"media_format": "png"}, "expect_column_values_to_be_in_set(media_format)"),
    ("face", {"media_bytes": 1_000_001}, "expect_column_values_to_be_between(media_bytes)"),
    ("motion", {"weights_given": 0}, "expect_column_values_to_be_between(weights_given)"),
    ("motion", {"weight_min": -0.1}, "expect_column_values_to_be_between(weight_min)"),
    ("motion", {"weight_max": 1.1}, "expect_column_values_to_be_between(weight_max)"),
    ("motion", {"weight_max": float("nan")}, "expect_column_values_to_not_be_null(weight_max)"),
    ("motion", {"pose_max": 3.2}, "expect_column_values_to_be_between(pose_max)"),
    ("consent", {"region": None}, "expect_column_values_to_not_be_null(region)"),
    ("consent", {"purposes_given": 0}, "expect_column_values_to_be_between(purposes_given)"),
    ("erasure", {"subject": None}, "expect_column_values_to_not_be_null(subject)"),
]


@pytest.mark.parametrize(("kind", "change", "name"), BAD)
def test_a_failing_row_dies_with_the_name_of_its_expectation(
    kind: str, change: dict[str, Any], name: str
) -> None:
    batch = events(kind, {}, change, {})
    valid, dead = validate_batch(batch, kind)
    assert valid["offset"].to_pylist() == [0, 2]
    assert valid.schema == batch.schema
    (letter,) = dead.to_pylist()
    assert letter["detail"] == name
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
        "expect_column_values_to_not_be_null(subject)",
        "expect_column_value_lengths_to_be_between(text)",
        "expect_column_values_to_not_be_null(session_id)",
        "expect_column_value_lengths_to_be_between(session_id)",
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
            "expect_column_values_to_be_between(weight_max)",
            "expect_column_values_to_not_be_null(region)",
        ]
        assert_that(details, equal_to(expected), "dead letters")


@pytest.mark.parametrize("field", ["activity", "game_result", "lesson_state"])
def test_a_context_field_that_lands_has_no_control_characters(field: str) -> None:
    valid, dead = validate_batch(events("context", {field: "won\x1b[31m\n"}, {}), "context")
    assert (valid.num_rows, dead.num_rows) == (1, 1)
