"""SieveLate: events later than allowed → dead letters, before anything infers from them."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode
from schemas.stages import DEAD, MAIN, Stage
from transforms.stage import Outputs, count_dead, stage_counters

LATE = GlobalWindow().max_timestamp()
"""The timestamp of batches of late records; the source keeps them apart from all others."""

_DETAIL = "the event's window was closed for longer than the allowed lateness"


class _Sieve(beam.DoFn):
    """Sorts batches by their timestamp.

    The source judged each record by the watermark of its own partition. The watermark of the
    windows, the minimum over partitions, is never ahead of that: what passes here is never dropped
    there, where it would be silent. A recorded log has no late record.
    """

    def setup(self) -> None:
        self._rows_in, self._rows_out, _, self._batches = stage_counters(Stage.SIEVE)

    def process(
        self, events: pa.RecordBatch, at: Timestamp = beam.DoFn.TimestampParam
    ) -> Iterator[Any]:
        self._rows_in.inc(events.num_rows)
        self._batches.inc()
        if at < LATE:
            self._rows_out.inc(events.num_rows)
            yield events
            return
        letters = dead_letters(events, stage=Stage.SIEVE, code=DeadLetterCode.LATE, detail=_DETAIL)
        count_dead(Stage.SIEVE, letters)
        yield beam.pvalue.TaggedOutput(DEAD, letters)


class SieveLate(beam.PTransform):
    """EVENT batches → those within the allowed lateness, and dead letters of the others."""

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        types = {DEAD: pa.RecordBatch}
        return pcoll | "Sieve" >> beam.ParDo(_Sieve()).with_output_types(
            pa.RecordBatch, **types
        ).with_outputs(DEAD, main=MAIN)
