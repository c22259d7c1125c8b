import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import dead_letters
from schemas.events import RAW, TIME
from schemas.table import NO_DAY

NEVER = [
    *(None, -1, 0, -4611686018427387904, -90_000_000_000_000, 2**63 - 1, 9 * 10**15),
    *(-(2**63), -(2**63) + 1, 253_402_300_800_000, -62_135_596_800_001, 2**62),
]
"""Kafka times that are no times; the last but two are of the years 10000 and 0."""


def rows(times: list[int | None], **more: pa.Array) -> pa.RecordBatch:
    count = len(times)
    columns = {
        "topic": pa.repeat("session.text", count),
        "partition": pa.array([0] * count, pa.int32()),
        "offset": pa.array(range(count), pa.int64()),
        "timestamp": pa.array(times, pa.int64()).cast(RAW.field("timestamp").type),
    }
    return pa.record_batch(columns | more)


def days(times: list[int | None], **more: pa.Array) -> list[dt.date]:
    letters = dead_letters(rows(times, **more), stage="S", code="c", detail="d")
    letters.validate(full=True)
    return letters["event_date"].to_pylist()


def test_a_record_without_a_usable_time_has_a_fixed_day() -> None:
    usual = 1_788_256_800_000  # 2026-09-01
    day = dt.date(2026, 9, 1)
    assert days([usual, *NEVER, usual]) == [day, *([NO_DAY] * len(NEVER)), day]
    assert days([1, -2]) == [dt.date(1970, 1, 1), dt.date(1969, 12, 31)]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_no_time_of_64_bits_makes_a_day_that_no_calendar_has(times: list[int | None]) -> None:
    assert all(1000 <= day.year <= 8999 for day in days(times))


@pytest.mark.parametrize("at", [dt.datetime(2026, 3, 4, tzinfo=dt.UTC), None])
def test_the_event_time_comes_before_the_record_s(at: dt.datetime | None) -> None:
    expected = at.date() if at else NO_DAY
    assert days([2**62], event_time=pa.array([at], TIME)) == [expected]
    bare = rows([5], event_time=pa.array([at], TIME)).drop_columns(["timestamp"])
    letters = dead_letters(bare, stage="S", code="c", detail="d")
    assert letters["event_date"].to_pylist() == [expected]
