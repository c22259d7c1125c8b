"""How long Feast takes to join 10,000 subjects and times to a million feature rows."""

import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from infra.feast import features
from schemas.table import PARTITION
from schemas.tables import TABLES
from schemas.vocabularies import EXPRESSIONS
from tests.support.feast_stores import feast_store, history
from transforms.landing.prepare import prepare_tables

ROWS, QUESTIONS = 1_000_000, 10_000
SUBJECTS, FILES = 10_000, 20
BEGIN = pd.Timestamp("2026-11-23", tz="UTC")
SPAN = timedelta(days=3)
LENGTH = timedelta(seconds=5)
_TABLE = "emotion_features"


def write_table(root: Path, rows: int) -> None:
    """Write feature rows of 10,000 subjects over three days in 20 commits."""
    rng = np.random.default_rng(5)
    # Each subject's n-th row falls into the n-th part of the time: none has two windows at once.
    parts = -(-rows // SUBJECTS)
    each = SPAN // LENGTH // parts
    windows = np.arange(rows) // SUBJECTS * each + rng.integers(0, each, rows)
    times = BEGIN + pd.to_timedelta(windows * LENGTH.seconds, unit="s")
    scores = rng.dirichlet(np.ones(len(EXPRESSIONS)), rows).astype(np.float32)
    start = pa.array(times)
    made = {
        "window_id": pa.array([f"{n:032x}" for n in range(rows)]),
        "subject_ref": pa.array([f"{n % SUBJECTS:032x}" for n in range(rows)]),
        "purpose": pa.repeat(pa.scalar(features.PURPOSE), rows),
        "window_start": start,
        "window_end": pa.array(times + LENGTH),
        "revision": pa.array(rng.integers(1, 20, rows), pa.int32()),
        "scores": pa.FixedSizeListArray.from_arrays(scores.ravel(), len(EXPRESSIONS)),
        "expression": pa.array(np.array(EXPRESSIONS)[scores.argmax(axis=1)]),
        "confidence": pa.array(rng.random(rows, np.float32)),
        PARTITION: start.cast(pa.date32()),
    }
    columns = [
        made[field.name].cast(field.type) if field.name in made else pa.nulls(rows, field.type)
        for field in TABLES[_TABLE].schema
    ]
    table = pa.table(columns, schema=TABLES[_TABLE].schema)
    prepare_tables(root)
    for part in range(FILES):
        own = table.slice(part * rows // FILES, rows // FILES)
        write_deltalake(root / _TABLE, own, mode="append")


def questions(root: Path, count: int) -> pd.DataFrame:
    """Return subjects and times to ask for: half an hour before a row of theirs to two after it."""
    rng = np.random.default_rng(6)
    rows = DeltaTable(root / _TABLE).to_pandas(columns=["subject_ref", "window_end"])
    asked = rows.sample(count, random_state=7, ignore_index=True)
    shift = pd.to_timedelta(rng.integers(-1_800, 7_200, count), unit="s")
    return pd.DataFrame(
        {"subject_ref": asked["subject_ref"], "event_timestamp": asked["window_end"] + shift}
    )


def measure(folder: Path) -> dict[str, float]:
    """Return the seconds that 10,000 rows take, and as it was known then, the first time."""
    write_table(folder, ROWS)
    asked = questions(folder, QUESTIONS)
    store = feast_store(folder)
    figures = {}
    for name, as_known in (("feast_10k_of_1m", False), ("feast_10k_of_1m_as_known", True)):
        began, used = time.perf_counter(), time.process_time()
        history(store, *asked.to_dict("list").values(), "confidence", as_known=as_known)
        figures[f"{name}_s"] = time.perf_counter() - began
        figures[f"{name}_cpu_s"] = time.process_time() - used
    return figures
