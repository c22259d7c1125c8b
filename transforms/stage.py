"""The glue between Beam and a pure function on batches: one DoFn for every stateless stage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

import transforms.arrow_coder  # noqa: F401  registers the coder of record batches
from schemas.errors import AffectstreamError, BrokerAwayError
from schemas.stages import DEAD, MAIN, REFUSED, Tagged
from transforms.isolation.isolate import Isolation
from transforms.isolation.notes import report_broken

Outputs = Any
"""A ``DoOutputsTuple``, tag → collection; Beam warns of each ``expand`` that is annotated so."""


@contextmanager
def count_time(counter: Any) -> Iterator[None]:
    """Add the block's microseconds to a Beam counter."""
    started = time.perf_counter_ns()
    yield
    counter.inc((time.perf_counter_ns() - started) // 1000)


def stage_counters(stage: str) -> tuple[Any, Any, Any, Any]:
    """Return the Beam counters ``rows_in``, ``rows_out``, ``busy_us`` and ``batches`` of a stage.

    ``rows_in`` over ``batches`` is the mean size of what the stage works on at once.
    """
    rows_in, rows_out, busy_us, batches = (
        Metrics.counter(stage, name) for name in ("rows_in", "rows_out", "busy_us", "batches")
    )
    return rows_in, rows_out, busy_us, batches


def count_dead(stage: str, letters: pa.RecordBatch) -> None:
    """Count dead letters by code, as ``dead_CODE``: a monitor of the runner's sees them too."""
    for code in letters["code"].value_counts().to_pylist():
        Metrics.counter(stage, f"dead_{code['values']}").inc(code["counts"])


class RunStage(beam.DoFn):
    """Runs one pure function on every batch and counts rows and busy time.

    ``make`` builds the function in the worker, so that keys, policies and models are loaded there
    and never pickled. Empty batches are dropped. A row that makes the function raise becomes a
    dead letter (``transforms/isolation/isolate.py``).
    """

    def __init__(self, stage: str, make: Callable[[], Callable[[pa.RecordBatch], Tagged]]) -> None:
        self._stage = stage
        self._make = make

    def setup(self) -> None:
        """Build the function.

        What it needs and cannot have is told the supervisor too: the runner waits three minutes for
        a worker that fails before its first bundle, and then starts it again.
        """
        try:
            self._run = self._make()
        except AffectstreamError as error:
            if not isinstance(error, BrokerAwayError):  # that may pass
                report_broken(str(error))
            raise
        self._isolation = Isolation(self._stage)
        counters = stage_counters(self._stage)
        self._rows_in, self._rows_out, self._busy_us, self._batches = counters
        self._refused = Metrics.counter(self._stage, "refused")

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        """Hand each result on before the next is made: media of a batch could be gigabytes."""
        self._rows_in.inc(batch.num_rows)
        self._batches.inc()
        results = self._isolation.work(self._run, batch)
        while True:
            with count_time(self._busy_us):
                tag, out = next(results, (MAIN, None))
            if out is None:
                return
            if not out.num_rows:
                continue
            if tag == MAIN:
                self._rows_out.inc(out.num_rows)
                yield out
            else:
                if tag == DEAD:
                    count_dead(self._stage, out)
                elif tag == REFUSED:
                    self._refused.inc(out.num_rows)
                yield beam.pvalue.TaggedOutput(tag, out)


def run_stage(
    batches: beam.PCollection,
    stage: str,
    make: Callable[[], Callable[[pa.RecordBatch], Tagged]],
    *tags: str,
    placed: bool = True,
) -> Outputs:
    """Apply ``RunStage``; the outputs are MAIN, DEAD and these tags, each of record batches.

    Rows that are not ``placed`` in a topic cannot be dead letters, so there is no DEAD then.
    """
    types = dict.fromkeys((DEAD, *tags) if placed else tags, pa.RecordBatch)
    step = beam.ParDo(RunStage(stage, make)).with_output_types(pa.RecordBatch, **types)
    return batches | stage >> step.with_outputs(*types, main=MAIN)
