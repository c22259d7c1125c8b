"""Rows of one window made by hand, before and after they are cut to what a window needs."""

import datetime as dt

import numpy as np
import pyarrow as pa

from schemas.events import SESSION_COLUMNS, SHARD_COLUMN, TIME
from schemas.tables import OBSERVED
from schemas.vocabularies import EXPRESSIONS

START = dt.datetime(2026, 9, 1, 10, 0, 0, tzinfo=dt.UTC)
END = START + dt.timedelta(seconds=5)


def held(
    number: int, *, subject: str = "a", second: float = 0.0, modality: int = 0, **more
) -> dict:
    peak = 0.25 + (number % 3) * 0.25
    scores = np.full(len(EXPRESSIONS), (1 - peak) / 6)
    scores[number % len(EXPRESSIONS)] = peak
    return {
        "event_id": f"{number:016x}" + "0" * 16,
        "subject_ref": subject * 32,
        "session_ref": "5" * 32,
        "shard_hash": int(subject * 4, 16),
        "scene_id": "scene",
        "event_time": START + dt.timedelta(seconds=second),
        "modality": modality,
        "content": number,
        "scores": None if modality < 0 else scores.tolist(),
    } | more


CUT = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", TIME),
        ("content", pa.int64()),
        SHARD_COLUMN,
        *SESSION_COLUMNS,
        ("modality", pa.int8()),
        ("scores", pa.list_(pa.float32(), len(EXPRESSIONS))),
    ]
)


def batch(*rows: dict) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=CUT)


def observed(number: int, second: float) -> pa.RecordBatch:
    row = held(number, second=second) | {"modality": "text", "event_date": START.date()}
    return pa.RecordBatch.from_pylist(
        [{name: row.get(name) for name in OBSERVED.names}], schema=OBSERVED
    )
