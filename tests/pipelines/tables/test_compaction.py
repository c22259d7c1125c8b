"""Tables that a job writes: how old their last commits are, and that small files become one."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from pipelines.tables.compaction import CompactedTables
from tests.support.clock import Clock


def _append(path: Path, *numbers: int) -> None:
    for number in numbers:
        write_deltalake(path, pa.table({"n": [number]}), mode="append")


def test_a_table_of_many_commits_is_compacted_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "observations"
    _append(path, 0)
    tables = CompactedTables(str(tmp_path), compact_after=5)
    assert tables.refresh()["observations"][0] == 0
    _append(path, 1, 2, 3, 4)
    tables.refresh()
    tables.compact()
    assert len(DeltaTable(path).file_uris()) == 5, "one commit too few"
    _append(path, 5)
    assert tables.refresh()["observations"][0] == 5
    tables.compact()
    table = DeltaTable(path)
    assert len(table.file_uris()) == 1
    assert sorted(table.to_pyarrow_table()["n"].to_pylist()) == list(range(6))
    DeltaTable(path, version=5).to_pyarrow_table()  # what readers may still read stays for a week


def test_compacted_files_let_a_reader_skip_rows_and_dictionaries(tmp_path: Path) -> None:
    path = tmp_path / "observations"
    rows = {"event_id": [str(n) for n in range(40_000)], "confidence": [0.5] * 40_000}
    tables = CompactedTables(str(tmp_path), compact_after=1)
    for _ in range(2):
        write_deltalake(path, pa.table(rows), mode="append")
        tables.refresh()
    tables.compact()
    (file,) = DeltaTable(path).file_uris()
    metadata = pq.ParquetFile(file.removeprefix("file://")).metadata
    assert [metadata.row_group(n).num_rows for n in range(2)] == [65_536, 80_000 - 65_536]
    for column in range(2):
        assert not metadata.row_group(0).column(column).has_dictionary_page


def test_the_age_of_a_commit_is_since_it_was_first_seen(tmp_path: Path) -> None:
    clock = Clock()
    tables = CompactedTables(str(tmp_path), clock=clock)
    assert tables.refresh() == {}
    assert tables.table("observations") is None
    _append(tmp_path / "observations", 0)
    assert tables.refresh() == {"observations": (0, 0.0)}
    clock.now += 7
    assert tables.refresh() == {"observations": (0, 7.0)}
    _append(tmp_path / "observations", 1)
    assert tables.refresh() == {"observations": (1, 0.0)}
    assert tables.table("observations").version() == 1
