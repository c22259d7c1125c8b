"""Kills a running live job in every way, while a producer goes on, and checks what landed.

``make chaos`` is the long form, the test the short one.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from infra.kafka.kafka_server import Broker
from infra.processes import BUILD
from pipelines.config import Config, load_config
from pipelines.kafka.record import record as record_topics
from pipelines.live.job_process import newest_checkpoint
from pipelines.run.replay import replay
from pipelines.sessionlogs.bench_log import write_bench_log
from tests.faults.aftermath import (
    differing_rows,
    disturbed,
    not_in_broker,
    other_reviews,
    outage,
    unwindowed,
)
from tests.support.live_runs import (
    CONSTANT,
    QUIET,
    Running,
    memory_mb,
    rows_of,
    servers,
    table,
    wait_for,
)
from tests.support.records import START, raw, record

LAST = BUILD / "chaos.json"
"""What the last ``make chaos`` found; the benchmark's page takes it."""

WAYS = ("worker", "jvm", "driver", "broker", "everything")
_RATE = 200
_LONGEST_S = 3600
_BAD_EACH_S = 0.5
_PUBLISH = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from rich.console import Console
from pipelines.config import Kafka
from pipelines.kafka.publish import publish
def send(log):
    kafka = Kafka(bootstrap=sys.argv[1])
    publish(Path(log), kafka, speed=1, retime=True, console=Console(quiet=True))
with ThreadPoolExecutor() as senders:
    list(senders.map(send, sys.argv[2:]))
