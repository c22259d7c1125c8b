"""The events of the feed: what their published schema promises, and what is never sent."""

import json
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event
from jsonschema import Draft202012Validator, FormatChecker

from pipelines.serve.events import (
    COLUMNS,
    MEDIA_TYPE,
    NOTICE,
    SCHEMA,
    Event,
    decision_events,
    erasure_event,
    lasting,
)
from schemas.avatar.vrm import AT_REST, LIP_SYNC_MASK, PRESETS
from schemas.tables import EXPRESSION_DECISIONS
from tests.support.json_schemas import FOLDER
from tests.support.served import BEGIN, LENGTH, VALID, decision, subject

PUBLISHED = json.loads((FOLDER / "feed" / "decision.v1.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(PUBLISHED, format_checker=FormatChecker())


def rows(*given: dict[str, Any]) -> pa.Table:
    schema = pa.schema([EXPRESSION_DECISIONS.field(name) for name in COLUMNS])
    return pa.Table.from_pylist([{n: row.get(n) for n in COLUMNS} for row in given], schema=schema)


def events(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(event.json) for event in decision_events(rows(*given))]


def sdk(event: Event) -> Any:
    """Read an event as the official SDK does from a Kafka message."""
    headers = {"content-type": MEDIA_TYPE.encode()}
    return from_structured_event(KafkaMessage(headers, event.subject_ref.encode(), event.json))


def test_an_event_is_what_its_schema_says_and_what_the_official_sdk_reads() -> None:
    (event,) = decision_events(rows(decision("a", 1, reply_id=None, confidence=0.123456)))
    said = json.loads(event.json)
    assert list(VALIDATOR.iter_errors(said)) == []
    read = sdk(event)
    assert read.get_id() == "d-a-1-recommendation"
    assert read.get_subject() == event.subject_ref == subject("a")
    assert read.get_dataschema() == SCHEMA == PUBLISHED["$id"]
    expiry = (BEGIN + 2 * LENGTH + VALID).isoformat()[:19]
    assert str(read.get_extension("expirytime")).startswith(expiry)
    assert read.get_data()["confidence"] == 0.1235
    assert read.get_data()["notice"] == NOTICE
    assert b": " not in event.json
    assert len(event.json) < 900


def test_what_is_still_held_while_a_window_abstains_is_not_handed_on() -> None:
    (said,) = events(decision("a", 1, expression="joy", reason="abstained"))
    assert said["data"]["expression"] is None
    assert list(VALIDATOR.iter_errors(said)) == []
    for reasons in ("not_opted_in abstained", "usage_reminder abstained"):
        reason = reasons.split()[0]
        (other,) = events(decision("a", 1, expression="joy", reason=reason, reasons=reasons))
        assert (other["data"]["expression"], other["data"]["reason"]) == (None, reason)


def test_an_abstention_is_an_event_without_an_expression() -> None:
    (said,) = events(decision("a", 1, expression=None, confidence=0.2))
    assert said["data"]["expression"] is None
    assert list(VALIDATOR.iter_errors(said)) == []


def test_no_event_has_what_would_let_avatars_or_people_be_rebuilt() -> None:
    (said,) = events(decision("a", 1))
    assert not {"avatar_weights", "scores", "embedding"} & said["data"].keys()


@pytest.mark.parametrize(
    "broken",
    [
        lambda e: e.pop("expirytime"),
        lambda e: e.update(subject="player-7"),
        lambda e: e["data"].pop("notice"),
        lambda e: e["data"].update(confidence=1.5),
        lambda e: e["data"].update(expression="rage"),
        lambda e: e["data"].pop("purpose"),
    ],
)
def test_the_schema_refuses_what_no_event_may_be(broken: Any) -> None:
    (said,) = events(decision("a", 1))
    broken(said)
    assert not VALIDATOR.is_valid(said)


def test_what_has_expired_or_was_made_for_another_purpose_is_left_out() -> None:
    given = rows(decision("a", 0), decision("a", 5), decision("b", 5, purpose="avatar_mirroring"))
    at = BEGIN + LENGTH + VALID
    left = lasting(given, ["recommendation"], at)
    assert left["decision_id"].to_pylist() == ["d-a-5-recommendation"]
    both = lasting(given, ["recommendation", "avatar_mirroring"], at - timedelta(microseconds=1))
    assert both.num_rows == 3


def test_an_erasure_is_an_event_about_a_subject_and_nothing_else() -> None:
    read = sdk(erasure_event(subject("a"), "e1", BEGIN))
    assert (read.get_type(), read.get_subject(), read.get_data()) == (
        "affectstream.erasure.v1",
        subject("a"),
        None,
    )


# The feed promises its readers: what they read stays, of the same type, and takes no new value.

PROMISED = json.loads((FOLDER / "feed" / "promised.json").read_text(encoding="utf-8"))


def fields(schema: dict[str, Any], path: str = "$") -> dict[str, dict[str, Any]]:
    """Every field that a reader may meet: types, values, and whether it is always there."""
    found: dict[str, dict[str, Any]] = {}
    for name, child in schema.get("properties", {}).items():
        types = child.get("type", [])
        found[f"{path}.{name}"] = {
            "always": name in schema.get("required", []),
            "types": sorted([types] if isinstance(types, str) else types),
            "values": child.get("enum", child.get("const")),
        }
        found |= fields(child, f"{path}.{name}")
    return found


def breaks(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    found = [f"{path} is gone" for path in old if path not in new]
    for path in old.keys() & new.keys():
        was, now = old[path], new[path]
        if was["always"] and not now["always"]:
            found.append(f"{path} may be missing")
        if not set(now["types"]) <= set(was["types"]):
            found.append(f"{path} was {was['types']}, is {now['types']}")
        if was["values"] is not None and now["values"] != was["values"]:
            found.append(f"{path} has other values")
    return sorted(found)


def test_the_published_schema_breaks_no_reader() -> None:
    assert breaks(PROMISED, fields(PUBLISHED)) == []
    news = fields(PUBLISHED).keys() - PROMISED.keys()
    assert not news, f"compatible; note it in feed/promised.json: {sorted(news)}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["properties"].pop("expirytime"), ["$.expirytime is gone"]),
        (lambda s: s["required"].remove("subject"), ["$.subject may be missing"]),
        (
            lambda s: s["properties"]["data"]["properties"]["confidence"].update(type="string"),
            ["$.data.confidence was ['number'], is ['string']"],
        ),
        (
            lambda s: s["properties"]["data"]["properties"]["expression"]["enum"].append("pride"),
            ["$.data.expression has other values"],
        ),
        (lambda s: s["properties"].update(mood={"type": "string"}), []),
    ],
)
def test_the_check_tells_what_breaks_a_reader(change: Any, said: list[str]) -> None:
    changed = json.loads(json.dumps(PUBLISHED))
    change(changed)
    assert breaks(PROMISED, fields(changed)) == said


FACE = {
    "avatar_preset": "happy",
    "preset_weights": [0.12345, 0.0, 0.0, 0.0, 0.0, 0.87655],
    "override_mouth": "none",
    "override_blink": "blend",
    "override_look_at": "none",
    "lip_sync_mask": LIP_SYNC_MASK,
    "mouth_share": 0.5,
}


def test_an_event_of_an_avatar_has_its_face_by_name() -> None:
    (said,) = events(decision("a", 1, purpose="avatar_mirroring", **FACE))
    assert list(VALIDATOR.iter_errors(said)) == []
    face = said["data"]["avatar"]
    assert face["preset"] == "happy"
    weights = {"happy": 0.1235, "neutral": 0.8766}
    assert face["weights"] == dict.fromkeys(PRESETS, 0.0) | weights
    rest = {name: face[name] for name in FACE.keys() - {"avatar_preset", "preset_weights"}}
    assert rest == {name: FACE[name] for name in rest}
    (other,) = events(decision("a", 1))
    assert "avatar" not in other["data"]


def test_a_face_that_is_held_while_a_window_abstains_is_not_handed_on_but_one_at_rest_is() -> None:
    """A client holds it by itself; that an avatar was turned off waits for no sure window."""
    (held,) = events(decision("a", 1, reason="abstained", **FACE))
    assert "avatar" not in held["data"]
    rest = FACE | {"avatar_preset": "neutral", "preset_weights": [0.0] * 5 + [1.0]}
    (off,) = events(decision("a", 1, reason="abstained", **rest))
    assert off["data"]["avatar"]["weights"] == AT_REST


@pytest.mark.parametrize(
    "broken",
    [
        lambda face: face.update(preset="smug"),
        lambda face: face["weights"].pop("neutral"),
        lambda face: face["weights"].update(happy=1.5),
        lambda face: face.update(override_blink="sometimes"),
        lambda face: face.update(lip_sync_mask="01"),
        lambda face: face.pop("mouth_share"),
    ],
)
def test_the_schema_refuses_a_face_that_none_can_be(broken: Any) -> None:
    (said,) = events(decision("a", 1, **FACE))
    broken(said["data"]["avatar"])
    assert not VALIDATOR.is_valid(said)
