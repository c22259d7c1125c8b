import apache_beam as beam
import pyarrow as pa
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from schemas.stages import DEAD, MAIN
from schemas.tables import DEAD_LETTERS
from tests.support.records import IDS, START, raw, record
from transforms.arrow_coder import ArrowBatchCoder
from transforms.decode import decode_batch
from transforms.late import LATE, SieveLate


def events(*numbers: int) -> pa.RecordBatch:
    rows = [record("text", number, {"text": "hi", "lang": "en"}) for number in numbers]
    return next(batch for tag, batch in decode_batch(raw(*rows), IDS) if tag == MAIN)


def offsets(wanted: list[int]) -> object:
    def check(found: list[pa.RecordBatch]) -> None:
        assert sorted(offset for part in found for offset in part["offset"].to_pylist()) == wanted

    return check


def test_batches_at_the_end_of_time_are_dead_letters() -> None:
    stream = (
        TestStream(coder=ArrowBatchCoder())
        .add_elements([TimestampedValue(events(0, 1), Timestamp.of(START.timestamp()))])
        .advance_watermark_to(START.timestamp() + 1000)
        .add_elements([TimestampedValue(events(2, 3), LATE)])
        .add_elements([TimestampedValue(events(4), Timestamp.of(START.timestamp()))])
        .advance_watermark_to_infinity()
    )

    def letters(found: list[pa.RecordBatch]) -> None:
        assert [part.schema for part in found] == [DEAD_LETTERS]
        assert found[0]["code"].to_pylist() == ["late", "late"]
        assert found[0]["stage"].to_pylist() == ["SieveLate", "SieveLate"]
        assert all("lateness" in detail for detail in found[0]["detail"].to_pylist())
        assert found[0]["event_id"].to_pylist() == events(2, 3)["event_id"].to_pylist()

    with beam.Pipeline() as p:
        out = p | stream | SieveLate()
        assert_that(out[MAIN], offsets([0, 1, 4]), label="in time")
        assert_that(out[DEAD], letters, label="late")


def test_a_recorded_log_has_no_late_event() -> None:
    with beam.Pipeline() as p:
        out = p | beam.Create([events(0, 10**6)]) | SieveLate()
        assert_that(out[DEAD], offsets([]), label="none")
        assert_that(out[MAIN], offsets([0, 10**6]), label="all")
