"""The live job on a standalone Flink cluster: it lands, survives a kill and ends with us."""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pytest

from infra.flink.flink_server import Cluster
from infra.processes import free_ports
from pipelines.config import Kafka
from pipelines.kafka.publish import publish
from pipelines.live.job_process import newest_checkpoint
from pipelines.sessionlogs.bench_log import write_bench_log
from tests.support.live_runs import CONSTANT, QUIET, Running, live_config, table, wait_for

EVENTS = 2_000


@pytest.fixture
def cluster(jars: Path, tmp_path: Path) -> Iterator[str]:
    """A job manager and a task manager."""
    rest, rpc = free_ports(2)
    made = Cluster(tmp_path / "cluster", rest, rpc)
    try:
        made.start()
        yield f"127.0.0.1:{rest}"
    finally:
        for process in made.processes:
            process.stop()


@pytest.mark.kafka
@pytest.mark.flink
def test_a_standalone_cluster_lands_each_event_once_over_a_restart(
    kafka: Kafka, jars: Path, tmp_path: Path, keys: Path, cluster: str
) -> None:
    config = live_config(
        kafka, jars, tmp_path, keys, models=CONSTANT, live={"flink_master": cluster}
    )
    log = write_bench_log(tmp_path / "log", EVENTS, subjects=20).folder
    publish(log, kafka, console=QUIET)
    with Running(config, until_end=True) as running:
        wait_for(lambda: bool(newest_checkpoint(config.live.state) or running.error))
        os.killpg(running.supervisor.job.driver_pid, signal.SIGKILL)
        running.join(240)  # the cluster's job went on without its driver, and was cancelled
    assert running.supervisor.starts == 2
    assert running.supervisor.job.restored is not None
    with urllib.request.urlopen(f"http://{cluster}/jobs/overview") as answer:
        assert {job["state"] for job in json.load(answer)["jobs"]} == {"CANCELED"}
    assert len(table(config.tables, "observations")) == EVENTS
    windows = table(config.tables, "emotion_features")
    counted = sum(pc.sum(windows[name]).as_py() for name in ("n_text", "n_motion"))
    assert counted == EVENTS  # what an open window had counted was in the checkpoint
