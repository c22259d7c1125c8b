"""A log in two parts, the second with the history of the first: decisions as of the whole."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from live_runs import QUIET, same, table

from pipelines.config import load_config
from pipelines.replay import replay
from pipelines.sessionlogs.bench_log import START_MS, write_bench_log
from schemas.events import RAW
from transforms.headers import read_headers

BOUNDARY_MS = START_MS + 20_000


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The whole log, its events before a window's boundary, and those after."""
    folder = tmp_path_factory.mktemp("parts")
    log = write_bench_log(folder / "whole", 2_000, subjects=12, rate=50).folder
    whole = pq.read_table(log).cast(RAW).combine_chunks().to_batches()[0]
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
    same(wanted, going_on)
    with pytest.raises(AssertionError):
        same(wanted, forgetful)
