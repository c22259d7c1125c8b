"""A log of several days: the sample session around each midnight."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.sessionlogs.sample import LENGTH_MS, START_MS, write_sample
from schemas.events import RAW, TOPIC_OF
from tests.support.records import shift_records
from transforms.sources.recorded import log_files

FIRST = date(2026, 9, 20)
"""The day in whose last minutes the log begins."""
_MEDIA = {TOPIC_OF["voice"], TOPIC_OF["face"]}


def write_midnights(folder: Path, count: int, *, media: bool = False) -> Path:
    """Write a log of ``count`` midnights, each in the middle of the sample session; return it.

    Histories, and a window of the session's context, go on from one day to the next. Without
    ``media`` voices and faces are left out, which takes a fifth of the time.
    """
    sample = write_sample(folder / "sample").folder
    whole = pa.concat_tables(pq.read_table(path).cast(RAW) for path in log_files(sample))
    (records,) = whole.combine_chunks().to_batches()
    chosen = records
    if not media:
        chosen = records.filter(pc.invert(pc.is_in(records["topic"], pa.array(sorted(_MEDIA)))))
    log = folder / "log"
    log.mkdir()
    for number in range(count):
        midnight = datetime.combine(FIRST + timedelta(days=1 + number), time(0), UTC)
        shift_ms = int(midnight.timestamp() * 1000) - (START_MS + LENGTH_MS // 2)
        rows = [*shift_records(chosen, timedelta(milliseconds=shift_ms))]
        pq.write_table(pa.Table.from_pylist(rows, schema=RAW), log / f"part-{number}.parquet")
    return log
