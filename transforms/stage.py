"""The glue between Beam and a pure function on batches: one DoFn for every stateless stage."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

import schemas.arrow  # noqa: F401  registers the coder of record batches

DEAD = "dead_letters"
REFUSED = "refusals"

Tagged = Iterable[tuple[str, pa.RecordBatch]]
"""(output tag, batch): the tag MAIN for what goes on, DEAD or REFUSED for what does not."""

Outputs = Any
"""A ``DoOutputsTuple``, tag → collection; Beam warns of each ``expand`` that is annotated so."""

MAIN = "events"


@contextmanager
def timed(counter: Any) -> Iterator[None]:
    """Add the block's microseconds to a Beam counter."""
    started = time.perf_counter_ns()
    yield
    counter.inc((time.perf_counter_ns() - started) // 1000)


def stage_counters(stage: str) -> tuple[Any, Any, Any]:
    """Return the Beam counters ``rows_in``, ``rows_out`` and ``busy_us`` of a stage."""
    rows_in, rows_out, busy_us = (
        Metrics.counter(stage, name) for name in ("rows_in", "rows_out", "busy_us")
    )
    return rows_in, rows_out, busy_us


class RunStage(beam.DoFn):
    """Runs one pure function on every batch and counts rows and busy time.

    ``make`` builds the function in the worker, so that keys, policies and models are loaded there
    and never pickled. Empty batches are dropped.
    """

    def __init__(self, stage: str, make: Callable[[], Callable[[pa.RecordBatch], Tagged]]) -> None:
        self._stage = stage
        self._make = make

    def setup(self) -> None:
        self._run = self._make()
        self._rows_in, self._rows_out, self._busy_us = stage_counters(self._stage)

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        """Hand each result on before the next is made: media of a batch could be gigabytes."""
        self._rows_in.inc(batch.num_rows)
        with timed(self._busy_us):  # all of the work, where it is no generator
            results = iter(self._run(batch))
        while True:
            with timed(self._busy_us):
                tag, out = next(results, (MAIN, None))
            if out is None:
                return
            if not out.num_rows:
                continue
            if tag == MAIN:
                self._rows_out.inc(out.num_rows)
                yield out
            else:
                yield beam.pvalue.TaggedOutput(tag, out)


def run_stage(
    batches: beam.PCollection,
    stage: str,
    make: Callable[[], Callable[[pa.RecordBatch], Tagged]],
    *tags: str,
) -> Outputs:
    """Apply ``RunStage``; the outputs are MAIN and these tags, each of record batches."""
    types = dict.fromkeys(tags, pa.RecordBatch)
    step = beam.ParDo(RunStage(stage, make)).with_output_types(pa.RecordBatch, **types)
    return batches | stage >> step.with_outputs(*tags, main=MAIN)
