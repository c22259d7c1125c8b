import datetime as dt

import numpy as np
import pyarrow as pa
from records import START, raw, record

from pipelines.record import merged


def partition(number: int, *times: int) -> list[pa.RecordBatch]:
    """Records of one partition at these seconds, in batches of two."""
    rows = [
        record("text", offset, {"text": "x"})
        | {"partition": number, "timestamp": START + dt.timedelta(seconds=at)}
        for offset, at in enumerate(times)
    ]
    return [raw(*rows[at : at + 2]) for at in range(0, len(rows), 2)]


def test_partitions_are_merged_by_time_and_keep_their_order() -> None:
    rng = np.random.default_rng(5)
    parts = [partition(0, 1, 9, 2, 3, 20), partition(1), partition(2, 5)]
    parts += [partition(number, *rng.integers(0, 50, 17).tolist()) for number in (3, 4)]
    rows = pa.Table.from_batches(merged(iter(part) for part in parts)).to_pylist()
    assert len(rows) == 5 + 1 + 17 + 17
    reached = dict.fromkeys(range(5), START - dt.timedelta(days=1))
    places = []
    for row in rows:
        number = row["partition"]
        reached[number] = max(reached[number], row["timestamp"])
        places.append(reached[number])
    assert places == sorted(places)
    for number in range(5):
        offsets = [row["offset"] for row in rows if row["partition"] == number]
        assert offsets == list(range(len(offsets)))
