"""How long a query over ten million windows takes: ``python -m infra.bench.serve.query FOLDER``.

The table is what thirty days leave after maintenance: one file a day, z-ordered by subject and
time. Run as a command, it compares the engine with Polars and DuckDB on the same files.
"""

import argparse
import datetime as dt
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from pipelines.tables.compaction import file_layout
from pipelines.tables.query import query
from schemas.modalities import MODALITIES
from schemas.table import PARTITION
from schemas.tables import EMOTION_FEATURES, TABLES
from schemas.vocabularies import CIRCUMPLEX, EXPRESSIONS, VOCABULARY

ROWS = 10_000_000
DAYS = 30
SUBJECTS = 10_000
SCENES = 50
_FIRST = dt.date(2026, 10, 1)
_WINDOW_US = 5_000_000
_NAME = "emotion_features"

_HOUR = "date_bin(INTERVAL '1 hour', window_start)"
SCENE_HOUR = (
    f"SELECT scene_id, {_HOUR} AS hour, count(*) AS n, avg(valence) AS valence, "
    f"avg(arousal) AS arousal FROM {_NAME} GROUP BY 1, 2"
)
SUBJECT = (
    f"SELECT window_start, expression, confidence, valence, arousal FROM {_NAME} "
    "WHERE subject_ref = '{subject}' ORDER BY window_start"
)


def measure(folder: Path) -> dict[str, float]:
    """Return the medians of both queries, from the statement to the rows in memory."""
    tables = write_features(folder / "tables")
    subjects = _some_subjects()
    scene_hour = _times(lambda: query(tables, SCENE_HOUR), 7)
    subject = _times(lambda: query(tables, SUBJECT.format(subject=next(subjects))), 30)
    return {
        "query_scene_hour_10m_s": statistics.median(wall for wall, _ in scene_hour),
        "query_subject_10m_ms": 1000 * statistics.median(wall for wall, _ in subject),
    }


def write_features(root: Path, rows: int = ROWS, days: int = DAYS) -> Path:
    """Write emotion_features as maintenance leaves it, and return its root."""
    for day in range(days):
        rng = np.random.default_rng(day)
        write_deltalake(
            root / _NAME, _day(rng, day, rows // days), partition_by=[PARTITION], mode="append"
        )
    DeltaTable(root / _NAME).optimize.z_order(
        ["subject_ref", "window_start"],
        max_concurrent_tasks=1,
        writer_properties=file_layout(TABLES[_NAME]),
    )
    return root


def _day(rng: np.random.Generator, day: int, rows: int) -> pa.Table:
    date = _FIRST + dt.timedelta(days=day)
    midnight = int(dt.datetime.combine(date, dt.time(), dt.UTC).timestamp() * 1_000_000)
    start = midnight + rng.integers(0, 86_400_000_000 // _WINDOW_US, rows) * _WINDOW_US
    who = rng.integers(0, SUBJECTS, rows)
    scores = rng.dirichlet(np.full(len(EXPRESSIONS), 0.3), rows).astype(np.float32)
    confidence = scores.max(axis=1)
    abstained = confidence < 0.4
    names = pa.array(EXPRESSIONS).take(pa.array(scores.argmax(axis=1)))
    values = scores @ CIRCUMPLEX
    counts = rng.integers(0, 4, (rows, len(MODALITIES))).astype(np.int32)
    attention = rng.dirichlet(np.ones(len(MODALITIES)), rows).astype(np.float32)
    columns = {
        "window_id": _hex(rng.integers(0, 2**64, (rows, 2), dtype=np.uint64)),
        "subject_ref": pa.array(_subjects(range(SUBJECTS))).take(pa.array(who)),
        "session_ref": pa.array(_subjects(range(SUBJECTS, 2 * SUBJECTS))).take(pa.array(who)),
        "scene_id": pa.array([f"scene-{n}" for n in range(SCENES)]).take(pa.array(who % SCENES)),
        "window_start": pa.array(start).cast(EMOTION_FEATURES.field("window_start").type),
        "window_end": pa.array(start + _WINDOW_US).cast(EMOTION_FEATURES.field("window_end").type),
        "revision": pa.array(counts.sum(axis=1), pa.int32()),
        **{f"n_{m}": pa.array(counts[:, i]) for i, m in enumerate(MODALITIES)},
        "scores": _vectors(scores, "scores"),
        "attention": _vectors(attention, "attention"),
        "expression": pc.if_else(pa.array(abstained), None, names),
        "confidence": pa.array(confidence),
        "abstained": pa.array(abstained),
        "valence": pa.array(values[:, 0]),
        "arousal": pa.array(values[:, 1]),
        **{name: _same(value, rows) for name, value in _CONSTANT.items()},
        PARTITION: _same(date, rows),
    }
    absent = {field.name: pa.nulls(rows, field.type) for field in EMOTION_FEATURES}  # no rotation
    whole = absent | columns
    return pa.table([whole[name] for name in EMOTION_FEATURES.names], schema=EMOTION_FEATURES)


_CONSTANT = {
    "scenario": "game",
    "purpose": "recommendation",
    "region": "EU",
    "age_band": "adult",
    "vocabulary": VOCABULARY,
    "activity": "quest",
    "game_result": None,
    "lesson_state": None,
    "model_id": "fusion-compact@2.0.0",
}


def _same(value: str | dt.date | None, rows: int) -> pa.Array:
    kind = pa.date32() if isinstance(value, dt.date) else pa.string()
    return pa.repeat(pa.scalar(value, kind), rows)


def _vectors(values: np.ndarray, name: str) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.ravel()), type=EMOTION_FEATURES.field(name).type
    )


