"""Tables with days that no calendar has, as a job wrote them that took any Kafka time for one."""

import datetime as dt
import logging
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from schemas.table import NO_DAY
from schemas.tables import DEAD_LETTERS, TABLES
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables
from transforms.landing.repair import unsound_days

UNSOUND = {
    "of the year -882": -1_041_667,
    "of the year 0": -719_163,
    "of the year 10000": 2_932_897,
    "of the year 200000": 72_329_000,
    "none": None,
}
EDGES = [-719_162, 2_932_896]
"""The first and the last day that Python has."""
DAY = (dt.date(2026, 9, 1) - dt.date(1970, 1, 1)).days


def letters(*days: int | None, first: int = 0) -> pa.Table:
    """Dead letters of these days since 1970."""
    count = len(days)
    columns = {
        "dead_letter_id": [f"d{first + n}" for n in range(count)],
        "offset": [first + n for n in range(count)],
        "partition": [None] * count,
        "event_time": [None] * count,
        "event_date": pa.array(days, pa.int32()).cast(pa.date32()),
    }
    filled = [columns.get(name, ["x"] * count) for name in DEAD_LETTERS.names]
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(filled, DEAD_LETTERS, strict=True)],
        schema=DEAD_LETTERS,
    )


def write(root: Path, rows: pa.Table) -> None:
    """Append as any writer can."""
    plain = pa.schema([field.remove_metadata() for field in rows.schema])
    write_deltalake(f"{root}/dead_letters", rows.cast(plain), mode="append")


@pytest.mark.parametrize("bad", UNSOUND.values(), ids=UNSOUND)
def test_a_table_with_a_day_that_no_calendar_has_is_repaired(
    tmp_path: Path, bad: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_tables(tmp_path)
    write(tmp_path, letters(DAY, bad, bad, DAY + 1))
    with caplog.at_level(logging.ERROR):
        prepare_tables(tmp_path)
    (told,) = [line for line in caplog.messages if line.startswith("repaired")]
    assert "dead_letters: 2 of its rows" in told
    assert "\n" not in told
    read = DeltaTable(f"{tmp_path}/dead_letters").to_pyarrow_table().sort_by("offset")
    sound = [dt.date(2026, 9, 1), NO_DAY, NO_DAY, dt.date(2026, 9, 2)]
    assert read["event_date"].to_pylist() == sound
    expected = letters(DAY, 0, 0, DAY + 1).select(["dead_letter_id", "offset", "stage", "detail"])
    assert read.select(expected.schema.names).to_pylist() == expected.to_pylist()


def test_several_at_once_are_one_commit_and_a_writer_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_tables(tmp_path)
    open_before = TableWriter(tmp_path, "dead_letters")
    for n, bad in enumerate(UNSOUND.values()):
        write(tmp_path, letters(bad, DAY, first=10 * n))
    table = DeltaTable(f"{tmp_path}/dead_letters")
    version, count = table.version(), 2 * len(UNSOUND)
    assert len(unsound_days(table)) == len(UNSOUND)
    prepare_tables(tmp_path)
    table.update_incremental()
    assert table.version() == version + 1
    assert unsound_days(table) == []
    more = letters(0, 0, DAY, first=0).to_batches()
    assert TableWriter(tmp_path, "dead_letters").commit(more) == 1, "two are known, with their day"
    assert open_before.commit(letters(DAY, first=500).to_batches()) == 1
    assert DeltaTable(f"{tmp_path}/dead_letters").to_pyarrow_table().num_rows == count + 2
    caplog.clear()
    write(tmp_path, letters(*EDGES, first=600))
    versions = [DeltaTable(f"{tmp_path}/{name}").version() for name in TABLES]
    prepare_tables(tmp_path)
    assert [DeltaTable(f"{tmp_path}/{name}").version() for name in TABLES] == versions
    assert not [each for each in caplog.records if each.name.startswith("transforms")]
