"""RAW records made by hand or moved in time, for the tests of every stage."""

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from kafka import KafkaProducer

from pipelines.kafka.retime import find_structured, shift_times
from schemas.events import EVENT_TYPES, RAW, TOPIC_OF
from schemas.keys import KeyPeriod, Keys
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.pseudonymise import Pseudonyms

START = dt.datetime(2026, 9, 1, 10, 0, 0, tzinfo=dt.UTC)
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]

HOSTILE = [
    {"key": "ce_id", "value": b"\xff\xfe not utf-8"},
    {"key": "ce_id", "value": b"twice"},
    {"key": "", "value": b""},
    {"key": "ключ\x00\n", "value": bytes(range(256))},
    {"key": "x" * 4000, "value": b"y" * 100_000},
]
"""Headers that no well-behaved producer sends; the first would be the event's id."""


def at(seconds: float) -> str:
    return (START + dt.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def attributes(kind: str, number: int, **changes: Any) -> dict[str, str]:
    base = {
        "specversion": "1.0",
        "id": f"{kind}-{number}",
        "source": "world/test",
        "type": EVENT_TYPES[kind],
        "subject": "alice",
        "time": at(number),
        "sessionid": "session-1",
        "sceneid": "scene-1",
        "scenario": "social",
        "purpose": "avatar_mirroring",
        "region": "US",
        "ageband": "adult",
        "noticeid": "notice-1",
    } | changes
    return {name: value for name, value in base.items() if value is not None}


def record(
    kind: str, number: int, payload: Any, *, structured: bool = False, **changes: Any
) -> dict[str, Any]:
    """One record; ``payload`` is bytes as they are, or anything else as JSON."""
    named = attributes(kind, number, **changes)
    value = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = [{"key": f"ce_{k}", "value": v.encode()} for k, v in named.items()]
    if structured:
        headers = [{"key": "content-type", "value": b"application/cloudevents+json"}]
        data = (
            {"data_base64": base64.b64encode(value).decode()}
            if kind in ("voice", "face")
            else {"data": payload}
        )
        value = json.dumps(named | data).encode()
    return {
        "topic": TOPIC_OF[kind],
        "partition": 0,
        "offset": number,
        "timestamp": START + dt.timedelta(seconds=number),
        "key": named.get("subject", "").encode(),
        "headers": headers,
        "value": value,
    }


class NotText(str):
    """The name of a header that goes out as bytes which are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"x\xff\xfe" + str.encode(self)


def send_badly(producer: KafkaProducer, row: dict[str, Any]) -> None:
    """Send a record with one more header, whose name nobody can read."""
    headers = [(NotText("bad"), b"\xff")] + [(h["key"], h["value"]) for h in row["headers"]]
    sent = producer.send(
        row["topic"],
        key=row["key"],
        value=row["value"],
        headers=headers,
        timestamp_ms=round(row["timestamp"].timestamp() * 1000),
    )
    sent.get(timeout=30)


def raw(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=RAW)


def write_log(folder: Path, *rows: dict[str, Any]) -> Path:
    """Write records as a log, each at an offset of its own, and return its folder."""
    folder.mkdir()
    numbered = [row | {"offset": number} for number, row in enumerate(rows)]
    pq.write_table(pa.Table.from_batches([raw(*numbered)]), folder / "part-0.parquet")
    return folder


def period(since: str, name: str, region: str | None = None) -> KeyPeriod:
    """A key period whose key follows from a name."""
    key = hashlib.sha256(name.encode()).hexdigest()
    return KeyPeriod.model_validate({"since": since, "key": key, "region": region})


KEYS = Keys.of([period("2020-01-01T00:00:00Z", "first")])
PSEUDONYMS, IDS = Pseudonyms(KEYS), EventIds(KEYS)


def write_key_file(path: Path, *periods: KeyPeriod, **members: Any) -> Path:
    """Write these periods as a key file, of old or with more members, with the right mode."""
    listed = [
        {"since": each.since.isoformat(), "key": each.key.hex()}
        | ({"region": each.region} if each.region else {})
        for each in periods
    ]
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(yaml.safe_dump({"periods": listed} | members))
    return path


def decoded(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Records of one kind, which all are good, decoded under a fixed key."""
    (events,) = (out for _, out in decode_batch(raw(*rows), IDS) if out.num_rows)
    return events


def pseudonymous(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Records of one kind, which all are good, decoded and under a fixed key."""
    return PSEUDONYMS.batch(decoded(*rows))


def shift_records(log: pa.RecordBatch, by: dt.timedelta) -> Iterator[dict[str, Any]]:
    """Yield the RAW rows of a log as ``publish --retime`` moves them, with their events' times."""
    for row, structured in zip(log.to_pylist(), find_structured(log).tolist(), strict=True):
        pairs = [(header["key"], header["value"] or b"") for header in row["headers"]]
        moved = shift_times(
            row | {"headers": pairs}, round(by.total_seconds() * 1000), structured=structured
        )
        headers = [{"key": key, "value": value} for key, value in moved["headers"]]
        yield moved | {"headers": headers, "timestamp": row["timestamp"] + by}
