"""RAW records of one kind around payloads of bytes that may be anything, JSON or not."""

import json
from collections.abc import Sequence

import pyarrow as pa

from tests.support.records import attributes, raw, record

Headers = list[tuple[str, bytes]]


def records(kind: str, values: Sequence[bytes], more: Sequence[Headers] = ()) -> pa.RecordBatch:
    """Return records in binary mode with these values, and with ``more`` headers each."""
    rows = [record(kind, number, value) for number, value in enumerate(values)]
    for row, headers in zip(rows, more, strict=False):
        row["headers"] += [{"key": key, "value": value} for key, value in headers]
    return raw(*rows)


def structured(kind: str, values: Sequence[bytes]) -> pa.RecordBatch:
    """Return the same in structured mode; the attributes stand behind the payload."""
    rows = [record(kind, number, {}, structured=True) for number in range(len(values))]
    for number, (row, value) in enumerate(zip(rows, values, strict=True)):
        named = json.dumps(attributes(kind, number)).encode()
        row["value"] = b'{"data": ' + value + b", " + named[1:]
    return raw(*rows)
