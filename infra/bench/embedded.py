"""Benchmarks of the embedded runner: ``make bench``.

Every figure is the median of some runs; whoever compares two figures finds them taken in turns in
one process. A measurement that looks at memory has a process of its own.
"""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import torch
from apache_beam.metrics import Metrics
from rich.console import Console
from rich.progress import track

from infra.bench.hand_loop import window_by_hand
from model_serving.card import CONSTANT
from pipelines.affect import Rows, observe
from pipelines.config import Config, load_config
from pipelines.run.replay import Stages, replay, run_embedded
from pipelines.sessionlogs.bench_log import write_bench_log
from pipelines.show.markdown import markdown_table
from schemas.keys import write_keys
from schemas.modalities import MODALITIES
from schemas.stages import Stage
from transforms.window import WindowSessions

ROOT = Path("build/bench")
DOCS = Path("docs/benchmarks")
EVENTS, MANY, MEDIA = 200_000, 2_000_000, 20_000
RUNS = 5
Samples = dict[str, list[float]]

console = Console(stderr=True)
QUIET = Console(quiet=True)


def config(log: str, *, constant: bool = True) -> Config:
    """Return the settings of a run over one of the benchmark's logs."""
    models = {name: {"model": CONSTANT} for name in MODALITIES} if constant else {}
    paths = {"log": ROOT / log / "log", "tables": ROOT / "tables", "keys": ROOT / "keys.yaml"}
    return load_config(None, **paths, models=models)


def prepare() -> None:
    """Write the key and the logs that are missing."""
    if not (ROOT / "keys.yaml").exists():
        write_keys(ROOT / "keys.yaml")
    for name, events, media in (("200k", EVENTS, False), ("2m", MANY, False), ("av", MEDIA, True)):
        if not (ROOT / name).exists():
            write_bench_log(ROOT / name, events, media=media)


def stream(settings: Config) -> tuple[int, Stages]:
    """Run records → windows on the embedded runner; return WINDOW rows, and time by stage."""
    rows = Metrics.counter("bench", "rows_out")

    def count(batch: pa.RecordBatch) -> None:
        rows.inc(batch.num_rows)

    def build(p: beam.Pipeline) -> None:
        observed = observe(p, settings, Rows())
        windows = observed | WindowSessions(windows=settings.windows)
        windows | "Count" >> beam.Map(count)

    stages = run_embedded(build)
    return int(stages.pop("bench")["rows_out"]), stages


def measure_stream() -> Samples:
    """Time records → windows, no models: Beam and the hand-written loop in turns."""
    settings = config("200k")
    samples: Samples = {"beam_s": [], "hand_s": [], "windows": []}
    for run in range(RUNS + 1):
        beam_s, (rows, stages) = _timed(lambda: stream(settings))
        hand_s, hand_rows = _timed(lambda: window_by_hand(settings))
        if rows != hand_rows:
            message = f"Beam made {rows} windows, the loop {hand_rows}"
            raise RuntimeError(message)
        if run:  # the first warms up imports and allocators
            samples["beam_s"].append(beam_s)
            samples["hand_s"].append(hand_s)
            samples["windows"].append(rows)
            for name, stage in stages.items():
                samples.setdefault(f"stage:{name}", []).append(stage["seconds"])
    return samples


def measure_whole(log: str) -> Samples:
    """Time one replay of a log into fresh tables with constant recognisers; note peak memory."""
    settings = config(log)
    shutil.rmtree(settings.tables, ignore_errors=True)
    done = replay(settings, QUIET)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shutil.rmtree(settings.tables)
    samples = {f"stage:{name}": [stage["seconds"]] for name, stage in done.stages.items()}
    return samples | {"seconds": [done.seconds], "rss_mb": [peak_mb]}


def measure_models() -> Samples:
    """Time replays of a log with voice and face with the shipped models."""
    settings = config("av", constant=False)
    samples: Samples = {"seconds": [], "forward_s": [], "windows": []}
    for run in range(RUNS + 1):
        shutil.rmtree(settings.tables, ignore_errors=True)
        done = replay(settings, QUIET)
        if run:
            samples["seconds"].append(done.seconds)
            forward = [stage.get("forward_seconds", 0.0) for stage in done.stages.values()]
            samples["forward_s"].append(sum(forward))
            samples["windows"].append(done.stages[Stage.FUSE]["rows_out"])
            for name, stage in done.stages.items():
                samples.setdefault(f"stage:{name}", []).append(stage["seconds"])
    shutil.rmtree(settings.tables)
    return samples


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


MEASURES: dict[str, Callable[[], Samples]] = {
    "stream": measure_stream,
    "models": measure_models,
    "whole:200k": lambda: measure_whole("200k"),
    "whole:2m": lambda: measure_whole("2m"),
}


