"""Rows of very many days land all the same, a few days at a time."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from infra.bench.bounds.days import ROWS, commit_mb, observations
from transforms.land import MOST_DAYS, split_days
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables


def test_rows_are_split_by_days_and_none_is_lost_or_twice() -> None:
    batch = observations(100)
    parts = [pa.Table.from_batches(part) for part in split_days([batch])]
    sizes = [len(pc.unique(part["event_date"])) for part in parts]
    assert sizes == [MOST_DAYS, MOST_DAYS, MOST_DAYS, 100 - 3 * MOST_DAYS]
    ids = pa.concat_tables(parts)["event_id"].to_pylist()
    assert sorted(ids) == batch["event_id"].to_pylist()


def test_rows_of_few_days_are_one_commit() -> None:
    batches = [observations(MOST_DAYS)]
    (part,) = split_days(batches)
    assert part is batches


def test_a_day_is_in_one_part_even_where_its_rows_stand_apart(tmp_path: Path) -> None:
    prepare_tables(tmp_path)
    writer = TableWriter(tmp_path, "observations")
    batches = [observations(2 * MOST_DAYS), observations(2 * MOST_DAYS)]
    new = [writer.commit(part) for part in split_days(batches)]
    assert len(new) == 2
    assert sum(new) == ROWS
    assert DeltaTable(tmp_path / "observations").to_pyarrow_dataset().count_rows() == ROWS


def test_the_memory_of_a_commit_is_bounded() -> None:
    """All at once 2,000 days are 2,000 files that are written to."""
    split, whole = commit_mb(ROWS), commit_mb(ROWS, most=ROWS)
    assert split < 50 * max(1.0, commit_mb(1))
    assert whole > 4 * split, "without the split"
