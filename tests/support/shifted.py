"""Records at another time than they were made for, moved as ``publish --retime`` moves them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa

from pipelines.kafka.retime import find_structured, shift_times


def shift_records(log: pa.RecordBatch, by: timedelta) -> Iterator[dict[str, Any]]:
    """Yield the RAW rows of a log, their own times and those of their events moved."""
    for row, structured in zip(log.to_pylist(), find_structured(log).tolist(), strict=True):
        pairs = [(header["key"], header["value"] or b"") for header in row["headers"]]
        moved = shift_times(
            row | {"headers": pairs}, round(by.total_seconds() * 1000), structured=structured
        )
        headers = [{"key": key, "value": value} for key, value in moved["headers"]]
        yield moved | {"headers": headers, "timestamp": row["timestamp"] + by}