def in_process(name: str) -> Samples:
    """Take one measurement in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "infra.bench.embedded", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    samples: Samples = json.loads(done.stdout.splitlines()[-1])
    return samples


def measure_all() -> dict[str, Samples]:
    """Take all measurements, the two sizes of the whole replay in turns."""
    plan = ["stream", "models", *["whole:200k", "whole:2m"] * RUNS]
    found: dict[str, Samples] = {}
    for name in track(plan, "measuring", console=console):
        for key, values in in_process(name).items():
            found.setdefault(name, {}).setdefault(key, []).extend(values)
    return found


def figures(found: dict[str, Samples]) -> dict[str, float]:
    """Reduce the samples to flat medians."""
    stream_s, models = found["stream"], found["models"]
    small, large = found["whole:200k"], found["whole:2m"]
    ratios = np.divide(stream_s["hand_s"], stream_s["beam_s"])
    shares = np.divide(models["forward_s"], models["seconds"])
    growth = np.divide(large["seconds"], small["seconds"]) * EVENTS / MANY
    return {
        "events_per_s": EVENTS / median(stream_s["beam_s"]),
        "hand_loop_events_per_s": EVENTS / median(stream_s["hand_s"]),
        "over_hand_loop": float(np.median(ratios)),
        "windows_per_s": median(stream_s["windows"]) / median(stream_s["beam_s"]),
        "whole_events_per_s": EVENTS / median(small["seconds"]),
        "whole_events_per_s_2m": MANY / median(large["seconds"]),
        "model_events_per_s": MEDIA / median(models["seconds"]),
        "model_windows_per_s": median(models["windows"]) / median(models["seconds"]),
        "model_time_share": float(np.median(shares)),
        "rss_mb_200k": median(small["rss_mb"]),
        "rss_mb_2m": median(large["rss_mb"]),
        "cost_growth_10x": float(np.median(growth)),
    }


LIMITS = {
    "events_per_s": "≥ 100,000",
    "over_hand_loop": "≥ 0.5",
    "model_time_share": "≥ 0.6",
    "rss_mb_2m": "< 2,000",
    "cost_growth_10x": "≤ 1.2",
}


ABOUT = f"""\
Median of {RUNS} runs. *stream*: decode → validate → pseudonymise → gate → scrub → window on
{EVENTS:,} text and motion events of about 300 bytes, recognisers constant, beside the same
functions in a plain loop, in turns in one process. *whole*: the same log, and one of {MANY:,}
events, through the whole graph into fresh Delta tables, recognisers constant, a process each.
*models*: {MEDIA:,} events of all modalities (5 % voice, 30 % face) with the shipped models into
fresh tables; the share is forward passes over the whole replay."""


def page(found: dict[str, Samples], flat: dict[str, float]) -> str:
    """Return the dated page: figures, spread, stages, machine."""
    versions = (
        f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"apache-beam {beam.__version__}, pyarrow {pa.__version__}, torch {torch.__version__}"
    )
    parts = [
        f"# Embedded runner, {datetime.now(UTC):%Y-%m-%d}",
        f"`make bench` on {versions}.",
        ABOUT,
        markdown_table(
            ["figure", "median", "to reach"],
            [[name, _number(value), LIMITS.get(name, "")] for name, value in flat.items()],
        ),
        "## Spread",
        markdown_table(["run", "sample", "min", "median", "max"], _spreads(found)),
        "## Where time goes",
        markdown_table(["run", "stage", "s", "µs an event"], _stage_rows(found)),
    ]
    return "\n\n".join(parts) + "\n"


def _spreads(found: dict[str, Samples]) -> list[list[str]]:
    return [
        [name, key, *(_number(f(values)) for f in (min, median, max))]
        for name, samples in found.items()
        for key, values in samples.items()
        if not key.startswith("stage:")
    ]


def _stage_rows(found: dict[str, Samples]) -> list[list[str]]:
    return [
        [
            name,
            key.removeprefix("stage:"),
            f"{median(values):.2f}",
            f"{median(values) / n * 1e6:.2f}",
        ]
        for name, n in (("stream", EVENTS), ("whole:200k", EVENTS), ("models", MEDIA))
        for key, values in found[name].items()
        if key.startswith("stage:")
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main() -> None:
    """Measure, then write the page and the flat figures."""
    prepare()
    found = measure_all()
    flat = figures(found)
    (DOCS / "latest").mkdir(parents=True, exist_ok=True)
    rounded = {name: round(value, 4) for name, value in flat.items()}
    (DOCS / "latest" / "embedded.json").write_text(json.dumps(rounded, indent=2) + "\n")
    path = DOCS / f"{datetime.now(UTC):%Y-%m-%d}-embedded.md"
    path.write_text(page(found, flat), encoding="utf-8")
    console.print_json(json.dumps(rounded))
    console.print(f"page: {path}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(MEASURES[sys.argv[1]]()) + "\n")
    else:
        main()
