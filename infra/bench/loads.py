"""Loads for a live job: a log that waits in the broker, the shipped models, bursts of media."""

import io
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile

from pipelines.config import Models, load_config
from pipelines.kafka.publish import publish
from pipelines.run.preflight import load_models
from pipelines.run.replay import replay
from pipelines.sessionlogs.bench_log import write_bench_log
from pipelines.sessionlogs.sample_data import clips
from schemas.events import RAW
from schemas.stages import MAIN, kind_of
from tests.support.live_runs import QUIET, Running, memory_mb, servers, table
from tests.support.records import IDS, raw, record
from transforms.decode import decode_batch
from transforms.sources.recorded import log_files, read_records

Chosen = dict[str, dict[str, str]]
SHIPPED: Chosen = {}
"""The models of the default configuration."""
_DEFAULT = Models()

_CHUNK_S, _CHUNK_HZ = 10.2, 44_100
"""A clip of 900 kB as a microphone gives it: 16 bits, one channel."""
_USUAL_PER_S, _BURST, _BURST_S, _AROUND_S = 4, 10, 30, 30
_PEOPLE = 8


def throughput(folder: Path, events: int, models: Chosen) -> dict[str, float]:
    """Time a log that waits in the broker, and the embedded replay of the same log.

    The rate is taken between the first and the last commit of observations, so that starting the
    job does not count.
    """
    log = write_bench_log(folder / "log", events).folder
    with servers(folder, models) as (_, config):
        publish(log, config.kafka, console=QUIET)
        with Running(config, until_end=True) as running:
            running.join(900)
        commits = [
            (at, rows)
            for at, added in commits_of(Path(config.tables), "observations", "WRITE", "MERGE")
            if (rows := sum(json.loads(file["stats"])["numRecords"] for file in added))
        ]
        replayed = load_config(
            None, log=log, tables=folder / "replayed", keys=config.keys, models=models
        )
        embedded = replay(replayed, QUIET)
    first, last = commits[0], commits[-1]
    landed = sum(rows for _, rows in commits)
    return {
        "events_per_s": (landed - first[1]) / max(last[0] - first[0], 1e-3),
        "embedded_events_per_s": events / embedded.seconds,
        "landed": landed,
    }


def commits_of(
    root: Path, name: str, *operations: str
) -> Iterator[tuple[float, list[dict[str, Any]]]]:
    """Yield the seconds since 1970 and the added files of each such commit, oldest first."""
    for path in sorted((root / name / "_delta_log").glob("*[0-9].json")):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        info = next((a["commitInfo"] for a in actions if "commitInfo" in a), {})
        added = [a["add"] for a in actions if "add" in a]
        if added and info.get("operation") in operations:
            yield info["timestamp"] / 1000, added


def models_alone(log: Path) -> dict[str, float]:
    """Time loading the shipped models, and what they alone take for the events of a log.

    Imports are done by then, as they are in the process that live workers are forked from.
    """
    started = time.perf_counter()
    recognisers = load_models(_DEFAULT)
    loaded_s = time.perf_counter() - started
    events, seconds = 0, 0.0
    for path in log_files(log):
        for records in read_records(path):
            for tag, batch in decode_batch(records, IDS):
                if tag != MAIN or kind_of(batch) not in recognisers:
                    continue
                started = time.perf_counter()
                recognisers[kind_of(batch)].estimate(batch)
                seconds += time.perf_counter() - started
                events += batch.num_rows
    return {"models_load_s": loaded_s, "models_alone_events_per_s": events / seconds}


def bursts(folder: Path) -> dict[str, float]:
    """Publish voice chunks of 900 kB, for half a minute ten times as many; watch the memory.

    ``burst_drained_s`` is from the last chunk sent to the end of the job, all read.
    """
    chunks = _write_chunks(folder / "log")
    with servers(folder, SHIPPED) as (_, config), Running(config) as running:
        paced = {"speed": 1.0, "retime": True, "console": QUIET}
        producer = threading.Thread(
            target=publish, args=(folder / "log", config.kafka), kwargs=paced
        )
        while running.supervisor.health() is None:
            time.sleep(0.2)
        producer.start()
        before = _memory(running, _AROUND_S)
        during = _memory(running, _BURST_S)
        after = _memory(running, _AROUND_S)
        producer.join()
        sent = time.monotonic()
        running.supervisor.until_end = True
        running.join(900)
        drained_s = time.monotonic() - sent
        seen = table(config.tables, "observations")["event_id"]
    return {
        "burst_chunks": chunks,
        "burst_lost": chunks - len(seen.unique()),
        "burst_duplicated": len(seen) - len(seen.unique()),
        "burst_pss_mb_before": float(np.median(before)),
        "burst_pss_mb_highest": max(*before, *during, *after),
        "burst_pss_mb_after": float(np.median(after[-10:])),
        "burst_drained_s": drained_s,
    }


def _memory(running: Running, seconds: float) -> list[float]:
    """Return the job's proportional memory each second."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1)
        if running.error:
            raise running.error
        if running.supervisor.job:
            found.append(memory_mb())
    return found


def _clip() -> bytes:
    """Return a clip of the built-in sample, again and again for as long as a chunk is."""
    wave, rate = soundfile.read(io.BytesIO(clips()[0].media))
    at = np.arange(round(_CHUNK_S * _CHUNK_HZ)) / _CHUNK_HZ * rate
    repeated = np.interp(at % (len(wave) - 1), np.arange(len(wave)), wave)
    clip = io.BytesIO()
    soundfile.write(clip, repeated, _CHUNK_HZ, format="WAV", subtype="PCM_16")
    return clip.getvalue()


def _write_chunks(folder: Path) -> int:
    """Write a log of voice chunks, and its speakers' consents first; return how many chunks."""
    folder.mkdir()
    clip = _clip()
    granted = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["voice"]}
    people = [f"speaker-{number}" for number in range(_PEOPLE)]
    around, burst = _USUAL_PER_S * _AROUND_S, _USUAL_PER_S * _BURST * _BURST_S
    rates = [_USUAL_PER_S] * around + [_USUAL_PER_S * _BURST] * burst + [_USUAL_PER_S] * around
    times = np.cumsum(1 / np.array(rates))
    with pq.ParquetWriter(folder / "part-00000.parquet", RAW, compression="zstd") as file:
        file.write_batch(
            raw(*(record("consent", n, granted, subject=who) for n, who in enumerate(people)))
        )
        for number, seconds in enumerate(times):
            moment = record("voice", 0, b"")["timestamp"] + timedelta(seconds=_PEOPLE + seconds)
            row = record(
                "voice", number, clip, subject=people[number % _PEOPLE],
                time=moment.isoformat(),
            )  # fmt: skip
            file.write_batch(raw(row | {"timestamp": moment}))
    return len(times)
