"""The online store in sqlite: a million subjects taken in, and looked up."""

import random
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from pipelines.serve.follow import Changes, Position
from pipelines.serve.online import COLUMNS, OnlineStore, latest
from pipelines.serve.stores import open_online
from schemas.settings import Online
from schemas.tables import TABLES
from tests.support.served import BEGIN, feature

NAME = "emotion_features"
_SUBJECTS, _AT_ONCE = 1_000_000, 20_000
_RATE, _SECONDS, _BURST = 100, 20, 20_000


def measure(folder: Path) -> dict[str, float]:
    """Take in a feature row of each of a million subjects; time lookups by ``latest``."""
    settings = Online(store=str(folder / "online.sqlite"), ttl_s=365 * 86_400)
    store = open_online(settings)
    names = [f"{number:032x}" for number in range(_SUBJECTS)]
    random.Random(3).shuffle(names)
    model = _rows()
    began, used = time.monotonic(), 0.0
    for version, start in enumerate(range(0, _SUBJECTS, _AT_ONCE)):
        subjects = pa.array(names[start : start + _AT_ONCE])
        place = model.schema.get_field_index("subject_ref")
        rows = model.set_column(place, "subject_ref", subjects)
        cpu = time.process_time()
        store.write(Changes(NAME, rows, (), Position("bench", version)))
        used += time.process_time() - cpu
    took = time.monotonic() - began
    store.close()
    store = open_online(settings)
    at_rate = _at_rate(store, names)
    cpu = time.process_time()
    for name in random.Random(7).choices(names, k=_BURST):
        _look(store, name)
    return {
        "online_load_1m_s": took,
        "online_load_1m_cpu_s": used,
        "online_size_mb": (folder / "online.sqlite").stat().st_size / 1e6,
        "online_rss_mb": psutil.Process().memory_info().rss / 1e6,
        "online_p50_ms": float(np.percentile(at_rate, 50)),
        "online_p99_ms": float(np.percentile(at_rate, 99)),
        "online_lookup_cpu_us": (time.process_time() - cpu) / _BURST * 1e6,
    }


def _rows() -> pa.Table:
    """Return so many rows as one write has, which differ in what the models estimate."""
    rng = np.random.default_rng(1)
    schema = pa.schema([TABLES[NAME].schema.field(name) for name in COLUMNS[NAME]])
    given = []
    for number in range(_AT_ONCE):
        scores = rng.dirichlet(np.ones(7)).astype(np.float32)
        row = feature(f"s{number}", number % 100, scores=scores.tolist())
        row |= {"valence": float(rng.uniform(-1, 1)), "arousal": float(rng.uniform(-1, 1))}
        given.append({name: row.get(name) for name in schema.names})
    return pa.Table.from_pylist(given, schema=schema)


def _at_rate(store: OnlineStore, names: list[str]) -> list[float]:
    """Return the milliseconds of each lookup, 100 a second, of subjects by chance."""
    chosen = random.Random(5).choices(names, k=_RATE * _SECONDS)
    began, waits = time.perf_counter(), []
    for number, name in enumerate(chosen):
        time.sleep(max(0.0, began + number / _RATE - time.perf_counter()))
        start = time.perf_counter()
        _look(store, name)
        waits.append((time.perf_counter() - start) * 1e3)
    return waits


def _look(store: OnlineStore, name: str) -> None:
    if latest(store, NAME, name, now=lambda: BEGIN) is None:
        message = f"{name} is not in the store"
        raise RuntimeError(message)
