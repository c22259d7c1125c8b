"""ReadLog: a recorded log (a Parquet folder of exactly the RAW columns) → RAW batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa

import transforms.arrow_coder  # noqa: F401  registers the coder of record batches
from transforms.sources.recorded import log_files, read_records


@dataclass(slots=True)
class Progress:
    """Records read so far by this process: what a progress bar of the embedded runner polls."""

    records: int = 0


PROGRESS = Progress()


class _ReadFile(beam.DoFn):
    def process(self, path: str) -> Iterator[pa.RecordBatch]:
        for batch in read_records(Path(path)):
            yield batch
            PROGRESS.records += batch.num_rows


class ReadLog(beam.PTransform):
    """A recorded log → RAW batches of up to 8,192 rows or 4 MB."""

    def __init__(self, *, log: Path) -> None:
        super().__init__()
        self._files = [str(path) for path in log_files(log)]

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        return (
            pbegin
            | "Files" >> beam.Create(self._files, reshuffle=False)
            | "Read" >> beam.ParDo(_ReadFile()).with_output_types(pa.RecordBatch)
        )
