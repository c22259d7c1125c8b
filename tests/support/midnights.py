"""A log of several days: the sample session around each midnight."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.kafka.retime import shift_times
from pipelines.sessionlogs.sample import LENGTH_MS, START_MS, write_sample
from schemas.events import RAW, TOPIC_OF
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
    records = [row for path in log_files(sample) for row in pq.read_table(path).to_pylist()]
    chosen = [row for row in records if media or row["topic"] not in _MEDIA]
    log = folder / "log"
    log.mkdir()
    for number in range(count):
        midnight = datetime.combine(FIRST + timedelta(days=1 + number), time(0), UTC)
        shift_ms = int(midnight.timestamp() * 1000) - (START_MS + LENGTH_MS // 2)
        rows = [_shift(row, shift_ms) for row in chosen]
        pq.write_table(pa.Table.from_pylist(rows, schema=RAW), log / f"part-{number}.parquet")
    return log


def _shift(row: dict[str, Any], shift_ms: int) -> dict[str, Any]:
    pairs = [(header["key"], header["value"] or b"") for header in row["headers"]]
    moved = shift_times(row | {"headers": pairs}, shift_ms)
    headers = [{"key": key, "value": value} for key, value in moved["headers"]]
    later = row["timestamp"] + timedelta(milliseconds=shift_ms)
    return moved | {"headers": headers, "timestamp": later}
