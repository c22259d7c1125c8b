"""Tables in an object store: several writers at once, and reading back."""

from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipelines.config import Kafka, load_config
from pipelines.kafka.publish import publish
from pipelines.kafka.record import record
from pipelines.run.replay import replay
from pipelines.sessionlogs.bench_log import write_bench_log
from pipelines.tables.query import query, tables
from schemas.errors import AffectstreamError
from schemas.tables import REFUSALS, on_its_way
from tests.support.live_runs import COMPARED, CONSTANT, QUIET, live_config, run_to_end, same, table
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables

pytestmark = pytest.mark.s3

WRITERS, COMMITS, ROWS = 2, 8, 25


def refusals(first: int) -> pa.RecordBatch:
    at = datetime(2026, 9, 1, 10, tzinfo=UTC)
    texts = {f.name: "x" for f in REFUSALS if f.type == pa.string()}
    rows = [
        texts
        | {"event_id": f"{n:032x}", "offset": n, "partition": 0, "content": 1}
        | {"event_time": at, "event_date": at.date()}
        for n in range(first, first + ROWS)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=on_its_way(REFUSALS))


def write(root: str, number: int) -> None:
    """Commit this writer's rows, every second commit of which the other writer makes too."""
    writer = TableWriter(root, "refusals")
    for turn in range(COMMITS):
        place = turn * WRITERS + (number if turn % 2 else 0)
        writer.commit([refusals(place * ROWS)])


def test_two_writers_at_once_lose_nothing_and_write_nothing_twice(store: str) -> None:
    root = f"{store}/race"
    prepare_tables(root)
    with get_context("spawn").Pool(WRITERS) as pool:
        pool.starmap(write, [(root, number) for number in range(WRITERS)])
    found = query(root, "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM refusals")
    distinct = COMMITS // 2 * ROWS + COMMITS // 2 * WRITERS * ROWS
    assert found.to_pylist() == [{"n": distinct, "ids": distinct}]


def test_a_replay_into_the_store_gives_what_a_replay_into_a_folder_gives(
    store: str, tmp_path: Path, keys: Path
) -> None:
    write_bench_log(tmp_path / "session", 400, subjects=8)
    given = {
        "log": tmp_path / "session" / "log",
        "keys": keys,
        "models": CONSTANT,
    }
    counts = []
    for root in (f"{store}/replay", f"{store}/replay", tmp_path / "tables"):
        replay(load_config(None, tables=root, **given), QUIET)
        counts.append(tables(root))
    assert counts[0] == counts[1] == counts[2]
    assert counts[0]["emotion_features"] > 0


@pytest.mark.kafka
@pytest.mark.flink
def test_a_live_job_lands_in_the_store_what_a_replay_lands_in_a_folder(
    store: str, kafka: Kafka, jars: Path, keys: Path, tmp_path: Path
) -> None:
    log = write_bench_log(tmp_path / "session", 2_000, subjects=8).folder
    publish(log, kafka, retime=True, console=QUIET)
    local = live_config(kafka, jars, tmp_path, keys, models=CONSTANT)
    config = local.model_copy(update={"tables": f"{store}/live"})
    run_to_end(config)
    recorded = tmp_path / "recorded"
    record(recorded, kafka, console=QUIET)
    expected = str(tmp_path / "expected")
    replay(load_config(None, log=recorded, tables=expected, keys=keys, models=CONSTANT), QUIET)
    assert len(table(expected, "observations")) > 1_900
    for name in COMPARED:
        same(table(expected, name), table(config.tables, name))


def test_a_query_reads_the_past_of_tables_in_the_store_and_what_changed(store: str) -> None:
    root = f"{store}/past"
    prepare_tables(root)
    counted = "SELECT count(*) AS n FROM refusals"
    writer = TableWriter(root, "refusals")
    writer.commit([refusals(0)])
    version = DeltaTable(f"{root}/refusals").version()
    between = datetime.now(UTC)
    writer.commit([refusals(ROWS)])
    assert query(root, counted, as_of=version)["n"].to_pylist() == [ROWS]
    assert query(root, counted, as_of=between)["n"].to_pylist() == [ROWS]
    assert query(root, counted, changes_since=version)["n"].to_pylist() == [ROWS]
    DeltaTable(f"{root}/refusals").optimize.compact()
    DeltaTable(f"{root}/refusals").vacuum(
        0, dry_run=False, enforce_retention_duration=False, full=True
    )
    with pytest.raises(AffectstreamError, match="after those that were vacuumed"):
        query(root, counted, as_of=version)
