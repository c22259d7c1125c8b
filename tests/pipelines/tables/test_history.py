"""A log in two parts, the second with the history of the first: decisions as of the whole."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.config import load_config
from pipelines.run.replay import replay
from pipelines.sessionlogs.bench_log import START_MS, write_bench_log
from pipelines.tables.history import landed_features
from schemas.events import RAW
from schemas.tables import EMOTION_FEATURES
from tests.support.live_runs import QUIET, same, table
from transforms.decoding.headers import read_headers
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables

BOUNDARY_MS = START_MS + 20_000


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The whole log, its events before a window's boundary, and those after.

    Every second event of a session has another purpose: each has a history of its own.
    """
    folder = tmp_path_factory.mktemp("parts")
    plain = write_bench_log(folder / "plain", 2_000, subjects=12, rate=50).folder
    whole = _with_two_purposes(pq.read_table(plain).cast(RAW).combine_chunks().to_batches()[0])
    log = folder / "whole"
    log.mkdir()
    pq.write_table(pa.Table.from_batches([whole]), log / "part-0.parquet")
    times = read_headers(whole["headers"], ["ce_time"])[0]["ce_time"]
    micros = times.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    made = []
    for name, mask in (("first", micros < BOUNDARY_MS * 1000), ("second", None)):
        keep = ~made[0][1] if mask is None else mask
        (folder / name).mkdir()
        rows = pa.Table.from_batches([whole.filter(pa.array(keep))])
        pq.write_table(rows, folder / name / "part-0.parquet")
        made.append((folder / name, keep))
    assert all(np.any(keep) for _, keep in made)
    return log, made[0][0], made[1][0]


def _with_two_purposes(log: pa.RecordBatch) -> pa.RecordBatch:
    headers = log["headers"]
    pairs = headers.flatten()
    odd = pc.equal(pc.bit_wise_and(pc.list_parent_indices(headers), 1), 1)
    chosen = pc.and_(odd, pc.equal(pairs.field("key"), "ce_purpose"))
    value = pc.if_else(chosen, b"recommendation", pairs.field("value"))
    named = pa.StructArray.from_arrays([pairs.field("key"), value], names=["key", "value"])
    changed = pa.ListArray.from_arrays(headers.offsets, named)
    columns = [changed if name == "headers" else log[name] for name in log.schema.names]
    return pa.record_batch(columns, schema=RAW)


def test_history_goes_on_from_the_tables(
    parts: tuple[Path, Path, Path], keys: Path, tmp_path: Path
) -> None:
    models = {"text": {"model": "constant"}}

    def run(log: Path, tables: Path, *, bootstrap: bool) -> None:
        live = {"bootstrap": bootstrap}
        replay(
            load_config(None, log=log, tables=tables, keys=keys, models=models, live=live), QUIET
        )

    whole, first, second = parts
    run(whole, tmp_path / "whole", bootstrap=False)
    for name, bootstrap in (("with", True), ("without", False)):
        run(first, tmp_path / name, bootstrap=bootstrap)
        run(second, tmp_path / name, bootstrap=bootstrap)
    wanted, going_on, forgetful = (
        table(tmp_path / name, "expression_decisions") for name in ("whole", "with", "without")
    )
    assert set(wanted["purpose"].to_pylist()) == {"avatar_mirroring", "recommendation"}
    same(wanted, going_on)
    with pytest.raises(AssertionError):
        same(wanted, forgetful)


@pytest.mark.parametrize(
    ("forget_h", "half_life_h", "known"), [(1, 1, 0), (48, 1, 1), (1, 2.9, 0), (1, 3, 1)]
)
def test_features_are_read_as_far_back_as_a_history_or_a_baseline_may_rest(
    tmp_path: Path, forget_h: float, half_life_h: float, known: int
) -> None:
    """A baseline rests for ten half-lives; the row is 30 hours old."""
    prepare_tables(tmp_path)
    end = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
    row = dict.fromkeys(EMOTION_FEATURES.names) | {"window_id": "w", "subject_ref": "a" * 32}
    row |= {"window_start": end, "window_end": end, "event_date": end.date(), "revision": 1}
    rows = pa.RecordBatch.from_pylist([row], schema=EMOTION_FEATURES)
    TableWriter(tmp_path, "emotion_features").commit([rows])
    config = load_config(
        None,
        tables=tmp_path,
        keys="keys.yaml",
        decisions={"forget_s": forget_h * 3600},
        baselines={"half_life_s": half_life_h * 3600},
    )
    found = landed_features(config, end + dt.timedelta(hours=30))
    assert found.num_rows == known
