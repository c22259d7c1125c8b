"""Windows in the graph: triggers, lateness, shards and counters."""

from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from schemas.arrow import take_rows
from schemas.settings import Windows
from tests.support.windows import END, START, observed
from transforms.sources.recorded import MAX_ROWS
from transforms.window import MAX_HELD, WindowSessions, _SplitByShard


def run_stream(stream: TestStream, expected: list[tuple[int, bool]]) -> None:
    """Compare (revision, late) of every pane that comes out."""
    options = PipelineOptions()
    options.view_as(StandardOptions).streaming = True
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=options) as p:
        batches = p | stream
        batches.element_type = pa.RecordBatch
        panes = batches | WindowSessions(windows=Windows(length_s=5, lateness_s=60, shards=4))
        found = panes | beam.FlatMap(
            lambda b: list(zip(b["revision"].to_pylist(), b["late"].to_pylist(), strict=True))
        )

        def check(seen: list[tuple[int, bool]]) -> None:
            assert sorted(seen) == expected

        assert_that(found, check)


def at(second: float) -> float:
    return START.timestamp() + second


def test_a_late_event_gives_a_higher_revision_of_the_same_row() -> None:
    stream = (
        TestStream()
        .advance_watermark_to(at(0))
        .add_elements([observed(1, 1), observed(2, 2)])
        .advance_watermark_to(at(6))
        .add_elements([observed(3, 3)])
        .advance_watermark_to(at(30))
        .add_elements([observed(3, 3)])
        .advance_watermark_to_infinity()
    )
    run_stream(stream, [(2, False), (3, True), (3, True)])


def test_beyond_the_lateness_nothing_is_revised() -> None:
    stream = (
        TestStream()
        .advance_watermark_to(at(0))
        .add_elements([observed(1, 1)])
        .advance_watermark_to(at(5 + 61))
        .add_elements([observed(2, 2)])
        .advance_watermark_to_infinity()
    )
    run_stream(stream, [(1, False)])


def pieces_of(split: _SplitByShard, batches: list[pa.RecordBatch]) -> list[list[tuple]]:
    """Return (shard, time, rows) of each piece, by the batch after which it came; last the rest."""
    split.start_bundle()
    out = [[(*found.value, found.timestamp) for found in split.process(given)] for given in batches]
    rest = list(split.finish_bundle())
    assert all(found.windows == (GlobalWindow(),) for found in rest)
    out.append([(*found.value, found.timestamp) for found in rest])
    return out


def test_a_worker_collects_rows_up_to_a_bound_and_sends_all_of_them() -> None:
    full = take_rows(observed(1, 1), np.zeros(MAX_ROWS, np.int64))
    batches = [full] * (MAX_HELD // MAX_ROWS + 2)
    after = pieces_of(_SplitByShard(4, 5_000_000), batches)
    sizes = [sum(piece.num_rows for _, piece, _ in found) for found in after]
    assert sum(sizes) == len(batches) * MAX_ROWS
    assert max(sizes) <= MAX_HELD < max(sizes) + MAX_ROWS
    assert sizes[: MAX_HELD // MAX_ROWS - 1] == [0] * (MAX_HELD // MAX_ROWS - 1)
    assert pieces_of(_SplitByShard(4, 5_000_000), []) == [[]], "a bundle of nothing sends nothing"


def test_a_piece_stands_at_its_earliest_event() -> None:
    given_rows = [observed(2, 7.25), observed(1, 6.5)]
    _, _, rest = pieces_of(_SplitByShard(4, 5_000_000), given_rows)
    ((shard, piece, at_time),) = rest
    assert (shard, piece.num_rows) == (0xAAAA % 4, 2)
    assert at_time == Timestamp.of(at(6.5))


def counters(result: Any) -> dict[str, int]:
    found = result.metrics().query()["counters"]
    return {
        one.key.metric.name: one.result
        for one in found
        if one.key.metric.namespace == "WindowSessions"
    }


def test_the_graph_windows_by_shard_and_counts_what_came_twice() -> None:
    rows = [observed(n, second) for n, second in enumerate((0.5, 4.5, 5.0, 12.0))]
    p = beam.Pipeline(runner=FnApiRunner())
    out = (
        p
        | beam.Create([*rows, rows[1]]).with_output_types(pa.RecordBatch)
        | WindowSessions(windows=Windows(length_s=5, lateness_s=60, shards=4))
    )

    def check(found: list[pa.RecordBatch]) -> None:
        seen = [row for one in found for row in one.to_pylist()]
        starts = [((row["window_start"] - START).total_seconds(), row["revision"]) for row in seen]
        assert sorted(starts) == [(0, 2), (5, 1), (10, 1)]
        assert {row["window_end"] - row["window_start"] for row in seen} == {END - START}
        assert {row["late"] for row in seen} == {False}
        assert {row["shard"] for row in seen} == {0xAAAA % 4}

    assert_that(out, check)
    result = p.run()
    result.wait_until_finish()
    found = counters(result)
    assert found.pop("busy_us") > 0
    assert found == {"rows_in": 5, "rows_out": 3, "batches": 3, "repeated": 1}
