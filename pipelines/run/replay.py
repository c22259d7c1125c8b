"""Replay: a recorded log through the whole graph on the embedded runner, into the tables."""

import datetime as dt
import hashlib
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.dataset as ds
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from rich.console import Console

from pipelines.affect import build_pipeline
from pipelines.config import Config
from pipelines.run.bar import show_progress
from pipelines.run.preflight import check_rules, load_models
from schemas.errors import AffectstreamError
from schemas.events import RAW, record_times
from schemas.ids import stable_ids
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from schemas.stages import Stage, recognition_stage
from schemas.table import NO_DAY
from schemas.tables import RUNS
from transforms.decoding.messages.delays import DELAY
from transforms.landing.delta import TableWriter
from transforms.landing.made_under import note_made_under
from transforms.landing.prepare import prepare_tables
from transforms.landing.writing import writing
from transforms.sources.recorded import count_records, log_files

Stages = dict[str, dict[str, float]]

_LATENCY = "inference_batch_latency_micro_secs"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay did: records read, seconds, and rows and time by stage."""

    records: int
    seconds: float
    stages: Stages


def replay(config: Config, console: Console) -> ReplayResult:
    """Run the log through the graph; a second run of the same log adds no row."""
    check_world(config)
    records = count_records(config.recorded)
    started = dt.datetime.now(dt.UTC)
    begun = time.perf_counter()
    with writing(config.tables), show_progress(records, console):
        stages = run_embedded(lambda p: build_pipeline(p, config))
    done = ReplayResult(records, time.perf_counter() - begun, stages)
    TableWriter(config.tables, "runs").commit([_run_row(config, started, done)])
    return done


def check_world(config: Config) -> None:
    """Open everything that a run needs, so that what is wrong is said before a row is written."""
    if not count_records(config.recorded):
        message = f"{config.recorded} holds no record: there is nothing to replay"
        raise AffectstreamError(message)
    check_rules(config)
    load_models(config.models)
    prepare_tables(config.tables)
    note_made_under(config.tables, read_keys(config.keys))


def run_embedded(build: Callable[[beam.Pipeline], None]) -> Stages:
    """Build a graph, run it in this process and return rows and time by stage.

    The runner is named explicitly: Beam's default would look for another one on the network.
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    build(pipeline)
    result = pipeline.run()
    result.wait_until_finish()
    return _stages(result.metrics().query())


def _stages(metrics: dict[str, list[Any]]) -> Stages:
    """Read the stages' counters: rows in and out, seconds, and seconds in forward passes."""
    stages: Stages = defaultdict(lambda: {"rows_in": 0, "rows_out": 0, "seconds": 0.0})
    for counter in metrics["counters"]:
        stage, name = counter.key.metric.namespace, counter.key.metric.name
        if name in ("rows_in", "rows_out"):
            stages[stage][name] += counter.committed
        elif name in ("repeated", "unknown_shapes"):
            stages[stage][name] = counter.committed
        elif name == "busy_us":
            stages[stage]["seconds"] += counter.committed / 1e6
        elif name == "forward_us":
            stages[stage]["forward_seconds"] = counter.committed / 1e6
    for spread in metrics["distributions"]:
        if spread.key.metric.name == _LATENCY:
            stages[spread.key.metric.namespace]["seconds"] += spread.committed.sum / 1e6
        elif spread.key.metric.name.startswith(DELAY):
            source = spread.key.metric.name.removeprefix(DELAY)
            stages[Stage.DECODE][f"least_delay_s {source}"] = spread.committed.min / 1000
            stages[Stage.DECODE][f"most_delay_s {source}"] = spread.committed.max / 1000
    return {name: stages[name] for name in sorted(stages, key=_place)}


_ORDER = [
    *(Stage.DECODE, Stage.VALIDATE, Stage.PSEUDONYMISE, Stage.GATE, Stage.LIMIT, Stage.FETCH),
    Stage.SCRUB,
    *map(recognition_stage, MODALITIES),
    *(Stage.WINDOW, Stage.FUSE, Stage.DECIDE),
]


def _place(stage: str) -> tuple[int, str]:
    return (_ORDER.index(stage) if stage in _ORDER else len(_ORDER), stage)


def _run_row(config: Config, started: dt.datetime, done: ReplayResult) -> pa.RecordBatch:
    log = fingerprint(config.recorded)
    run_id = stable_ids(pa.array([log]), pa.array([config.fingerprint]))[0].as_py()
    row = {
        "run_id": run_id,
        "log": log,
        "config": config.fingerprint,
        "started_at": started,
        "seconds": done.seconds,
        "records": done.records,
        "stages": json.dumps(done.stages),
        "event_date": first_day(config.recorded),
    }
    return pa.RecordBatch.from_pylist([row], schema=RUNS)


def first_day(log: Path) -> dt.date:
    """Return the day of a log's first record with a time: a run lands in one partition on any day.

    NO_DAY where no record has one.
    """
    data = ds.dataset([str(path) for path in log_files(log)], schema=RAW)
    for batch in data.to_batches(columns=["timestamp"], batch_readahead=1, fragment_readahead=1):
        times = record_times(batch["timestamp"])[0].drop_null()
        if len(times):
            day: dt.date = times[0].as_py().date()
            return day
    return NO_DAY


def fingerprint(log: Path) -> str:
    """Return 32 hex digits over the names, sizes and ends (Parquet footers) of a log's files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in log_files(log):
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - (1 << 16)), os.SEEK_SET)
            digest.update(f"{path.name}\x1f{size}\x1f".encode() + file.read())
    return digest.hexdigest()
