"""A disk that fills under a running job: it is drained, says so, and goes on as a command."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipelines.config import Config, Kafka
from pipelines.kafka.publish import publish
from pipelines.live.disk import check_room
from pipelines.live.job_process import newest_checkpoint
from pipelines.live.state_folder import hold_state_folder
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.errors import AffectstreamError
from tests.support.live_runs import CONSTANT, QUIET, Running, live_config, table, wait_for

COMMAND = Path(sys.executable).with_name("affectstream")
EVENTS = 500
FILLED = 2 << 30
"""Bytes; whatever else runs on this machine writes less in half a minute."""


def test_room_is_looked_for_where_tables_and_checkpoints_are(tmp_path: Path, keys: Path) -> None:
    config = live_config(Kafka(), tmp_path, tmp_path, keys)
    check_room(config)
    short = config.live.model_copy(update={"least_free_mb": 1 << 40})
    with pytest.raises(AffectstreamError, match=r"the checkpoints in .* make room"):
        check_room(config.model_copy(update={"live": short}))
    stored = config.model_copy(update={"tables": "s3://bucket/place"})
    check_room(stored)
    assert not config.live.state.exists()


@pytest.mark.kafka
@pytest.mark.flink
def test_a_disk_that_fills_drains_the_job_and_the_next_start_goes_on(
    kafka: Kafka, jars: Path, tmp_path: Path, keys: Path
) -> None:
    least_mb = (shutil.disk_usage(tmp_path).free - FILLED // 2) >> 20
    config = live_config(
        kafka, jars, tmp_path, keys, models=CONSTANT, live={"least_free_mb": least_mb}
    )
    log = write_bench_log(tmp_path / "log", EVENTS, subjects=20).folder
    publish(log, kafka, console=QUIET)
    balloon = tmp_path / "balloon"
    with Running(config) as running:
        wait_for(lambda: bool(newest_checkpoint(config.live.state) or running.error))
        with balloon.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, FILLED)
        with pytest.raises(AffectstreamError, match=r"`live\.least_free_mb` .* make room"):
            running.join(120)
        assert running.supervisor.starts == 1
    balloon.unlink()
    more = write_bench_log(tmp_path / "more", EVENTS, subjects=20, seed=2).folder
    _go_on_by_commands(config, more, tmp_path / "back")
    assert len(table(config.tables, "observations")) == 2 * EVENTS


def _go_on_by_commands(config: Config, log: Path, recorded: Path) -> None:
    """Run the job as a person does, publish to it and record, and end it by SIGTERM."""
    path = recorded.with_suffix(".yaml")
    path.write_text(config.model_dump_json(exclude_none=True))
    job = subprocess.Popen([COMMAND, "live", "--config", path], stderr=subprocess.PIPE, text=True)
    try:
        assert "created expression.decisions" in _told("topics", "create", "--config", path)
        assert "all topics are there" in _told("topics", "create", "--config", path)
        before = _landed(config)
        assert "records in" in _told("publish", log, "--retime", "--config", path)
        assert "records in" in _told("record", recorded, "--config", path)
        assert "a live job runs with the state" in _told("live", "--config", path, status=1)
        wait_for(lambda: _landed(config) > before or job.poll() is not None)
        job.send_signal(signal.SIGTERM)
        said = job.communicate(timeout=120)[1]
    finally:
        job.kill()
        job.wait()
        with hold_state_folder(config.live.state):
            pass  # it ends what is left where the test fails
    assert job.returncode == 0, said


def _landed(config: Config) -> int:
    return DeltaTable(f"{config.tables}/observations").version()


def _told(*arguments: object, status: int = 0) -> str:
    command = [COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr
