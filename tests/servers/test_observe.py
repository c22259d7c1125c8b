"""The metrics of a real job: right when it runs, never back when it dies, and its log in JSON."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.processes import free_ports
from pipelines.config import Config, Kafka
from pipelines.kafka.publish import publish
from pipelines.observe.catalogue import LIVE
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.logs.events import LogEvent
from tests.support.live_runs import CONSTANT, QUIET, Running, live_config, table, wait_for
from tests.support.records import raw, record

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
EVENTS = 3_000
NEVER = {
    "affectstream_events_repeated_total",
    "affectstream_consent_age_seconds",
    "affectstream_replies_total",
    "affectstream_reply_hazards_total",
}
"""Absent where no event came again, since the gate was last asked, or where no model replies."""


@pytest.fixture
def config(kafka: Kafka, jars: Path, tmp_path: Path, keys: Path) -> Config:
    observe = {"port": free_ports(1)[0], "log": "json"}
    return live_config(kafka, jars, tmp_path, keys, models=CONSTANT, observe=observe)


def scrape(config: Config) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, in their labels' order."""
    url = f"http://127.0.0.1:{config.observe.port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def received(found: dict[tuple[str, ...], float], stage: str) -> float:
    return found.get(("affectstream_stage_rows_total", "received", stage), 0)


def logs(folder: Path) -> tuple[Path, Path]:
    """A log of events, and one of records that are no JSON and of motion without a consent."""
    good = write_bench_log(folder / "good", EVENTS).folder
    bad = folder / "bad"
    bad.mkdir()
    rows = [
        record("text", 1, b'{"text": "wheelbarrow"'),
        record("text", 2, b"["),
        record("motion", 3, {"weights": {"jawOpen": 0.5}}),
    ]
    pq.write_table(pa.Table.from_batches([raw(*rows)]), bad / "part-0.parquet")
    return good, bad


def test_metrics_follow_a_job_over_its_death(config: Config, tmp_path: Path) -> None:
    good, bad = logs(tmp_path)
    records = len(pq.read_table(good)) + 3
    publish(bad, config.kafka, console=QUIET)  # first: after the others they would be late
    publish(good, config.kafka, console=QUIET)
    with Running(config) as running:
        before = await_scrape(config, lambda found: received(found, "DecodeEvents") >= records)
        assert received(before, "DecodeEvents") == records
        landed = ("affectstream_stage_rows_total", "passed", "Land:observations")
        assert before[landed] == len(table(config.tables, "observations")) == EVENTS
        assert before["affectstream_dead_letters_total", "bad_json", "DecodeEvents"] == 2
        assert before["affectstream_stage_rows_total", "failed", "DecodeEvents"] == 2
        refusals = table(config.tables, "refusals")
        assert sum(n for (name, *_), n in before.items() if "refusals" in name) == len(refusals) > 0
        assert before["affectstream_job_running",] == 1
        assert 0 < before["affectstream_checkpoint_age_seconds",] < 60
        assert {name for name, *_ in before} >= {metric.exported for metric in LIVE} - NEVER
        os.kill(running.supervisor.job.server_pid(), signal.SIGKILL)
        after = await_scrape(
            config,
            lambda found: (
                found["affectstream_job_restarts_total",] == 1
                and found["affectstream_job_running",] == 1
            ),
        )
        publish(bad, config.kafka, console=QUIET)
        later = await_scrape(
            config, lambda found: received(found, "DecodeEvents") > received(before, "DecodeEvents")
        )
    for first, second in ((before, after), (after, later)):
        counters = {name: n for name, n in first.items() if name[0].endswith("_total")}
        assert all(second[name] >= n for name, n in counters.items())
    assert later["affectstream_dead_letters_total", "bad_json", "DecodeEvents"] <= 4
    check_log(config.live.state / "worker.log")


def await_scrape(config: Config, seen: Callable[[dict], bool]) -> dict[tuple[str, ...], float]:
    """Scrape until that is seen, and once more, so that all of one observation is there."""
    found: list[dict] = [{}]

    def look() -> bool:
        try:
            found[0] = scrape(config)
        except OSError:
            return False
        return bool(seen(found[0]))

    wait_for(look, 120)
    time.sleep(6)
    return scrape(config)


def check_log(path: Path) -> None:
    """What is logged is JSON with a documented event, and the file says nothing of who sent what.

    What Beam prints when its runner dies goes past the log, as plain text.
    """
    text = path.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert len(lines) > 5
    assert "alice" not in text
    assert "wheelbarrow" not in text
    assert {line["event"] for line in lines} <= {str(event) for event in LogEvent}
    assert all(line["time"] and line["level"] and line["pid"] for line in lines)
