"""What a writer's commits look like to others, and the graph that makes them."""

import datetime as dt
import math
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that
from deltalake import DeltaTable

from schemas.events import TIME
from schemas.stages import DEAD
from schemas.table import PARTITION
from schemas.tables import EMOTION_FEATURES, OBSERVED, REVIEW_QUEUE
from transforms.land import ROWS_A_COMMIT, LandTable, _Commit
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables

MINUTE = dt.datetime(2026, 9, 1, 10, 30, tzinfo=dt.UTC)


def observed(*rows: tuple[str, float, int]) -> pa.RecordBatch:
    """Rows of (event id, second of the minute, content); the offset is that of the row."""
    full = []
    for offset, (event_id, second, content) in enumerate(rows):
        at = MINUTE + dt.timedelta(seconds=second)
        row = {"event_id": event_id, "event_time": at, "event_date": at.date(), "modality": "face"}
        row |= {"content": content, "partition": 3, "offset": offset}
        full.append({name: row.get(name) for name in OBSERVED.names})
    return pa.RecordBatch.from_pylist(full, schema=OBSERVED)


def features(*rows: tuple[int, int]) -> pa.RecordBatch:
    full = []
    for number, revision in rows:
        start = MINUTE + dt.timedelta(seconds=5 * number)
        row = {"window_id": f"w{number}", "window_start": start, "revision": revision}
        row |= {"event_date": start.date()}
        full.append({name: row.get(name) for name in EMOTION_FEATURES.names})
    return pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def table(root: Path, name: str) -> DeltaTable:
    return DeltaTable(str(root / name))


def test_each_commit_is_the_next_transaction(root: Path) -> None:
    """Appends and merges alike; a repetition is none, and any writer goes on with the number."""
    parts = [((0, 1), 1), ((1, 1), 2), ((0, 2), 3), ((0, 2), 3), ((0, 1), 3), ((2, 1), 4)]
    made = table(root, "emotion_features").version()
    for row, version in parts:
        TableWriter(root, "emotion_features").commit([features(row)])
        assert table(root, "emotion_features").transaction_version("affectstream") == version
        assert table(root, "emotion_features").version() == made + version


@pytest.mark.parametrize("remember", [False, True])
@pytest.mark.parametrize(("first", "then"), [(0.0, 59.999999), (59.999999, 0.0), (7.0, 7.0)])
def test_an_id_stands_for_one_event_in_all_of_its_minute(
    root: Path, remember: bool, first: float, then: float
) -> None:
    writer = TableWriter(root, "observations", remember_s=75.0 if remember else None)
    assert writer.land([observed(("a", first, 1))]).new == 1
    again, other = (writer.land([observed(("a", then, content))]) for content in (1, 2))
    assert (again.new, len(again.reused)) == (0, 0)
    assert (other.new, other.reused["content"].to_pylist()) == (0, [2])


@pytest.mark.parametrize("remember", [False, True])
def test_of_many_minutes_each_row_is_looked_for_in_its_own(root: Path, remember: bool) -> None:
    stands = [(f"e{n}", 60.0 * n + 59, 5) for n in range(8)]
    TableWriter(root, "observations").land([observed(*stands)])
    writer = TableWriter(root, "observations", remember_s=75.0 if remember else None)
    landed = writer.land([observed(*((name, at - 59, 5) for name, at, _ in stands), ("f", 1, 1))])
    assert (landed.new, len(landed.reused)) == (1, 0)
    landed = writer.land([observed(*((name, at - 59, 6) for name, at, _ in stands[2:4]))])
    assert landed.reused["event_id"].to_pylist() == ["e2", "e3"]


def test_of_one_commit_the_record_that_came_first_stands(root: Path) -> None:
    rows = observed(("a", 9, 1), ("b", 1, 7), ("a", 3, 2), ("a", 5, 1))
    landed = TableWriter(root, "observations").land([rows.take(pa.array([3, 2, 1, 0]))])
    assert (landed.new, landed.reused["offset"].to_pylist()) == (2, [2])
    found = table(root, "observations").to_pyarrow_table().to_pylist()
    assert {row["event_id"]: row["content"] for row in found} == {"a": 1, "b": 7}
    assert not {"partition", "offset"} & set(found[0]), "places of records do not land"


def test_of_one_commit_the_highest_revision_stands(root: Path) -> None:
    batches = [features((3, 2), (4, 1)), features((3, 5), (3, 4)), features((4, 1))]
    landed = TableWriter(root, "emotion_features").land(batches)
    assert (landed.new, len(landed.reused)) == (2, 0)
    found = table(root, "emotion_features").to_pyarrow_table(columns=["window_id", "revision"])
    assert sorted(found.to_pylist(), key=str) == [
        {"window_id": "w3", "revision": 5},
        {"window_id": "w4", "revision": 1},
    ]


