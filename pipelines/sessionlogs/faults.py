"""Faults that a session log carries on purpose, each with the code that the pipeline must give."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pipelines.sessionlogs.cloudevents import Event, json_bytes


def bad_json(event: Event) -> Event:
    """Cut the payload in the middle of a string."""
    payload = (event.payload or b"")[:12]
    return replace(event, payload=payload, structured=False, planted="bad_json")


def wrong_type(event: Event) -> Event:
    """Put a value of another type where text or a blendshape weight belongs."""
    changes: dict[str, dict[str, Any]] = {
        "text": {"text": 42},
        "motion": {"weights": {"jawOpen": "high"}},
    }
    payload = _change_payload(event, changes)
    return replace(event, payload=payload, structured=False, planted="wrong_type")


def out_of_range(event: Event) -> Event:
    """Put a blendshape weight outside [0, 1]."""
    payload = _change_payload(event, {"motion": {"weights": {"jawOpen": 1.7}}})
    return replace(event, payload=payload, planted="unknown_unit")


def truncated_image(event: Event) -> Event:
    """Keep the first third of the file, header included."""
    payload = event.payload or b""
    return replace(event, payload=payload[: len(payload) // 3], planted="image_undecodable")


def broken_audio(event: Event) -> Event:
    """Keep the first 12 bytes, which tell the format, and fill the rest with a constant."""
    payload = event.payload or b""
    broken = payload[:12] + b"\x55" * (len(payload) - 12)
    return replace(event, payload=broken, planted="audio_undecodable")


def unknown_type(event: Event) -> Event:
    """Give the event a type that no topic carries."""
    return replace(event, attributes={"type": "session.gaze.v1"}, planted="unknown_event_type")


def bad_time(event: Event) -> Event:
    """Give the event a time that is no RFC 3339 time."""
    return replace(event, attributes={"time": "a moment ago"}, planted="bad_time")


def missing_id(event: Event) -> Event:
    """Leave out the attribute without which an event has no identity."""
    return replace(event, attributes={"id": None}, structured=False, planted="bad_headers")


def missing_notice(event: Event) -> Event:
    """Leave out the notice that the subject saw; the gate has to refuse the event."""
    return replace(event, attributes={"noticeid": None}, planted="notice_missing")


def null_value(event: Event) -> Event:
    """Send a tombstone: headers and no value."""
    return replace(event, payload=None, structured=False, planted="null_value")


FAULTS: Mapping[str, tuple[Callable[[Event], Event], ...]] = MappingProxyType(
    {
        "text": (
            bad_json, wrong_type, unknown_type, bad_time, missing_id, missing_notice, null_value,
        ),
        "voice": (broken_audio, missing_notice),
        "face": (truncated_image, missing_notice),
        "motion": (wrong_type, out_of_range, missing_notice),
    }
)  # fmt: skip
"""Kind of event → the faults that can be planted in it."""


def plant(event: Event, fault: Callable[[Event], Event]) -> Event:
    """Return the event with this fault; what can not be recognised shows no expression."""
    return replace(fault(event), expression=None)


def repeat_event(event: Event, delay_ms: int) -> Event:
    """Return the same event as it arrives a second time; it counts once."""
    return replace(
        event, arrival_ms=event.arrival_ms + delay_ms, expression=None, planted="duplicate"
    )


def _change_payload(event: Event, changes: Mapping[str, Mapping[str, Any]]) -> bytes:
    payload = json.loads(event.payload or b"{}")
    for name, value in changes[event.kind].items():
        merged = isinstance(value, dict)
        payload[name] = {**payload.get(name, {}), **value} if merged else value
    return json_bytes(payload)
