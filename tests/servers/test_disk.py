"""A disk that fills under a running job: the job is drained, and says so."""

import os
import shutil
from pathlib import Path

import pytest
from live_runs import CONSTANT, QUIET, Running, live_config, run_to_end, table, wait_for

from pipelines.config import Kafka
from pipelines.disk import check_room
from pipelines.job_process import newest_checkpoint
from pipelines.publish import publish
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.errors import AffectstreamError

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
    run_to_end(config)
    assert len(table(config.tables, "observations")) == EVENTS
