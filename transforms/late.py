"""SieveLate: events later than allowed → dead letters, before anything infers from them."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from schemas.arrow import take_rows
from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode
from schemas.events import kind_of
from schemas.vocabularies import MODALITIES
from transforms.stage import DEAD, MAIN, Outputs

_DETAIL = "the event's window was closed for longer than the allowed lateness"


def split_late(
    events: pa.RecordBatch, watermark_us: int, length_us: int, lateness_us: int
) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
    """Return the events that are in time, and the dead letters of those that are not, or None."""
    if kind_of(events) not in MODALITIES:
        return events, None
    times = events["event_time"].cast(pa.int64()).to_numpy()
    late = (times // length_us + 1) * length_us + lateness_us <= watermark_us
    if not late.any():
        return events, None
    rows = take_rows(events, late)
    letters = dead_letters(rows, stage="SieveLate", code=DeadLetterCode.LATE, detail=_DETAIL)
    return take_rows(events, ~late), letters


class _Sieve(beam.DoFn):
    """Judges by the element's timestamp, which from Kafka is the watermark at reading.

    The watermark of the windows is never ahead of it, so what passes here is never dropped there,
    which would be silent. A recorded log's elements stand at the beginning of time: none is late.
    """

    def __init__(self, length_us: int, lateness_us: int) -> None:
        self._length_us, self._lateness_us = length_us, lateness_us

    def process(
        self, events: pa.RecordBatch, at: Timestamp = beam.DoFn.TimestampParam
    ) -> Iterator[Any]:
        if at <= MIN_TIMESTAMP:
            yield events
            return
        in_time, letters = split_late(events, at.micros, self._length_us, self._lateness_us)
        if in_time.num_rows:
            yield in_time
        if letters is not None:
            yield beam.pvalue.TaggedOutput(DEAD, letters)


class SieveLate(beam.PTransform):
    """EVENT batches → EVENT batches within the allowed lateness, and dead letters.

    Context and governance events pass: the watermark does not wait for their topics when idle.
    """

    def __init__(self, *, length_s: float, lateness_s: float) -> None:
        super().__init__()
        self._length_us, self._lateness_us = int(length_s * 1e6), int(lateness_s * 1e6)

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        types = {DEAD: pa.RecordBatch}
        return pcoll | "Sieve" >> beam.ParDo(
            _Sieve(self._length_us, self._lateness_us)
        ).with_output_types(pa.RecordBatch, **types).with_outputs(DEAD, main=MAIN)
