"""What observability costs: runs with and without it, in turns."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from infra.bench.loads import commits_of
from infra.processes import free_ports
from pipelines.affect import Rows, observe
from pipelines.config import Config, load_config
from pipelines.kafka.publish import publish
from pipelines.run.replay import run_embedded
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.keys import write_keys
from tests.support.live_runs import CONSTANT, QUIET, run_to_end, servers
from transforms.window import WindowSessions

_EMBEDDED_EVENTS, _EMBEDDED_ROUNDS = 200_000, 5
_LIVE_EVENTS, _LIVE_ROUNDS = 100_000, 3


class _Nothing:
    """A counter that does not count."""

    def inc(self, by: int = 1) -> None:
        return

    def update(self, value: int) -> None:
        return


def measure(folder: Path) -> dict[str, float]:
    """Return what a run manages with observability, over what it manages without.

    Embedded it is events by processor time, with and without Beam's counters; live it is events a
    second, with metrics that are scraped and without. ``metrics_p99_ms`` is how long a scrape takes
    beside the job.
    """
    return _embedded(folder / "embedded") | _live(folder / "live")


def _embedded(folder: Path) -> dict[str, float]:
    """Run records to windows with all Beam counters, and with none."""
    folder.mkdir()
    log = write_bench_log(folder / "log", _EMBEDDED_EVENTS).folder
    write_keys(folder / "keys.yaml")
    paths = {"log": log, "tables": folder / "tables", "keys": folder / "keys.yaml"}
    config = load_config(None, **paths, models=CONSTANT)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    _stream(config)  # warms up imports and allocators
    for _ in range(_EMBEDDED_ROUNDS):
        for counted in (True, False):
            with _counters(counted):
                started = time.process_time()  # other programs' load is not in it
                _stream(config)
                seconds[counted].append(time.process_time() - started)
    return {"observe_embedded_ratio": median(seconds[False]) / median(seconds[True])}


def _stream(config: Config) -> None:
    """Run records to windows."""

    def build(p: beam.Pipeline) -> None:
        observe(p, config, Rows()) | WindowSessions(windows=config.windows)

    run_embedded(build)


@contextmanager
def _counters(counted: bool) -> Iterator[None]:
    """Make Beam's counters for the block, or some that do nothing."""
    if counted:
        yield
        return
    nothing = staticmethod(lambda *_: _Nothing())
    with patch.object(Metrics, "counter", nothing), patch.object(Metrics, "distribution", nothing):
        yield


def _live(folder: Path) -> dict[str, float]:
    """Run a job over a log that waits in the broker, with metrics that are scraped, and without."""
    folder.mkdir()
    log = write_bench_log(folder / "log", _LIVE_EVENTS).folder
    rates: dict[bool, list[float]] = {True: [], False: []}
    scrapes: list[float] = []
    with servers(folder, CONSTANT) as (_, config):
        publish(log, config.kafka, console=QUIET)
        for number in range(_LIVE_ROUNDS):
            for observed in (True, False):
                port = free_ports(1)[0] if observed else 0
                with _scraping(port, scrapes):
                    run = _run(config, folder / f"{number}-{port}", port)
                rates[observed].append(run)
    return {
        "observe_live_ratio": median(rates[True]) / median(rates[False]),
        "metrics_p50_ms": float(np.percentile(scrapes, 50)),
        "metrics_p99_ms": float(np.percentile(scrapes, 99)),
    }


def _run(config: Config, folder: Path, port: int) -> float:
    """Run the job with fresh state and tables; return the events landed in a second."""
    changes: dict[str, Any] = {
        "tables": str(folder / "tables"),
        "live": config.live.model_copy(update={"state": folder / "state"}),
        "observe": config.observe.model_copy(update={"port": port}),
    }
    run_to_end(config.model_copy(update=changes), 900)
    commits = [
        (at, sum(json.loads(file["stats"])["numRecords"] for file in added))
        for at, added in commits_of(folder / "tables", "observations", "WRITE", "MERGE")
    ]
    landed = sum(rows for _, rows in commits[1:])  # since the first, before which the job starts
    return landed / (commits[-1][0] - commits[0][0])


@contextmanager
def _scraping(port: int, found: list[float]) -> Iterator[None]:
    """Scrape the metrics each second while the block runs; add the milliseconds of each scrape."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(1.0):
            started = time.perf_counter()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()
            except OSError:
                continue  # not started yet
            found.append((time.perf_counter() - started) * 1e3)

    thread = threading.Thread(target=scrape, daemon=True)
    if port:
        thread.start()
    yield
    ended.set()
    if port:
        thread.join()
