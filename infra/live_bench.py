"""Benchmark of the live path: ``make bench-live``.

A broker, a job and a producer on this machine. Writes a dated page and the flat figures.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from rich.console import Console

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE / "kafka", HERE / "flink", HERE.parent / "tests"):
    sys.path.insert(0, str(folder))

import flink_server  # noqa: E402
from faults.chaos import LAST, Outcome, run_chaos  # noqa: E402
from live_loads import SHIPPED, bursts, commits_of, models_alone, throughput  # noqa: E402
from live_runs import CONSTANT, QUIET, Running, memory_mb, servers, wait_for  # noqa: E402

from pipelines.config import Config  # noqa: E402
from pipelines.publish import publish  # noqa: E402
from pipelines.sessionlogs.bench_log import write_bench_log  # noqa: E402

DOCS = HERE.parent / "docs" / "benchmarks"
LIMITS = {
    "commit_p50_s": "< 1",
    "commit_p99_s": "< 3",
    "events_per_s": "≥ 5,000",
    "restart_worker_s": "≤ 15",
    "restart_jvm_s": "≤ 30",
    "chaos_lost": "0",
    "chaos_duplicated": "0",
    "chaos_wrong_counts": "0",
    "soak_minutes": "60",
    "soak_lost": "0",
    "soak_duplicated": "0",
    "soak_events_not_in_windows": "0",
    "soak_windows_duplicated": "0",
    "models_chaos_lost": "0",
    "models_chaos_duplicated": "0",
    "burst_lost": "0",
    "burst_duplicated": "0",
}
console = Console(stderr=True)


def latency(folder: Path, rate: int, minutes: float) -> dict[str, float]:
    """Publish in real time at this rate; measure window closed → row committed.

    A window is closed when the clock has passed its end and the allowed out-of-orderness.
    """
    with servers(folder, CONSTANT) as (_, config), Running(config) as running:
        log = write_bench_log(folder / "log", int(rate * minutes * 60), rate=rate).folder
        paced = {"speed": 1.0, "retime": True, "console": QUIET}
        producer = threading.Thread(target=publish, args=(log, config.kafka), kwargs=paced)
        producer.start()
        samples = _sampled(running, producer)
        wait_for(lambda: not producer.is_alive(), 60)
        running.supervisor.until_end = True
        running.join(300)
        delays = _delays(config, warm_s=60)
        counted = landed_once(Path(config.tables), int(rate * minutes * 60))
    return {
        "rate_per_s": rate,
        "soak_minutes": minutes,
        "rows": len(delays),
        "commit_p50_s": float(np.percentile(delays, 50)),
        "commit_p90_s": float(np.percentile(delays, 90)),
        "commit_p99_s": float(np.percentile(delays, 99)),
        **thirds("commit_s", delays),
        **samples,
        **counted,
    }


def landed_once(root: Path, events: int) -> dict[str, float]:
    """Count events that are missing from observations and from windows, and what came twice."""
    seen = DeltaTable(root / "observations").to_pyarrow_dataset().to_table(["event_id"])["event_id"]
    windows = DeltaTable(root / "emotion_features").to_pyarrow_dataset()
    rows = windows.to_table(["window_id", "n_text", "n_motion"])
    distinct = pc.count_distinct(seen).as_py()
    counted = pc.sum(pc.add(rows["n_text"], rows["n_motion"])).as_py()
    return {
        "soak_lost": events - distinct,
        "soak_duplicated": len(seen) - distinct,
        "soak_events_not_in_windows": events - counted,
        "soak_windows_duplicated": len(rows) - pc.count_distinct(rows["window_id"]).as_py(),
    }


def _sampled(running: Running, producer: threading.Thread) -> dict[str, float]:
    """Sample memory and checkpoint size while the producer runs."""
    rss, sizes = [], []
    while producer.is_alive():
        time.sleep(5)
        job = running.supervisor.job
        health = running.supervisor.health()
        if running.error:
            raise running.error
        if job is None or health is None:
            continue
        rss.append(memory_mb(job))
        sizes.append(health.checkpoint_bytes / 1024)
    return thirds("rss_mb", rss) | thirds("checkpoint_kb", sizes)


def thirds(name: str, samples: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Return the medians of the first and the last third: what grows differs."""
    third = max(1, len(samples) // 3)
    return {
        f"{name}_first_third": float(np.median(samples[:third])),
        f"{name}_last_third": float(np.median(samples[-third:])),
    }


def _delays(config: Config, warm_s: float) -> np.ndarray:
    """Return window closed → committed in seconds of each feature row after the warm-up."""
    root = Path(config.tables) / "emotion_features"
    delays: list[float] = []
    start = None
    for at, added in commits_of(Path(config.tables), "emotion_features", "WRITE"):
        start = start or at
        if at > start + warm_s:
            for entry in added:
                file = pq.read_table(root / entry["path"], columns=["window_end"])
                ends = file["window_end"].cast("int64").to_numpy() / 1e6
                delays += list(at - ends - config.kafka.delay_s)
    return np.array(delays)


def last_chaos() -> Outcome | None:
    """Return what the last ``make chaos`` found, None where there was none."""
    return Outcome(**json.loads(LAST.read_text(encoding="utf-8"))) if LAST.exists() else None


def chaos_figures(outcome: Outcome) -> dict[str, float]:
    """Reduce the outcome of the kills to flat figures; restart times are medians.

    A commit within a second of the kill was on its way before it, and is no restart.
    """
    restart = {
        way: float(np.median([second for second in times if second > 1]))
        for way, times in outcome.restart_s.items()
    }
    return {
        "restart_worker_s": restart["worker"],
        "restart_jvm_s": restart["jvm"],
        "chaos_kills": outcome.kills,
        "chaos_events": outcome.events,
        "chaos_windows": outcome.windows,
        "chaos_lost": outcome.lost,
        "chaos_duplicated": outcome.duplicated,
        "chaos_wrong_counts": outcome.wrong_counts,
        "chaos_other_tables_differ": outcome.other_tables_differ,
        **{f"chaos_{name}": rows for name, rows in outcome.rows.items()},
        "chaos_decisions": outcome.decisions,
        "chaos_decisions_missing": outcome.decisions_missing,
        "chaos_decisions_differ": outcome.decisions_differ,
        **thirds("chaos_checkpoint_kb", outcome.checkpoint_kb),
        **thirds("chaos_rss_mb", outcome.rss_mb),
    }


def page(flat: dict[str, float], notes: list[str]) -> str:
    """Return the dated page."""
    rows = [f"| {name} | {value:,.2f} | {LIMITS.get(name, '')} |" for name, value in flat.items()]
    load = os.getloadavg()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(
        [
            f"# Live: Kafka → Flink → Delta, {datetime.now(UTC):%Y-%m-%d}",
            "",
            f"`make bench-live` on {machine}; broker, job and producer on the same machine; load "
            f"average at the end {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} (1, 5, 15 minutes).",
            "",
            "| figure | measured | to reach |",
            "|---|---|---|",
            *rows,
            "",
            "\n\n".join(notes),
            "",
        ]
    )


NOTES = [
    "*commit_…*: window closed → row committed, where a window is closed when its end and the "
    "out-of-orderness of 2 s have passed; text and motion, constant recognisers. *events_per_s*: "
    "a log that waits in the broker, from the first to the last commit of observations, constant "
    "recognisers. *soak_…*, *rss_…*, *checkpoint_…*: of the run that *commit_…* is of; memory is "
    "that of JVM and worker.",
    "*restart_…*: kill -9 to the next commit of features, which itself comes each 5 s only; "
    "medians, without commits within a second of the kill, which were on their way; constant "
    "recognisers. *chaos_…*: against an embedded replay of what the broker held. A decision is "
    "missing where a window came late as a whole, and differs where the history lacks such a "
    "window: in the one run that was looked into, those were the windows around the broker's "
    "deaths, when the producer held its events back.",
    "*models_…*: the same with the shipped models: text and motion events that wait in the broker, "
    "ten kills, and *alone*, the recognisers on the same events outside of the pipeline; *load* "
    "is all models, once imports are done, as they are in the process that workers are forked "
    "from. *burst_…*: voice chunks of 900 kB with the shipped models, 4 a second, and 40 a second "
    "for half a minute; *drained* is from the last chunk sent to the end of the job.",
    "Parts can be run apart: figures of parts that were not stay.",
]


def models(folder: Path, events: int) -> dict[str, float]:
    """Measure the shipped models: alone, on a log that waits, and restarts that load them.

    Alone comes first: what is loaded once in a process stays.
    """
    waiting, killed = folder / "waiting", folder / "killed"
    waiting.mkdir()
    killed.mkdir()
    alone = models_alone(write_bench_log(folder / "log", events).folder)
    flat = throughput(waiting, events, SHIPPED)
    restarts = chaos_figures(run_chaos(10, killed, SHIPPED))
    kept = ("restart_worker_s", "restart_jvm_s", "chaos_lost", "chaos_duplicated")
    return {
        **{f"models_{name}": value for name, value in flat.items()},
        **alone,
        **{f"models_{name}": restarts[name] for name in kept},
    }


def chaos(folder: Path) -> dict[str, float]:
    """Return what the last ``make chaos`` found, or kill a dozen times."""
    return chaos_figures(last_chaos() or run_chaos(12, folder))


def main() -> None:
    """Run the parts and write page and figures; those of parts that are not run stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="all, where none is named")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rate", type=int, default=2_500)
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    measures: dict[str, Callable[[Path], dict[str, float]]] = {
        "throughput": lambda folder: throughput(folder, given.events, CONSTANT),
        "latency": lambda folder: latency(folder, given.rate, given.minutes),
        "models": lambda folder: models(folder, given.events // 10),
        "bursts": bursts,
        "chaos": chaos,
    }
    if unknown := set(given.parts) - set(measures):
        parser.error(f"{sorted(unknown)} are no parts: {', '.join(measures)}")
    flink_server.fetch()
    flat_file = DOCS / "latest" / "live.json"
    flat: dict[str, float] = json.loads(flat_file.read_text(encoding="utf-8"))
    for part in given.parts or measures:
        console.print(part)
        with tempfile.TemporaryDirectory() as made:
            found = measures[part](Path(made))
        console.print(json.dumps(found))
        flat |= found
        flat_file.write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")
    written = page(flat, NOTES)
    (DOCS / f"{datetime.now(UTC):%Y-%m-%d}-live.md").write_text(written, encoding="utf-8")
    console.print(written, markup=False)


if __name__ == "__main__":
    main()
