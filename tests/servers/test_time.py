"""Event time in a live job: wrong clocks, late events, idle partitions; nothing vanishes."""

import datetime as dt
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer
from live_runs import CONSTANT, QUIET, live_config, run_to_end, table
from records import raw, record, send_badly

from pipelines.config import Kafka
from pipelines.publish import publish

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
TEXT = {"text": "hello", "lang": "en"}
GRANTED = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text", "motion"]}
HOUR = 3600


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
        event("text", 5003, 201, b"\xff\xfe", ce="x"),
        event("motion", 6000, 202, TEXT) | {"headers": [{"key": "ce_id", "value": None}]},
    ]
    log = tmp_path / "log"
    log.mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), log / "part-0.parquet")
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    unreadable = [event("consent", 1, -10, GRANTED), event("text", 7000, 0, TEXT)]
    for row in unreadable:
        send_badly(producer, row)
    producer.close()
    publish(log, kafka, console=QUIET)
    config = live_config(kafka, jars, tmp_path, keys, models=CONSTANT)
    run_to_end(config)

    letters = Counter(table(config.tables, "dead_letters")["code"].to_pylist())
    assert letters == {
        "clock_ahead": 2,
        "late": 2,
        "null_value": 2,
        "bad_headers": 2,
        "bad_json": 1,
    }
    refusals = table(config.tables, "refusals")["code"].to_pylist()
    assert refusals == ["consent_unknown"]
    seen = table(config.tables, "observations")
    assert len(seen) == 200 + 1 + 1
    assert len(table(config.tables, "consent_ledger")) == 2 * len(GRANTED["modalities"])
    passed = 3  # two consents and the first context, which land in the ledger and in a window
    assert len(rows) + len(unreadable) == passed + len(seen) + len(refusals) + sum(letters.values())

    features = table(config.tables, "emotion_features").to_pylist()
    counts = {int(row["window_start"].timestamp()) - begin: row["n_text"] for row in features}
    assert counts == {start: 6 if start in (0, 60) else 5 for start in range(0, 200, 5)}
    decided = table(config.tables, "expression_decisions")
    assert len(decided) == len(features)
