"""How long a live job takes to start and to end, and its memory: ``python -m infra.bench.start``.

Runs the command as a user does, ``affectstream live --until-end``, on a log that waits in a broker,
and watches it from outside.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil

from infra.bench.loads import commits_of
from pipelines.config import Config
from pipelines.kafka.publish import publish
from pipelines.sessionlogs.bench_log import write_bench_log
from tests.support.live_runs import CONSTANT, QUIET, memory_by_role_mb, servers

_EACH_S = 0.5


def start_and_end(folder: Path, events: int) -> dict[str, float]:
    """Time the command from its start to the first row, and from the last row to its end.

    ``cpu_s`` is the processor time of all its processes. ``pss_..._mb`` is the proportional memory:
    the peak of all processes together, and what each role had at that moment.
    """
    log = write_bench_log(folder / "log", events).folder
    with servers(folder, CONSTANT) as (_, config):
        publish(log, config.kafka, console=QUIET)
        settings = folder / "config.yaml"
        settings.write_text(config.model_dump_json(exclude={"log"}), encoding="utf-8")
        command = [sys.executable, "-m", "pipelines.cli.main", "live", "--until-end"]
        began = time.time()
        job = psutil.Popen([*command, "--config", str(settings)], stdout=subprocess.DEVNULL)
        samples, cpu_s = _watch(job)
        ended = time.time()
        if job.returncode:
            message = f"the command ended with status {job.returncode}"
            raise RuntimeError(message)
        first, last = _commits(config)
    peak = max(samples, key=lambda sample: sum(sample.values()))
    return {
        "first_row_s": first - began,
        "rows_s": last - first,
        "end_s": ended - last,
        "cpu_s": cpu_s,
        "pss_peak_mb": sum(peak.values()),
        **{f"pss_{role}_mb": size for role, size in sorted(peak.items())},
    }


def _watch(job: psutil.Popen) -> tuple[list[dict[str, float]], float]:
    """Sample the memory of a command's processes until it ends; return also their CPU seconds."""
    samples, seconds = [], defaultdict[int, float](float)
    while job.poll() is None:
        with suppress(psutil.Error):
            for process in (job, *job.children(recursive=True)):
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    seconds[process.pid] = times.user + times.system
            samples.append(memory_by_role_mb(job))
        time.sleep(_EACH_S)
    return samples, sum(seconds.values())


def _commits(config: Config) -> tuple[float, float]:
    """Return when the first and the last row of session events landed, in seconds since 1970."""
    landed = [
        at
        for name in ("observations", "emotion_features", "expression_decisions")
        for at, _ in commits_of(Path(config.tables), name, "WRITE", "MERGE")
    ]
    return min(landed), max(landed)


def main() -> None:
    """Measure a few times, and print each run as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    for _ in range(given.runs):
        with tempfile.TemporaryDirectory() as folder:
            found = start_and_end(Path(folder), given.events)
        print(json.dumps({name: round(value, 2) for name, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
