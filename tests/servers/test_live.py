"""The live job gives the tables that a replay of the same log gives."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from live_runs import COMPARED, QUIET, live_config, run_to_end, same, same_letters, table

from pipelines.config import Config, Kafka, load_config
from pipelines.publish import publish
from pipelines.replay import replay
from pipelines.sessionlogs.sample import write_sample
from pipelines.topics import create_topics
from schemas.events import CONTEXTS, RAW, SESSIONS
from transforms.decode import decode_batch
from transforms.stage import MAIN

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
_DELAY = timedelta(seconds=2)
_WINDOW = timedelta(seconds=5)
_EPOCH = datetime.fromtimestamp(0, UTC)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "session").folder


def run_both(
    log: Path, keys: Path, jars: Path, new_broker: Callable, folder: Path,
    partitions: int, parallelism: int,
) -> tuple[Config, Config]:  # fmt: skip
    """Replay a log, publish and process it live; return the settings of both runs."""
    replayed = load_config(None, log=log, tables=folder / "replayed", keys=keys)
    replay(replayed, QUIET)
    kafka = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(kafka, partitions)
    publish(log, kafka, console=QUIET)
    config = live_config(kafka, jars, folder, keys, live={"parallelism": parallelism})
    assert run_to_end(config).starts == 1
    return replayed, config


def out_of_order(log: Path) -> dict[str, datetime]:
    """Return id and time of the session events that came too late for their window to wait."""
    late = {}
    latest = _EPOCH + _DELAY
    for row in _session_events(log):
        at = row["event_time"]
        end = _EPOCH + ((at - _EPOCH) // _WINDOW + 1) * _WINDOW
        if end <= latest - _DELAY:
            late[row["event_id"]] = at
        latest = max(latest, at)
    return late


def _session_events(log: Path) -> list[dict]:
    """Return id, time and place in the log of its session events, in the order of the log."""
    raw = pq.read_table(log).cast(RAW).combine_chunks().to_batches()[0]
    place = {
        key: number
        for number, key in enumerate(
            zip(*(raw[name].to_pylist() for name in ("topic", "partition", "offset")), strict=True)
        )
    }
    events = [
        row
        for tag, batch in decode_batch(raw)
        if tag == MAIN and batch["topic"][0].as_py() in (*SESSIONS, *CONTEXTS)
        for row in batch.select(
            ["event_id", "event_time", "topic", "partition", "offset"]
        ).to_pylist()
    ]
    return sorted(events, key=lambda r: place[r["topic"], r["partition"], r["offset"]])


def without(log: Path, ids: set[str], folder: Path) -> Path:
    """Write the log anew without the events of these ids."""
    raw = pq.read_table(log).cast(RAW).combine_chunks().to_batches()[0]
    dropped = {
        (row["topic"], row["partition"], row["offset"])
        for row in _session_events(log)
        if row["event_id"] in ids
    }
    places = zip(*(raw[n].to_pylist() for n in ("topic", "partition", "offset")), strict=True)
    kept = raw.filter(pa.array([place not in dropped for place in places]))
    folder.mkdir()
    pq.write_table(pa.Table.from_batches([kept]), folder / "part-0.parquet")
    return folder


def test_live_tables_are_those_of_a_replay(
    sample: Path, keys: Path, jars: Path, new_broker: Callable, tmp_path: Path
) -> None:
    log = without(sample, set(out_of_order(sample)), tmp_path / "in-order")
    assert not out_of_order(log)
    replayed, config = run_both(log, keys, jars, new_broker, tmp_path, 3, 1)
    for name in COMPARED:
        same(table(replayed.tables, name), table(config.tables, name))
    same_letters(replayed.tables, config.tables)
    graph = beam_runner_api_pb2.Pipeline.FromString(
        (config.live.state / "pipeline.pb").read_bytes()
    )
    closing = {w.closing_behavior for w in graph.components.windowing_strategies.values()}
    assert closing == {beam_runner_api_pb2.ClosingBehavior.EMIT_IF_NONEMPTY}, "windows come twice"


def test_late_events_become_revisions_and_change_only_decisions_after_them(
    sample: Path, keys: Path, jars: Path, new_broker: Callable, tmp_path: Path
) -> None:
    late = out_of_order(sample)
    assert len(late) > 20
    replayed, config = run_both(sample, keys, jars, new_broker, tmp_path, 2, 2)
    for name in set(COMPARED) - {"expression_decisions", "review_queue"}:
        same(table(replayed.tables, name), table(config.tables, name))
    same_letters(replayed.tables, config.tables)
    seen = table(replayed.tables, "observations").select(["event_id", "subject_ref"]).to_pylist()
    first: dict[str, datetime] = {}
    for row in seen:
        if (at := late.get(row["event_id"])) is not None:
            first[row["subject_ref"]] = min(at, first.get(row["subject_ref"], at))
    wanted, made = (
        _undisturbed(table(root, "expression_decisions"), first)
        for root in (replayed.tables, config.tables)
    )
    assert len(wanted) > 50, "too few decisions before a late event to compare"
    same(wanted, made)


def _undisturbed(decisions: pa.Table, first: dict[str, datetime]) -> pa.Table:
    """Keep the decisions of each subject up to the window of its first late event."""
    ends = decisions["window_end"]
    keep = [
        subject not in first or end <= first[subject]
        for subject, end in zip(decisions["subject_ref"].to_pylist(), ends.to_pylist(), strict=True)
    ]
    return decisions.filter(pa.array(np.array(keep)))
