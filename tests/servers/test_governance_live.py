"""Consent in a live job: prohibitions of every spelling, records that name nobody, reused ids."""

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from pipelines.config import Kafka
from tests.support.live_runs import CONSTANT, Running, live_config, rows_of, table, wait_for
from tests.support.records import record

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
GRANTED = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
SPELT: dict[str, dict[str, Any]] = {
    "ann": {"kind": "consent", "payload": GRANTED | {"granted": "false"}, "region": "us-ca"},
    "bea": {"kind": "consent", "payload": GRANTED | {"granted": False}, "subject": "BEA "},
    "cem": {"kind": "erasure", "payload": b"", "id": None, "region": None},
    "dan": {"kind": "erasure", "payload": {"reason": "x" * 1001}, "ahead_s": 3600},
}
FREE = ["eve", "fox"]


class Sender:
    """Sends events that happen as they are sent."""

    def __init__(self, kafka: Kafka) -> None:
        self._producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
        self._number = 0

    def send(self, kind: str, payload: Any, *, ahead_s: float = 0, **changes: Any) -> None:
        self._number += 1
        now = dt.datetime.now(dt.UTC)
        moment = (now + dt.timedelta(seconds=ahead_s)).isoformat()
        self.put(record(kind, self._number, payload, **{"time": moment} | changes))

    def put(self, row: dict[str, Any]) -> None:
        headers = [(header["key"], header["value"]) for header in row["headers"]]
        topic, key, value = (row[name] for name in ("topic", "key", "value"))
        self._producer.send(topic, key=key, value=value, headers=headers).get(timeout=30)

    def texts(self, said: str) -> None:
        for who in (*SPELT, *FREE):
            self.send("text", {"text": said, "lang": "en"}, subject=who)

    def close(self) -> None:
        self._producer.close()


def test_prohibitions_close_the_gate_of_a_running_job(
    kafka: Kafka, jars: Path, tmp_path: Path, keys: Path
) -> None:
    config = live_config(kafka, jars, tmp_path, keys, models=CONSTANT)
    people = len(SPELT) + len(FREE)
    sender = Sender(kafka)
    for who in (*SPELT, *FREE):
        sender.send("consent", GRANTED, subject=who)
    with Running(config) as running:
        sender.texts("before")
        wait_for(lambda: bool(running.error) or rows_of(config, "observations") == people, 120)
        for who, said in SPELT.items():
            sender.send(**{"subject": who} | said)
        sender.put(record("erasure", 0, None) | {"value": None, "headers": [], "key": b"fox"})
        sender.put(record("erasure", 0, {}) | {"headers": [], "key": None})
        time.sleep(2)  # a withdrawal closes the gate within a second
        sender.texts("after")
        now = dt.datetime.now(dt.UTC).isoformat()
        for said in ("once", "once", "twice"):
            sender.send("text", {"text": said}, subject="eve", id="same", time=now)
        letters = {"governance_unreadable", "id_reused"}
        wait_for(lambda: bool(running.error) or rows_of(config, "dead_letters") == 2, 60)
        wait_for(
            lambda: bool((view := running.supervisor.view) and view.unreadable and view.repeated),
            60,
        )
        view = running.supervisor.view
        assert view is not None
        assert (view.unreadable, view.repeated) == (1, 1)
        running.supervisor.until_end = True
        running.join(120)
    with Running(config) as running:  # anew: each worker reads all consents before its first event
        sender.texts("after a restart")
        wait_for(lambda: bool(running.error) or rows_of(config, "observations") == people + 3, 120)
        running.supervisor.until_end = True
        running.join(120)
    sender.close()

    assert set(table(config.tables, "dead_letters")["code"].to_pylist()) == letters
    refused = table(config.tables, "refusals")["code"].to_pylist()
    assert refused == ["consent_withdrawn"] * 2 * (len(SPELT) + 1)
    assert len(table(config.tables, "observations")) == people + 3
    said = table(config.tables, "consent_ledger")["action"].to_pylist()
    assert sorted(said) == ["erasure_requested"] * 3 + ["granted"] * people + ["withdrawn"] * 2
    counted = table(config.tables, "emotion_features")["n_text"].to_pylist()
    assert sum(counted) == people + 3