def _hex(halves: np.ndarray) -> pa.Array:
    return pa.array([f"{high:016x}{low:016x}" for high, low in halves.tolist()])


def _subjects(numbers: range | np.ndarray) -> list[str]:
    """Return pseudonyms as they look: hex digits that follow from the number."""
    rng = np.random.default_rng(0)
    halves = rng.integers(0, 2**64, (2 * SUBJECTS, 2), dtype=np.uint64)
    return [f"{high:016x}{low:016x}" for high, low in halves[list(numbers)].tolist()]


def _some_subjects() -> Iterator[str]:
    return cycle(_subjects(np.random.default_rng(1).choice(SUBJECTS, 40, replace=False)))


def _times(run: Callable[[], object], times: int) -> list[tuple[float, float]]:
    """Time a call after one that is not counted: seconds of wall and of processor time."""
    run()
    found = []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    return found


def _in_polars(root: Path, sql: str) -> polars.DataFrame:
    frame = polars.scan_delta(str(root / _NAME))
    hours = sql.replace(_HOUR, "date_trunc('hour', window_start)")  # it has no date_bin
    return polars.SQLContext({_NAME: frame}).execute(hours, eager=True)


def _in_duckdb(root: Path, sql: str) -> pa.Table:
    files = DeltaTable(root / _NAME).file_uris()
    hours = sql.replace(
        _HOUR, "epoch_us(window_start) // 3600000000"
    )  # date_trunc wants a download
    with duckdb.connect() as connection:
        connection.read_parquet(files, hive_partitioning=True).create_view(_NAME)
        return connection.sql(hours).to_arrow_table()


def main() -> None:
    """Print each engine's times: median, fastest and slowest, and median of processor time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the table stands, or is written")
    parser.add_argument("--runs", type=int, default=9)
    given = parser.parse_args()
    root = given.folder / "tables"
    if not DeltaTable.is_deltatable(str(root / _NAME)):
        write_features(root)
    subjects = _some_subjects()
    for name, engine in (("query", query), ("Polars", _in_polars), ("DuckDB", _in_duckdb)):
        for kind, sql in (("scene and hour", SCENE_HOUR), ("one subject", SUBJECT)):
            found = _times(
                lambda engine=engine, sql=sql: engine(root, sql.format(subject=next(subjects))),
                given.runs,
            )
            walls = sorted(1000 * wall for wall, _ in found)
            cpu = 1000 * statistics.median(cpu for _, cpu in found)
            spread = f"{statistics.median(walls):.0f} ms ({walls[0]:.0f} to {walls[-1]:.0f})"
            print(f"{name}, {kind}: {spread}, processor {cpu:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
