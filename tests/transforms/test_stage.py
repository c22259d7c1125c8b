"""The one DoFn of all stateless stages counts what goes through it and the time that it takes."""

import functools
import time
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from schemas.stages import DEAD, MAIN, Tagged
from tests.support.records import IDS, raw, record
from transforms.decode import decode_batch
from transforms.stage import RunStage, run_stage


class _Counter:
    def __init__(self) -> None:
        self.count = 0

    def inc(self, by: int = 1) -> None:
        self.count += by


def _at_once(batch: pa.RecordBatch) -> Tagged:
    time.sleep(0.05)
    return [(MAIN, batch), (DEAD, batch.slice(0, 0)), (DEAD, batch.slice(1))]


def _one_by_one(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    yield from _at_once(batch)


@pytest.mark.parametrize("work", [_at_once, _one_by_one])
def test_a_stage_counts_its_rows_and_its_time(work) -> None:
    stage = RunStage("Work", lambda: work)
    stage.setup()
    stage._rows_in, stage._rows_out, stage._busy_us = _Counter(), _Counter(), _Counter()
    stage._batches = _Counter()
    batch = pa.record_batch({"code": ["late", "late", "poison"]})
    main, dead = stage.process(batch)
    assert main is batch
    assert (dead.tag, dead.value.num_rows) == (DEAD, 2)
    assert (stage._rows_in.count, stage._rows_out.count) == (3, 3)
    assert 50_000 <= stage._busy_us.count < 500_000
    assert stage._batches.count == 1


def test_what_is_handed_on_takes_no_time_of_the_stage() -> None:
    stage = RunStage("Work", lambda: _one_by_one)
    stage.setup()
    stage._busy_us = _Counter()
    for _ in stage.process(pa.record_batch({"code": ["a", "b", "c"]})):
        time.sleep(0.2)
    assert stage._busy_us.count < 200_000


def test_dead_letters_are_counted_by_code() -> None:
    records = raw(
        record("erasure", 1, {}) | {"headers": [], "key": None},
        *(record("text", n, b"{") for n in (2, 3)),
    )
    pipeline = beam.Pipeline(runner=FnApiRunner())
    decode = functools.partial(decode_batch, ids=IDS)
    pipeline | beam.Create([records], reshuffle=False) | StageOf(decode)
    result = pipeline.run()
    result.wait_until_finish()
    found = {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}
    assert found["dead_governance_unreadable"] == 1
    assert found["dead_bad_json"] == 2


class StageOf(beam.PTransform):
    """The stage Work around one function."""

    def __init__(self, work) -> None:
        super().__init__()
        self._work = work

    def expand(self, pcoll: beam.PCollection) -> object:
        return run_stage(pcoll, "Work", lambda: self._work)[DEAD]
