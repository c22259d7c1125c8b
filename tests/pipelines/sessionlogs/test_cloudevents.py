"""What generators and tests write is read by the official SDK as the CloudEvents that it is."""

import base64
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, from_structured_event
from cloudevents.core.exceptions import CloudEventValidationError

from pipelines.sessionlogs.cloudevents import (
    JSON_TYPE,
    STRUCTURED_TYPE,
    Event,
    Subject,
    attributes_of,
    consent,
    encode,
    rfc3339,
)
from pipelines.sessionlogs.sample import write_sample
from schemas.events import KINDS, MEDIA_KINDS
from tests.support.records import attributes, record

SUBJECT = Subject("Zoë 你好", "arena", "game", "zh", "CN")
TIME_MS = 1_788_256_800_123
CONTENT_TYPE = "datacontenttype"
REQUIRED = {"id", "source", "type", "specversion"}
PAYLOADS: dict[str, tuple[bytes, str]] = {
    "text": ('{"text":"你好 \\"friend\\"","lang":"zh"}'.encode(), JSON_TYPE),
    "voice": (b"RIFF\x00\xff\x80WAVE", "audio/wav"),
    "face": (b"\xff\xd8\xff\x00", "image/jpeg"),
    "motion": (b'{"weights":{"jawOpen":0.5}}', JSON_TYPE),
    "context": (b'{"activity":"duel"}', JSON_TYPE),
    "consent": (consent(SUBJECT, "c", TIME_MS, granted=True).payload or b"", JSON_TYPE),
    "erasure": (b'{"reason":"left"}', JSON_TYPE),
}


def parsed(
    headers: Iterable[Mapping[str, Any]], key: bytes | None, value: bytes | None
) -> BaseCloudEvent:
    """Let the SDK read a record in the mode that its content type names."""
    named = {header["key"]: header["value"] for header in headers}
    message = KafkaMessage(headers=named, key=key, value=value or b"")
    if named.get("content-type", b"").decode() == STRUCTURED_TYPE:
        return from_structured_event(message)
    return from_binary_event(message)


def said(event: BaseCloudEvent) -> dict[str, Any]:
    """All attributes but the content type and the key, which the SDK takes for one."""
    found = dict(event.get_attributes())
    return {n: v for n, v in found.items() if n not in ("partitionkey", CONTENT_TYPE)}


def expected(wanted: Mapping[str, str]) -> dict[str, Any]:
    return {**wanted, "time": dt.datetime.fromisoformat(wanted["time"])}


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_generator_encodes(kind: str, structured: bool) -> None:
    payload, content_type = PAYLOADS[kind]
    event = Event(
        kind, "e-1", SUBJECT, TIME_MS, TIME_MS + 20, payload, content_type, structured=structured
    )
    made = encode(event)
    found = parsed(made.headers, made.key, made.value)
    assert said(found) == expected(attributes_of(event))
    assert found.get_time() == dt.datetime.fromisoformat(rfc3339(TIME_MS))
    assert found.get_attributes()["partitionkey"] == SUBJECT.id
    assert found.get_datacontenttype() == content_type
    data = json.loads(payload) if content_type == JSON_TYPE else payload
    assert found.get_data() == data


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_tests_write_by_hand(kind: str, structured: bool) -> None:
    payload, content_type = PAYLOADS[kind]
    given = payload if kind in MEDIA_KINDS else json.loads(payload)
    row = record(kind, 7, given, structured=structured, subject=SUBJECT.id)
    found = parsed(row["headers"], row["key"], row["value"])
    assert said(found) == expected(attributes(kind, 7, subject=SUBJECT.id))
    data = found.get_data()
    if isinstance(data, bytes) and content_type == JSON_TYPE:
        data = json.loads(data)  # in binary mode these records name no content type
    assert data == given


def on_the_wire(row: Mapping[str, Any]) -> tuple[bool, dict[str, str]]:
    """Return whether a record is structured, and the attributes that stand in it."""
    headers = {header["key"]: header["value"].decode() for header in row["headers"]}
    if headers["content-type"] != STRUCTURED_TYPE:
        return False, {n[3:]: value for n, value in headers.items() if n.startswith("ce_")}
    whole = json.loads(row["value"] or b"{}")
    return True, {n: v for n, v in whole.items() if n not in ("data", "data_base64", CONTENT_TYPE)}


def test_every_event_of_the_sample(tmp_path: Path) -> None:
    """Of what the sample plants on purpose some is no CloudEvent, or no JSON, and only that."""
    log = write_sample(tmp_path / "log")
    rows = [row for part in sorted(log.folder.iterdir()) for row in pq.read_table(part).to_pylist()]
    modes: Counter[bool] = Counter()
    for row in rows:
        structured, wanted = on_the_wire(row)
        try:
            found = parsed(row["headers"], row["key"], row["value"])
        except (ValueError, CloudEventValidationError):
            continue
        if not wanted.keys() >= REQUIRED:
            continue
        modes[structured] += 1
        assert said(found) == expected(wanted)
        if structured:
            whole, data = json.loads(row["value"]), found.get_data()
            encoded = whole.get("data_base64")
            assert data == (base64.b64decode(encoded) if encoded else whole["data"])
    assert len(modes) == 2
    assert 0 < len(rows) - modes.total() <= sum(log.planted.values())
