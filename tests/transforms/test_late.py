import datetime as dt

import apache_beam as beam
import pyarrow as pa
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from records import START, raw, record

from schemas.arrow import ArrowBatchCoder
from schemas.tables import DEAD_LETTERS
from transforms.decode import decode_batch
from transforms.late import SieveLate, split_late
from transforms.stage import DEAD, MAIN

SECOND = 1_000_000
BEGIN_US = int(START.timestamp()) * SECOND


def events(kind: str, *numbers: int) -> pa.RecordBatch:
    payload = {"text": "hi", "lang": "en"} if kind == "text" else {"scene": "a"}
    rows = [record(kind, number, payload) for number in numbers]
    return next(batch for tag, batch in decode_batch(raw(*rows)) if tag == MAIN)


def test_an_event_is_late_once_its_window_has_been_closed_for_the_allowed_time() -> None:
    batch = events("text", 0, 4, 5, 9)
    end_of_first = BEGIN_US + 5 * SECOND
    in_time, letters = split_late(batch, end_of_first + 60 * SECOND - 1, 5 * SECOND, 60 * SECOND)
    assert (in_time.num_rows, letters) == (4, None)
    in_time, letters = split_late(batch, end_of_first + 60 * SECOND, 5 * SECOND, 60 * SECOND)
    assert in_time["event_time"].to_pylist() == [START + dt.timedelta(seconds=s) for s in (5, 9)]
    assert letters.schema == DEAD_LETTERS
    assert set(letters["code"].to_pylist()) == {"late"}
    assert letters["offset"].to_pylist() == [0, 4]
    assert letters["event_id"].to_pylist() == batch["event_id"].to_pylist()[:2]


def test_context_and_consent_are_never_late() -> None:
    batch = events("context", 0, 1)
    assert split_late(batch, BEGIN_US + 10**12, 5 * SECOND, 0) == (batch, None)


def test_the_element_s_timestamp_is_the_watermark_at_reading() -> None:
    batch = events("text", 0, 100)
    stream = (
        TestStream(coder=ArrowBatchCoder())
        .add_elements([TimestampedValue(batch, Timestamp.of(START.timestamp() + 30))])
        .add_elements([TimestampedValue(batch, Timestamp.of(START.timestamp() + 90))])
        .advance_watermark_to_infinity()
    )

    def rows(wanted: list[int]) -> object:
        def check(found: list[pa.RecordBatch]) -> None:
            assert sorted(part.num_rows for part in found) == wanted

        return check

    with beam.Pipeline() as p:
        out = p | stream | SieveLate(length_s=5, lateness_s=60)
        assert_that(out[MAIN], rows([1, 2]), label="in time")
        assert_that(out[DEAD], rows([1]), label="late")


def test_a_recorded_log_has_no_late_event() -> None:
    with beam.Pipeline() as p:
        out = p | beam.Create([events("text", 0, 10**6)]) | SieveLate(length_s=5, lateness_s=0)
        assert_that(
            out[DEAD] | beam.Map(lambda b: b.num_rows), lambda found: None if not found else 1 / 0
        )
        assert_that(out[MAIN], lambda found: None if len(found) == 1 else 1 / 0, label="all")