"""


@dataclass(slots=True)
class Outcome:
    """What the kills did to the tables; seconds are from the kill to the next commit.

    Checkpoints and memory are measured once the job has run for as long as windows take late
    events: until then each checkpoint holds more open windows than the one before.
    """

    kills: int = 0
    events: int = 0
    windows: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong_counts: int = 0
    not_in_broker: int = 0
    features_differ: int = 0
    unwindowed: int = 0
    other_tables_differ: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    decisions: int = 0
    decisions_missing: int = 0
    decisions_differ: int = 0
    decisions_unexplained: int = 0
    reviews: int = 0
    reviews_unexplained: int = 0
    restart_s: dict[str, list[float]] = field(default_factory=dict)
    checkpoint_kb: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)


_WRONG = (
    "lost", "duplicated", "wrong_counts", "not_in_broker", "features_differ", "unwindowed",
    "other_tables_differ", "decisions_unexplained", "reviews_unexplained",
)  # fmt: skip


def wrong(outcome: Outcome) -> dict[str, int]:
    """Return what must be zero after any kills and is not."""
    return {name: count for name in _WRONG if (count := getattr(outcome, name))}


class Chaos:
    """One broker, one producer, one supervised job, and what is done to them."""

    def __init__(self, broker: Broker, config: Config, folder: Path, kills: int) -> None:
        self._random = random.Random(7)
        self._kills = kills
        self._folder = folder
        self.broker = broker
        self.config = config
        self.outcome = Outcome()
        self._began = 0.0
        self._dead: list[tuple[float, float]] = []
        """When the broker was killed, and when it was back."""

    def run(self) -> Outcome:
        """Produce, kill, wait for the end, and compare with a replay of what was produced."""
        producer = self._producer()
        try:
            with Running(self.config) as running:
                wait_for(lambda: self._has_features() or bool(running.error), 300)
                self._began = time.monotonic()
                while self.outcome.kills < self._kills:
                    self._kill(running)
                    if producer.poll() is not None:
                        message = "the producer ended before the kills did"
                        raise RuntimeError(message)
                producer.terminate()
                running.supervisor.until_end = True
                running.join(600)
        finally:
            producer.kill()
            producer.wait()
        self._check()
        return self.outcome

    @property
    def _state(self) -> Path:
        return self.config.live.state.absolute()

    def _producer(self) -> subprocess.Popen:
        """Start a process that publishes a long log at its own pace, in the present."""
        sound = write_bench_log(
            self._folder / "produced", _RATE * _LONGEST_S, subjects=40, rate=_RATE
        ).folder
        bad = self._folder / "bad"
        _write_bad(bad)
        command = [sys.executable, "-c", _PUBLISH, self.broker.bootstrap, str(sound), str(bad)]
        return subprocess.Popen(command)

    def _has_features(self) -> bool:
        """Tell whether windows have landed; a table that was only prepared has commits too."""
        return rows_of(self.config, "emotion_features") > 0

    def _version(self) -> int:
        """Return the version of the feature table, -1 before there is one."""
        log = Path(self.config.tables) / "emotion_features" / "_delta_log"
        return max((int(path.stem) for path in log.glob("*[0-9].json")), default=-1)

    def _kill(self, running: Running) -> None:
        way = WAYS[self.outcome.kills % len(WAYS)]
        if self._random.random() < 0.5:
            time.sleep(self._random.uniform(1, 8))
        else:  # just after a commit, before its checkpoint can be complete
            before = self._version()
            wait_for(lambda: self._version() > before)
        self._measure(running)
        before = self._version()
        self._strike(running, way)
        killed, at = time.monotonic(), time.time()
        if way in ("broker", "everything"):
            time.sleep(1)
            self.broker.start()
            self._dead.append((at, time.time()))
        wait_for(lambda: self._version() > before or bool(running.error), 240)
        if running.error:
            raise running.error
        self.outcome.restart_s.setdefault(way, []).append(time.monotonic() - killed)
        self.outcome.kills += 1

    def _strike(self, running: Running, way: str) -> None:
        job = running.supervisor.job
        if job is None:
            return
        server = job.server_pid()
        victims = {
            "worker": job.worker_pids(),
            "jvm": [server],
            "driver": [job.driver_pid, server],
            "broker": [],
            "everything": [job.driver_pid, server, *job.worker_pids()],
        }[way]
        for pid in victims:
            if pid is not None:
                with suppress(ProcessLookupError):  # a JVM whose driver was killed may be faster
                    os.kill(pid, signal.SIGKILL)
        if way in ("broker", "everything"):
            self.broker.process.stop(signal.SIGKILL)

    def _measure(self, running: Running) -> None:
        windows = self.config.windows
        if time.monotonic() - self._began < windows.lateness_s + 2 * windows.length_s:
            return
        checkpoint = newest_checkpoint(self._state)
        if checkpoint:
            sizes = [path.stat().st_size for path in checkpoint.glob("*") if path.exists()]
            self.outcome.checkpoint_kb.append(sum(sizes) / 1024)
        if running.supervisor.job:
            self.outcome.pss_mb.append(memory_mb())

    def _check(self) -> None:
        """Compare what the broker holds with what was sent, and the tables with its replay."""
        recorded = self._folder / "recorded"
        self.outcome.events = record_topics(recorded, self.config.kafka, console=QUIET)
        held = pq.read_table(recorded)
        for name in ("produced/log", "bad"):
            self.outcome.not_in_broker += not_in_broker(self._folder / name, held)
        expected = load_config(
            None, log=recorded, tables=self._folder / "expected", keys=self.config.keys
        ).model_copy(update={"models": self.config.models})
        replay(expected, QUIET)
        self._compare_features(expected)
        made, wanted = self.config.tables, expected.tables
        self.outcome.features_differ = differing_rows(wanted, made, "emotion_features")
        self.outcome.unwindowed = unwindowed(made)
        for name in ("observations", "refusals", "dead_letters", "consent_ledger"):
            self.outcome.other_tables_differ += differing_rows(wanted, made, name)
            self.outcome.rows[name] = len(table(wanted, name))
        self._compare_decisions(expected)

    def _compare_decisions(self, expected: Config) -> None:
        """Compare what follows from the history, which the checkpoints carry over the kills."""
        outages = [outage(self.config.tables, *dead) for dead in self._dead]
        wanted, made = (table(c.tables, "expression_decisions") for c in (expected, self.config))
        missing, differ, unexplained = disturbed(
            wanted, made, outages, self.config.windows.length_s
        )
        reviews = [table(c.tables, "review_queue") for c in (expected, self.config)]
        found = self.outcome
        found.decisions, found.reviews = len(wanted), len(reviews[0])
        found.decisions_missing, found.decisions_differ = len(missing), len(differ)
        found.decisions_unexplained = len(unexplained)
        found.reviews_unexplained = other_reviews(*reviews, missing | differ)

    def _compare_features(self, expected: Config) -> None:
        columns = ["window_id", "revision", "n_text", "n_motion"]
        wanted, made = (_features(c.tables).select(columns) for c in (expected, self.config))
        found = made.group_by("window_id").aggregate([("revision", "count")])
        self.outcome.duplicated = len(made) - len(found)
        self.outcome.windows = len(wanted)
        joined = wanted.join(made, "window_id", right_suffix="_found", join_type="left outer")
        self.outcome.lost = joined["revision_found"].null_count
        wrong = [pc.not_equal(joined[name], joined[f"{name}_found"]) for name in columns[1:]]
        any_wrong = pc.or_(pc.or_(wrong[0], wrong[1]), wrong[2])
        self.outcome.wrong_counts = pc.sum(any_wrong.cast(pa.int64())).as_py() or 0


def _write_bad(folder: Path) -> None:
    """Write a log of events that end as dead letters or as refusals, one each half second."""
    rows = []
    for number in range(round(_LONGEST_S / _BAD_EACH_S)):
        moment = START + timedelta(seconds=number * _BAD_EACH_S)
        row = record("text", number, {"text": "hi", "lang": "en"}, time=moment.isoformat())
        spoilt = ({"value": b"{"}, {"value": None}, {"headers": []}, {})[number % 4]
        rows.append(row | spoilt | {"timestamp": moment})
    folder.mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), folder / "part-0.parquet")


def _features(root: str) -> pa.Table:
    return DeltaTable(f"{root}/emotion_features").to_pyarrow_table()


def run_chaos(kills: int, folder: Path, models: dict = CONSTANT) -> Outcome:
    """Run it in this folder and end what it started."""
    with servers(folder, models) as (broker, config):
        return Chaos(broker, config, folder, kills).run()


def main() -> str | None:
    """Kill as often as the argument says; return what is wrong, None where nothing is."""
    with tempfile.TemporaryDirectory() as made:
        outcome = run_chaos(int(sys.argv[1]), Path(made))
    found = json.dumps(asdict(outcome), indent=1)
    LAST.write_text(found + "\n", encoding="utf-8")
    print(found)
    return f"wrong: {wrong(outcome)}" if wrong(outcome) else None


if __name__ == "__main__":
    sys.exit(main())
