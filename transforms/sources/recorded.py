"""A recorded log, a folder of Parquet files of exactly the RAW columns, as bounded batches."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from schemas.errors import AffectstreamError
from schemas.events import RAW

MAX_ROWS = 8192
MAX_BYTES = 4 << 20
"""A batch is closed at whichever comes first; a larger single record is a batch of its own."""


def log_files(log: Path) -> list[Path]:
    """Return the Parquet files of a recorded log, checked to hold the RAW columns."""
    files = sorted(log.glob("*.parquet")) if log.is_dir() else []
    if not files:
        message = f"{log} is not a recorded log: it needs to be a folder of Parquet files"
        raise AffectstreamError(message)
    for path in files:
        try:
            found = pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            message = f"{path} is not a Parquet file: a recorded log holds nothing else"
            raise AffectstreamError(message) from error
        if not found.equals(RAW):
            message = f"{path} has other columns than a recorded log: {', '.join(RAW.names)}"
            raise AffectstreamError(message)
    return files


def count_records(log: Path) -> int:
    """Return the number of records of a log, from the files' footers."""
    return sum(pq.read_metadata(path).num_rows for path in log_files(log))


def read_records(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the RAW batches of one file, bounded by rows and bytes.

    No pre-buffering: Arrow would read a whole file ahead and keep it to the end. One batch is read
    ahead in a thread, while the one before it is worked on.
    """
    batches = pq.ParquetFile(path, pre_buffer=False).iter_batches(batch_size=MAX_ROWS)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield from split_to_bounds(batch)


def split_to_bounds(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Split a batch where its values add up to MAX_BYTES; a larger record is a batch of its own."""
    sizes = pc.fill_null(pc.binary_length(batch["value"]), 0).to_numpy()
    if sizes.sum() <= MAX_BYTES:
        yield batch
        return
    start, total = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and total + size > MAX_BYTES:
            yield batch.take(pa.array(range(start, row)))
            start, total = row, 0
        total += size
    yield batch.take(pa.array(range(start, batch.num_rows)))


def read_topics(log: Path, topics: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the RAW batches of these topics alone."""
    data = ds.dataset([str(path) for path in log_files(log)], schema=RAW)
    wanted = ds.field("topic").isin(topics)
    for batch in data.to_batches(
        filter=wanted, batch_size=MAX_ROWS, batch_readahead=1, fragment_readahead=1
    ):
        if batch.num_rows:
            yield from split_to_bounds(batch)
