"""Keys are rotated while a live job runs: it takes them from the file, and nothing else changes."""

import datetime as dt
import time
from pathlib import Path

import pytest

from pipelines.config import Kafka
from pipelines.kafka.record import record as record_topics
from pipelines.run.replay import replay
from schemas.keys import Keys, read_keys
from tests.servers.test_governance_live import GRANTED, Sender
from tests.support.live_runs import (
    CONSTANT,
    QUIET,
    Running,
    live_config,
    rows_of,
    same,
    table,
    wait_for,
)
from tests.support.records import period, write_key_file
from transforms.pseudonymise import Pseudonyms

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
OLD = period("2020-01-01T00:00:00Z", "old")


def test_a_live_job_goes_on_over_a_rotation(kafka: Kafka, jars: Path, tmp_path: Path) -> None:
    """What it lands is what a replay of the same records lands under the rotated keys."""
    path = write_key_file(tmp_path / "keys.yaml", OLD)
    config = live_config(kafka, jars, tmp_path, path, models=CONSTANT)
    sender, sent = Sender(kafka), 0
    sender.send("consent", GRANTED)
    with Running(config) as running:
        sender.send("text", {"text": "first", "lang": "en"}, subject="alice")
        wait_for(lambda: rows_of(config, "observations") == 1)
        since = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=10)
        write_key_file(tmp_path / "fresh.yaml", OLD, period(since.isoformat(), "new"))
        (tmp_path / "fresh.yaml").replace(path)
        while dt.datetime.now(dt.UTC) < since + dt.timedelta(seconds=10):
            sent += 1
            sender.send("text", {"text": f"number {sent}", "lang": "en"})
            time.sleep(0.5)
        wait_for(lambda: rows_of(config, "observations") == sent + 1)
        running.supervisor.stop()
        running.join(120)
        assert running.supervisor.starts == 1
    sender.close()
    old, new = (
        Pseudonyms(Keys.of([each])).references("alice", ["US"]) for each in read_keys(path).periods
    )
    for row in table(config.tables, "observations").to_pylist():
        assert row["subject_ref"] in (new if row["event_time"] >= since else old)
    record_topics(tmp_path / "log", kafka, console=QUIET)
    again = config.model_copy(update={"log": tmp_path / "log", "tables": str(tmp_path / "again")})
    replay(again, QUIET)
    same(table(again.tables, "observations"), table(config.tables, "observations"))
