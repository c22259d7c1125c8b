"""The feed to Kafka: 20 kills while rows land, its rate on a backlog, its delay."""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from deltalake import DeltaTable

from infra.bench.loads import commits_of
from infra.kafka.kafka_server import Broker
from infra.processes import free_ports
from pipelines.config import Config, load_config
from pipelines.serve.feed import start_feeds
from schemas.keys import write_keys
from schemas.settings import Kafka
from tests.support.feed_reader import read_feed
from tests.support.served import BEGIN, decision, land
from transforms.landing.prepare import prepare_tables

NAME = "expression_decisions"
_KILLS = 20
_ROWS = 200
_BACKLOG, _ROWS_AT_ONCE = 100_000, 1_000
_DELAY_S = 30
_YEARS = {"clock_offset_s": (BEGIN - datetime.now(UTC)).total_seconds()}


def measure(folder: Path) -> dict[str, float]:
    """Measure all three, each with a broker and tables of its own."""
    return kills(folder / "kills") | backlog(folder / "backlog") | delay(folder / "delay")


@contextmanager
def _served(folder: Path) -> Iterator[Config]:
    broker = Broker(folder / "broker", *free_ports(2))
    broker.start()
    try:
        write_keys(folder / "keys.yaml")
        prepare_tables(folder / "tables")
        yield load_config(
            None,
            tables=folder / "tables",
            keys=folder / "keys.yaml",
            kafka=Kafka(bootstrap=broker.bootstrap, **_YEARS).model_dump(),
            live={"state": folder / "state"},
            feed={"sinks": ["kafka"]},
        )
    finally:
        broker.process.stop()


def kills(folder: Path) -> dict[str, float]:
    """Kill the command ``feed`` 20 times while rows land and tables are compacted."""
    with _served(folder) as config:
        file = folder / "config.yaml"
        file.write_text(config.model_dump_json(exclude={"log"}), encoding="utf-8")
        command = [sys.executable, "-m", "pipelines.cli.main", "feed", "--config", str(file)]
        landed = _Landing(Path(config.tables))
        chance = random.Random(5)
        for _ in range(_KILLS):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(3, 8))
            process.kill()
            process.wait()
        landed.stop()
        subprocess.run([*command, "--until-end"], check=True, timeout=300)
        committed, raw = (
            [json.loads(record.value) for record in read_feed(config.kafka, isolation)]
            for isolation in ("read_committed", "read_uncommitted")
        )
    ids, seen = Counter(event["id"] for event in committed), Counter(event["id"] for event in raw)
    times: dict[str, str] = {}
    disordered = 0
    for event in committed:
        disordered += event["time"] < times.get(event["subject"], "")
        times[event["subject"]] = event["time"]
    return {
        "feed_kills": _KILLS,
        "feed_decisions": landed.rows,
        "feed_lost": landed.rows - len(ids),
        "feed_duplicated": sum(count - 1 for count in ids.values()),
        "feed_out_of_order": disordered,
        "feed_lost_uncommitted": landed.rows - len(seen),
        "feed_repeated_uncommitted": sum(count - 1 for count in seen.values()),
    }


class _Landing:
    """Lands 200 decisions ten times a second until it is stopped."""

    def __init__(self, root: Path) -> None:
        self._root, self._stopped, self.rows = root, threading.Event(), 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        window = 0
        while not self._stopped.wait(0.1):
            land(self._root, NAME, *(decision(f"s{n}", 10_000 + window) for n in range(_ROWS)))
            window += 1
            self.rows += _ROWS
            if window % 60 == 0:
                DeltaTable(self._root / NAME).optimize.compact()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def backlog(folder: Path) -> dict[str, float]:
    """Time 100,000 decisions in 100 commits that wait."""
    with _served(folder) as config:
        feed = start_feeds(config, start="latest")[0]
        feed.finish()
        feed.join()
        for part in range(_BACKLOG // _ROWS_AT_ONCE):
            rows = (decision(f"s{n}", 10_000 + part) for n in range(_ROWS_AT_ONCE))
            land(Path(config.tables), NAME, *rows)
        began, cpu = time.monotonic(), time.process_time()
        feed = start_feeds(config)[0]
        feed.finish()
        feed.join()
        took, used = time.monotonic() - began, time.process_time() - cpu
        if feed.progress.taken != _BACKLOG:
            message = f"{feed.progress.taken} of {_BACKLOG} were fed: {feed.progress.failed}"
            raise RuntimeError(message)
    return {"feed_events_per_s": _BACKLOG / took, "feed_event_cpu_us": used / _BACKLOG * 1e6}


def delay(folder: Path) -> dict[str, float]:
    """Take the time from a commit's to the record's of each event, at 500 decisions a second."""
    with _served(folder) as config:
        feed = start_feeds(config)[0]
        end, window = time.monotonic() + _DELAY_S, 0
        while time.monotonic() < end:
            rows = (decision(f"s{n}", 10_000 + window) for n in range(_ROWS))
            land(Path(config.tables), NAME, *rows)
            window += 1
            time.sleep(0.4)
        feed.finish()
        feed.join()
        commits = [at for at, _ in commits_of(Path(config.tables), NAME, "WRITE")]
        records = read_feed(config.kafka)
    first = min(json.loads(record.value)["time"] for record in records)
    ends = sorted({json.loads(record.value)["time"] for record in records})
    place = {end: number for number, end in enumerate(ends)}
    if ends[0] != first or len(ends) != len(commits):
        message = f"{len(commits)} commits gave {len(ends)} windows"
        raise RuntimeError(message)
    waits = [r.timestamp / 1000 - commits[place[json.loads(r.value)["time"]]] for r in records]
    return {
        "commit_to_feed_p50_s": float(np.percentile(waits, 50)),
        "commit_to_feed_p99_s": float(np.percentile(waits, 99)),
    }
