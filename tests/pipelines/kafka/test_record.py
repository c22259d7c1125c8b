import datetime as dt

import numpy as np
import pyarrow as pa

from pipelines.kafka.record import add_times, merge_by_time
from schemas.events import RAW
from tests.support.records import START, raw, record


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
    rows = pa.Table.from_batches(merge_by_time(add_times(part) for part in parts)).to_pylist()
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


def strange(*times: int | None) -> list[pa.RecordBatch]:
    """Records of one partition with these Kafka times in ms, in batches of two."""
    (batch,) = [raw(*(record("text", offset, {"text": "x"}) for offset in range(len(times))))]
    column = pa.array(times, pa.int64()).cast(RAW.field("timestamp").type)
    batch = batch.set_column(3, RAW.field("timestamp"), column)
    return [batch.slice(at, 2) for at in range(0, len(times), 2)]


def test_a_record_without_a_usable_time_takes_that_of_the_one_before_it() -> None:
    never = [None, -1, 0, -(2**62), -90_000_000_000_000, 2**63 - 1, 9 * 10**15]
    times = [None, 5, *never, 7, 2**63 - 1, 6]
    found = np.concatenate([part for _, part in add_times(strange(*times))]).tolist()
    first = np.iinfo(np.int64).min
    assert found == [first, 5, *[5] * len(never), 7, 7, 6]
    assert sum(batch.num_rows for batch, _ in add_times(strange(*times))) == len(times)


def test_a_strange_time_moves_no_other_record() -> None:
    """One far in the future would put all that follows it in its partition to the log's end."""
    parts = [strange(10, 2**63 - 1, 30, 50), strange(20, -(2**62), 40, 60), strange(None, None)]
    rows = pa.Table.from_batches(merge_by_time(add_times(part) for part in parts))
    order = rows["timestamp"].cast(pa.int64()).to_pylist()
    assert order == [None, None, 10, 2**63 - 1, 20, -(2**62), 30, 40, 50, 60]
