from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import AffectstreamError
from tests.support.records import raw, record
from transforms.sources.recorded import (
    MAX_BYTES,
    count_records,
    log_files,
    read_records,
    read_topics,
    split_to_bounds,
)


def big(number: int, size: int) -> dict:
    return record("voice", number, b"RIFF" + bytes(size))


def test_batches_are_bounded_by_bytes_and_lose_nothing() -> None:
    sizes = [900_000] * 9 + [10] * 5 + [MAX_BYTES + 1] + [20] * 3
    batch = raw(*(big(n, size) for n, size in enumerate(sizes)))
    parts = list(split_to_bounds(batch))
    assert pa.Table.from_batches(parts).equals(pa.Table.from_batches([batch]))
    for part in parts:
        assert part.num_rows == 1 or sum(map(len, part["value"].to_pylist())) <= MAX_BYTES
    assert len(parts) == 5


def test_reading_back_what_was_written(tmp_path: Path) -> None:
    batch = raw(*(record("text", n, {"text": str(n)}) for n in range(20)), big(21, 5))
    pq.write_table(pa.Table.from_batches([batch]), tmp_path / "part-0.parquet", row_group_size=7)
    (read,) = read_records(tmp_path / "part-0.parquet")
    assert read.equals(batch)
    assert count_records(tmp_path) == 21
    assert sum(b.num_rows for b in read_topics(tmp_path, ["session.voice"])) == 1


def test_what_is_not_a_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="not a recorded log"):
        log_files(tmp_path / "nowhere")
    with pytest.raises(AffectstreamError, match="not a recorded log"):
        log_files(tmp_path)
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(AffectstreamError, match="not a Parquet file"):
        log_files(tmp_path)
    pq.write_table(pa.table({"topic": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(AffectstreamError, match="other columns"):
        log_files(tmp_path)
