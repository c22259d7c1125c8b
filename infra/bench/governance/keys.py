"""What a rotation costs the stream: records → windows under one key, and in the week after it."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from infra.bench.embedded import QUIET, stream
from pipelines.config import Config, load_config
from pipelines.govern.key_file import rotate
from pipelines.run.replay import replay
from pipelines.sessionlogs.bench_log import START_MS, write_bench_log
from schemas.keys import read_keys, write_keys
from schemas.modalities import MODALITIES
from transforms.landing.made_under import check_made_under

_EVENTS = 200_000
_RUNS = 5


def measure(folder: Path) -> dict[str, float]:
    """Time both in turns in one process, after a first run of each that is not counted.

    ``keys_rate_after_rotation`` is the rate in the week after a rotation over that under one key,
    the median of the pairs of runs; ``keys_check_ms`` what a run's look at the tables' keys takes.
    """
    log = write_bench_log(folder / "bench", _EVENTS).folder
    ways = [_config(log, folder, name) for name in ("one", "rotated")]
    began = datetime.fromtimestamp(START_MS / 1000, UTC)
    rotate(ways[1].keys, folder / "no tables", began - timedelta(hours=1))
    for config in ways:
        stream(config)
    pairs = [[_seconds(config) for config in ways] for _ in range(_RUNS)]
    replay(ways[0], QUIET)
    return {
        "keys_rate_after_rotation": median(one / rotated for one, rotated in pairs),
        "keys_events_per_s": _EVENTS / median(one for one, _ in pairs),
        "keys_check_ms": 1000 * median(_check_s(ways[0]) for _ in range(_RUNS)),
    }


def _config(log: Path, folder: Path, name: str) -> Config:
    keys = folder / f"{name}.yaml"
    write_keys(keys)
    models = {modality: {"model": "constant"} for modality in MODALITIES}
    return load_config(None, log=log, tables=folder / name, keys=keys, models=models)


def _seconds(config: Config) -> float:
    started = time.perf_counter()
    stream(config)
    return time.perf_counter() - started


def _check_s(config: Config) -> float:
    started = time.perf_counter()
    check_made_under(config.tables, read_keys(config.keys))
    return time.perf_counter() - started
