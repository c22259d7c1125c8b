"""Event time in a live job: wrong clocks, late events, idle partitions; nothing vanishes."""

import datetime as dt
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer

from pipelines.config import Kafka
from pipelines.kafka.publish import publish
from tests.support.live_runs import CONSTANT, QUIET, Running, live_config, rows_of, table, wait_for
from tests.support.records import CODECS, HOSTILE, START, raw, record, send_badly

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
TEXT = {"text": "hello", "lang": "en"}
GRANTED = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text", "voice"]}
HOUR = 3600
NEVER = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-18:00")
OBSERVED = 200 + 1 + 1  # steady, late, with an unreadable header


def written(folder: Path, rows: list[dict]) -> Path:
    """Write records as a log."""
    folder.mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), folder / "part-0.parquet")
    return folder


def old_log(scene: str, first: int, step_s: float, folder: Path) -> Path:
    """Write a log of weeks ago: one subject's consent and 50 texts."""
    who = {"subject": f"who-{scene[0]}", "sceneid": scene}
    rows = [record("consent", first, GRANTED, time=START.isoformat(), **who)]
    rows[0]["timestamp"] = START
    for number in range(50):
        moment = START + dt.timedelta(seconds=number * step_s)
        row = record("text", first + number, TEXT, time=moment.isoformat(), **who)
        rows.append(row | {"timestamp": moment})
    return written(folder / scene, rows)


def two_times(row: dict, first: int) -> dict:
    """Put another time before an event's own: nobody knows which is meant."""
    moment = dt.datetime.fromtimestamp(first, dt.UTC).isoformat()
    return row | {"value": f'{{"time":"{moment}",'.encode() + row["value"][1:]}


def hostile(row: dict, headers: list[dict]) -> dict:
    return row | {"headers": row["headers"] + headers}


def test_every_record_ends_in_one_place(
    kafka: Kafka, jars: Path, tmp_path: Path, keys: Path
) -> None:
    now = int(dt.datetime.now(dt.UTC).timestamp())
    begin = (now - 300) // 5 * 5

    def event(kind: str, number: int, at: int, payload: object, **changes: object) -> dict:
        """One record whose producer's clock stamps event and record alike, ``at`` s in."""
        moment = dt.datetime.fromtimestamp(begin + at, dt.UTC)
        made = record(kind, number, payload, time=moment.isoformat(), **changes)
        return made | {"timestamp": moment}

    steady = [event("text", number, number, TEXT) for number in range(200)]
    rows = [
        event("consent", 0, -10, GRANTED),
        event("context", 0, 150, {"scene": "a"}),
        event("context", 1, 20, {"scene": "b"}),  # later than allowed in its own topic
        *steady[:50],
        event("text", 1000, 50 + HOUR, TEXT),  # a producer's clock an hour ahead
        event("text", 1001, 50 + HOUR, TEXT, structured=True),
        *steady[50:100],
        event("text", 2000, 60, TEXT),  # late, within the allowed time
        *steady[100:180],
        event("text", 3000, 61, TEXT),  # later than allowed
        *steady[180:],
        event("text", 4000, 200, TEXT, subject="bob"),  # nobody knows of a consent
        event("text", 5000, 201, TEXT) | {"headers": []},
        event("text", 5001, 201, TEXT) | {"value": None},
        event("text", 5002, 201, TEXT) | {"key": None, "value": None, "headers": []},
        event("text", 5003, 201, b"\x80{", ce="x"),
        event("motion", 6000, 202, TEXT) | {"headers": [{"key": "ce_id", "value": None}]},
        event("voice", 6001, 202, b"", dataref="file:///etc/hostname") | {"value": None},
        event("text", 8000, 203, TEXT) | {"headers": HOSTILE},  # its id is no text
        hostile(event("text", 8001, 203, TEXT), HOSTILE[1:]),  # two ids
        hostile(event("text", 8002, 203, TEXT, structured=True), HOSTILE),
        two_times(event("text", 9000, 62, TEXT, structured=True), begin + 203),
        *[record("text", 9001 + n, TEXT, time=never) for n, never in enumerate(NEVER)],
    ]
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    unreadable = [event("consent", 1, -10, GRANTED), event("text", 7000, 0, TEXT)]
    for row in unreadable:
        send_badly(producer, row)
    producer.close()
    cuts = [number * len(rows) // len(CODECS) for number in range(len(CODECS) + 1)]
    for codec, start, stop in zip(CODECS, cuts, cuts[1:], strict=False):
        part = written(tmp_path / f"part-{codec}", rows[start:stop])
        publish(part, kafka, compression=codec, console=QUIET)
    landing = {"public_scenes": ["fast", "paced", "scene-1"]}
    config = live_config(kafka, jars, tmp_path, keys, models=CONSTANT, landing=landing)
    fast, paced = old_log("fast", 20_000, 3, tmp_path), old_log("paced", 30_000, 0.1, tmp_path)
    with Running(config) as running:
        wait_for(lambda: bool(running.error) or rows_of(config, "observations") == OBSERVED, 600)
        publish(fast, kafka, retime=True, console=QUIET)
        publish(paced, kafka, retime=True, speed=2, console=QUIET)
        running.supervisor.until_end = True
        running.join(300)

    too_late = 50 - retimed(config.tables, "fast")
    assert 0 < too_late < 50, "half of them are older than the allowed lateness"
    assert retimed(config.tables, "paced") == 50
    letters = Counter(table(config.tables, "dead_letters")["code"].to_pylist())
    assert letters == {
        "clock_ahead": 2,
        "late": 2 + too_late,
        "bad_time": len(NEVER),
        "null_value": 2,
        "bad_headers": 6,
        "bad_json": 1,
        "media_place_refused": 1,
    }
    refusals = table(config.tables, "refusals")["code"].to_pylist()
    assert refusals == ["consent_unknown"]
    seen = table(config.tables, "observations")
    assert len(seen) == OBSERVED + 100 - too_late
    ledger = table(config.tables, "consent_ledger")
    assert len(ledger) == 3 * len(GRANTED["modalities"]), "two of four consents say the same"
    passed = 5  # four consents and the first context, which land in the ledger and in a window
    sent = len(rows) + len(unreadable) + 2 * 51
    assert sent == passed + len(seen) + len(refusals) + sum(letters.values())

    features = table(config.tables, "emotion_features").to_pylist()
    counts = {
        int(row["window_start"].timestamp()) - begin: row["n_text"]
        for row in features
        if row["scene_id"] == "scene-1"
    }
    more = {0: 6, 60: 6}
    assert counts == {start: more.get(start, 5) for start in range(0, 200, 5)}


def retimed(tables: str, scene: str) -> int:
    """Return how many of an old log's events are in windows; the others are too late."""
    seen = [row for row in table(tables, "observations").to_pylist() if row["scene_id"] == scene]
    features = table(tables, "emotion_features").to_pylist()
    assert sum(row["n_text"] for row in features if row["scene_id"] == scene) == len(seen)
    return len(seen)
