"""Benchmark of the live path: ``make bench-live``.

A broker, a job and a producer on this machine. Writes a dated page and the flat figures.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from infra.bench.loads import SHIPPED, bursts, models_alone, throughput
from infra.bench.soak import latency, longest, thirds
from infra.flink import flink_server
from pipelines.sessionlogs.bench_log import write_bench_log
from pipelines.show.markdown import markdown_table
from tests.faults.chaos import LAST, Outcome, run_chaos
from tests.support.live_runs import CONSTANT

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "benchmarks"
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


def last_chaos() -> Outcome | None:
    """Return what the last ``make chaos`` found, None where there was none."""
    return Outcome(**json.loads(LAST.read_text(encoding="utf-8"))) if LAST.exists() else None


def chaos_figures(outcome: Outcome) -> dict[str, float]:
    """Reduce the outcome of the kills to flat figures; restart times are medians, and the slowest.

    A commit within a second of the kill was on its way before it, and is no restart.
    """
    restart = {
        way: [second for second in times if second > 1] for way, times in outcome.restart_s.items()
    }
    return {
        "restart_worker_s": float(np.median(restart["worker"])),
        "restart_worker_slowest_s": max(restart["worker"]),
        "restart_jvm_s": float(np.median(restart["jvm"])),
        "restart_jvm_slowest_s": max(restart["jvm"]),
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
        **thirds("chaos_pss_mb", outcome.pss_mb),
    }


def page(flat: dict[str, float], measured: dict[str, str], notes: list[str]) -> str:
    """Return the dated page; ``measured`` says of each part when and at which commit it ran."""
    figures = [[name, f"{value:,.2f}", LIMITS.get(name, "")] for name, value in flat.items()]
    load = os.getloadavg()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    parts = [
        f"# Live: Kafka → Flink → Delta, {datetime.now(UTC):%Y-%m-%d}",
        f"`make bench-live` on {machine}; broker, job and producer on the same machine; load "
        f"average at the end {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} (1, 5, 15 minutes).",
        markdown_table(["figure", "measured", "to reach"], figures),
        markdown_table(["part", "measured on, at commit"], measured.items()),
        *notes,
    ]
    return "\n\n".join(parts) + "\n"


def by_hand(page: Path) -> str:
    """Return the sections that a page has so far: only what was written by hand has headings."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    _, heading, sections = text.partition("\n## ")
    return heading + sections


NOTES = [
    "*commit_…*: window closed → row committed, where a window is closed when its end and the "
    "out-of-orderness of 2 s have passed; text and motion, constant recognisers. *events_per_s*: "
    "a log that waits in the broker, from the first to the last commit of observations, constant "
    "recognisers.",
    "*soak_…*, *commit_s_…*, *pss_…*, *checkpoint_…*, *lag_…*, *watermark_…*: of the longest such "
    "run, which a shorter one leaves as they are. *pss_…*: proportional memory of each of the "
    "job's processes but the supervisor (100 MB), apart and together; *per minute* over the run's "
    "second half, by least squares; *rss_…*, before 2026-11-30: resident memory of the JVM and of "
    "the worker alone. "
    "*lag_records*: what no checkpoint holds yet. *watermark_delay*: of the windows, behind the "
    "clock; 2 s of it are the allowed out-of-orderness.",
    "*restart_…*: kill -9 to the next commit of features, which itself comes each 5 s only; "
    "medians, and the slowest, without commits within a second of the kill, which were on their "
    "way; constant recognisers. *chaos_…*: against an embedded replay of what the broker held. A "
    "decision is missing where all events of a window came late, and differs where some did, or "
    "where the history does: the kill test finds such windows only around the broker's deaths, "
    "when the producer held its events back.",
    "*models_…*: the same with the shipped models: text and motion events that wait in the broker, "
    "ten kills, and *alone*, the recognisers on the same events outside of the pipeline; *load* "
    "is all models, once imports are done, as they are in the process that workers are forked "
    "from. *burst_…*: voice chunks of 900 kB with the shipped models, 4 a second, and 40 a second "
    "for half a minute; *drained* is from the last chunk sent to the end of the job.",
    "Parts can be run apart: figures of parts that were not stay, with their date and commit; a "
    "part without them was measured before 2026-11-25.",
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
    kept = ("chaos_lost", "chaos_duplicated", *(n for n in restarts if n.startswith("restart_")))
    return {
        **{f"models_{name}": value for name, value in flat.items()},
        **alone,
        **{f"models_{name}": restarts[name] for name in kept},
    }


def chaos(folder: Path) -> dict[str, float]:
    """Return what the last ``make chaos`` found, or kill a dozen times."""
    return chaos_figures(last_chaos() or run_chaos(12, folder))


def stamp(at: datetime) -> str:
    """Return this moment's date, and the newest commit of it."""
    command = ["git", "rev-list", "-1", "--abbrev-commit", f"--before={at.isoformat()}", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return f"{at:%Y-%m-%d}, {done.stdout.strip() or 'unknown'}"


def store(part: str, found: dict[str, float], flat: dict[str, Any], at: datetime) -> None:
    """Put a part's figures among the others, and when they were measured."""
    measured = flat.setdefault("measured", {})
    measured[part] = stamp(at)
    if part == "latency":
        kept = longest(found, flat)
        if kept == found:
            measured["soak"] = f"{measured[part]}, {found['soak_minutes']:g} minutes"
        else:
            console.print(f"the soak of {flat['soak_minutes']:g} minutes on record stays")
        measured[part] += f", {found['soak_minutes']:g} minutes"
        found = kept
    flat |= found


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
    flat: dict[str, Any] = json.loads(flat_file.read_text(encoding="utf-8"))
    for part in given.parts or measures:
        console.print(part)
        at = datetime.now(UTC)
        if part == "chaos" and LAST.exists():
            at = datetime.fromtimestamp(LAST.stat().st_mtime, UTC)
        with tempfile.TemporaryDirectory() as made:
            found = measures[part](Path(made))
        console.print(json.dumps(found))
        store(part, found, flat, at)
        flat_file.write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")
    figures = {name: value for name, value in flat.items() if name != "measured"}
    written = page(figures, flat["measured"], NOTES)
    today = DOCS / f"{datetime.now(UTC):%Y-%m-%d}-live.md"
    today.write_text(written + by_hand(today), encoding="utf-8")
    console.print(written, markup=False)


if __name__ == "__main__":
    main()
