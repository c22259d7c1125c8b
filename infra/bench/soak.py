"""The latency run, which is the soak where it is long: a load in real time, watched throughout."""

import csv
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from infra.bench.loads import commits_of
from infra.processes import BUILD
from pipelines.config import Config
from pipelines.kafka.publish import publish
from pipelines.serve.feed import feeding
from pipelines.sessionlogs.bench_log import write_bench_log
from tests.support.live_runs import CONSTANT, QUIET, Running, memory_by_role_mb, servers, wait_for

SAMPLES = BUILD / "soak.csv"
"""Every sample of the last run, written as it is taken: a run that breaks off is not lost."""
_EACH_S = 5.0
_OF_SOAK = ("soak_", "commit_s_", "pss_", "checkpoint_", "lag_", "watermark_")


@dataclass(frozen=True, slots=True)
class Sample:
    """The job at one moment; NaN where nobody answered. Memory is proportional, by process.

    The supervisor is a thread of the benchmark here, so its memory (100 MB) is not among them.
    ``lag_records`` are those that no checkpoint holds yet; ``watermark_delay_s`` is that of the
    windows behind the clock.
    """

    seconds: float
    pss_jvm_mb: float
    pss_worker_mb: float
    pss_fork_server_mb: float
    pss_driver_mb: float
    checkpoint_kb: float
    lag_records: float
    watermark_delay_s: float


def latency(folder: Path, rate: int, minutes: float, *, feed: bool = False) -> dict[str, float]:
    """Publish in real time at this rate; measure window closed → row committed.

    A window is closed when the clock has passed its end and the allowed out-of-orderness. With
    ``feed``, what lands goes to the topic and the online store at the same time.
    """
    with (
        servers(folder, CONSTANT) as (_, config),
        feeding(_handed_on(config, folder), QUIET) if feed else nullcontext(),
        Running(config) as running,
    ):
        log = write_bench_log(folder / "log", int(rate * minutes * 60), rate=rate).folder
        paced = {"speed": 1.0, "retime": True, "console": QUIET}
        producer = threading.Thread(target=publish, args=(log, config.kafka), kwargs=paced)
        producer.start()
        samples = list(_recorded(_samples(running, producer)))
        wait_for(lambda: not producer.is_alive(), 60)
        running.supervisor.until_end = True
        running.join(300)
        delays = _delays(config, warm_s=min(60, minutes * 30))
        counted = landed_once(Path(config.tables), int(rate * minutes * 60))
    return {
        "rate_per_s": rate,
        "soak_minutes": minutes,
        "rows": len(delays),
        "commit_p50_s": float(np.percentile(delays, 50)),
        "commit_p90_s": float(np.percentile(delays, 90)),
        "commit_p99_s": float(np.percentile(delays, 99)),
        **thirds("commit_s", delays),
        **trends(samples),
        **counted,
    }


def _handed_on(config: Config, folder: Path) -> Config:
    """Return the settings with a store of this run's own, and its load's purpose."""
    feed = config.feed.model_copy(update={"purposes": ("avatar_mirroring",)})
    online = config.online.model_copy(update={"store": str(folder / "online.sqlite")})
    return config.model_copy(update={"feed": feed, "online": online})


def longest(found: dict[str, float], record: dict[str, float]) -> dict[str, float]:
    """Return what is to be stored of a run: the soak's figures only of the longest one."""
    if found["soak_minutes"] >= record.get("soak_minutes", 0):
        return found
    return {name: value for name, value in found.items() if not name.startswith(_OF_SOAK)}


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


def _samples(running: Running, producer: threading.Thread) -> Iterator[Sample]:
    """Yield a sample each few seconds while the producer runs, of what the supervisor sees."""
    began = time.monotonic()
    while producer.is_alive():
        time.sleep(_EACH_S)
        if running.error:
            raise running.error
        view = running.supervisor.view
        if view is None or view.health is None:
            continue
        memory = memory_by_role_mb(psutil.Process())
        yield Sample(
            time.monotonic() - began,
            *(memory[role] for role in ("jvm", "worker", "fork_server", "driver")),
            view.health.checkpoint_bytes / 1024,
            sum(view.read.lag.values()) if view.read else np.nan,
            np.nan if view.delay_s is None else view.delay_s,
        )


def _recorded(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Write each sample as a line of ``SAMPLES`` and hand it on."""
    SAMPLES.parent.mkdir(parents=True, exist_ok=True)
    with SAMPLES.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, [field.name for field in fields(Sample)])
        lines.writeheader()
        for sample in samples:
            lines.writerow({name: round(value, 2) for name, value in asdict(sample).items()})
            file.flush()
            yield sample


def trends(samples: Sequence[Sample]) -> dict[str, float]:
    """Return what each value was in the first and last third, and how fast memory grows."""
    columns = {
        field.name: np.array([getattr(sample, field.name) for sample in samples])
        for field in fields(Sample)
    }
    minutes = columns.pop("seconds") / 60
    parts = [values for name, values in columns.items() if name.startswith("pss_")]
    columns["pss_mb"] = np.sum(parts, axis=0)
    found: dict[str, float] = {}
    for name, values in columns.items():
        found |= thirds(name, values[~np.isnan(values)])
        if name.startswith("pss_"):
            found[f"{name}_per_minute"] = slope(minutes, values)
    return found


def slope(minutes: np.ndarray, values: np.ndarray) -> float:
    """Return the growth a minute over the last half, by least squares."""
    half = len(values) // 2
    return float(np.polyfit(minutes[half:], values[half:], 1)[0])


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