def test_one_merge_adds_what_is_new_and_replaces_what_is_higher(root: Path) -> None:
    """Over midnight too, and nothing of other rows is touched."""
    days = 24 * 60 * 12  # windows in a day
    writer = TableWriter(root, "emotion_features")
    writer.commit([features((0, 3), (1, 3), (days, 3))])
    assert writer.commit([features((0, 2), (1, 4), (days, 4), (days + 1, 1))]) == 3
    found = table(root, "emotion_features").to_pyarrow_table().to_pylist()
    assert {row["window_id"]: row["revision"] for row in found} == {
        "w0": 3, "w1": 4, f"w{days}": 4, f"w{days + 1}": 1,
    }  # fmt: skip
    assert len(found) == 4


def reviews(count: int, start: int) -> pa.RecordBatch:
    """New rows of the review queue, of which only what a writer looks at is filled."""
    known = {
        "review_id": pa.array([f"r{n}" for n in range(start, start + count)]),
        "window_end": pa.repeat(pa.scalar(MINUTE, TIME), count),
        PARTITION: pa.repeat(pa.scalar(MINUTE.date()), count),
    }
    columns = [known.get(f.name, pa.nulls(count, f.type)) for f in REVIEW_QUEUE]
    return pa.record_batch(columns, schema=REVIEW_QUEUE)


def commit_bundle(root: Path, sizes: list[int], start: int) -> list[int]:
    """Send a bundle of batches of new rows; return the commits so far after each, and at last."""
    commit, versions = _Commit(root, "review_queue", None), []
    commit.setup()
    commit.start_bundle()
    for size in sizes:
        assert list(commit.process(reviews(size, start))) == []
        versions.append(table(root, "review_queue").transaction_version("affectstream") or 0)
        start += size
    assert list(commit.finish_bundle()) == []
    return [*versions, table(root, "review_queue").transaction_version("affectstream") or 0]


def test_a_bundle_is_one_commit_unless_it_is_large(root: Path) -> None:
    third = math.ceil(ROWS_A_COMMIT / 3)
    assert commit_bundle(root, [10, 10], 0) == [0, 0, 1]
    assert commit_bundle(root, [], 20) == [1]
    assert commit_bundle(root, [third, third, third, 7], 20) == [1, 1, 2, 2, 3]
    assert table(root, "review_queue").to_pyarrow_table().num_rows == 20 + 3 * third + 7


def counters(result: Any, stage: str) -> dict[str, int]:
    found = result.metrics().query()["counters"]
    return {c.key.metric.name: c.result for c in found if c.key.metric.namespace == stage}


def test_the_graph_lands_rows_and_tells_of_reused_ids(root: Path) -> None:
    p = beam.Pipeline(runner=FnApiRunner())
    rows = observed(("a", 1, 1), ("b", 2, 1), ("a", 1, 1), ("a", 4, 2))
    landed = (
        p
        | beam.Create([rows]).with_output_types(pa.RecordBatch)
        | LandTable(root=root, table="observations", reach_s=65.0)
    )

    def check(found: list[pa.RecordBatch]) -> None:
        (letter,) = [row for part in found for row in part.to_pylist()]
        assert (letter["stage"], letter["code"]) == ("LandTable", "id_reused")
        assert (letter["topic"], letter["partition"], letter["offset"]) == ("session.face", 3, 3)
        assert letter["event_id"] == "a"
        assert letter["event_time"] == MINUTE + dt.timedelta(seconds=4)
        assert "another event" in letter["detail"]

    assert_that(landed[DEAD], check)
    result = p.run()
    result.wait_until_finish()
    found = counters(result, "Land:observations")
    assert found.pop("busy_us") > 0
    assert found == {"rows_in": 4, "rows_out": 2, "batches": 1, "dead_id_reused": 1}
    assert table(root, "observations").to_pyarrow_table().num_rows == 2


def test_a_streaming_job_commits_each_pane_by_one_writer(root: Path) -> None:
    made = table(root, "emotion_features").version()
    options = PipelineOptions()
    options.view_as(StandardOptions).streaming = True
    stream = (
        TestStream()
        .add_elements([features((0, 1))])
        .add_elements([features((1, 1))])
        .add_elements([features((2, 1), (0, 1))])
        .advance_watermark_to_infinity()
    )
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=options) as p:
        rows = p | stream
        rows.element_type = pa.RecordBatch
        _ = rows | LandTable(root=root, table="emotion_features", reach_s=65.0)
    found = table(root, "emotion_features")
    assert sorted(found.to_pyarrow_table()["window_id"].to_pylist()) == ["w0", "w1", "w2"]
    assert found.version() == made + 3
