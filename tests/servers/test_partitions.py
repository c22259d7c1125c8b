"""A topic that grows under a running job: it is drained, and says so."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from pipelines.config import Config, Kafka
from pipelines.kafka.clients import python_settings
from pipelines.kafka.publish import publish
from pipelines.kafka.topics import create_topics
from pipelines.live.job_process import newest_checkpoint
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.errors import AffectstreamError
from tests.support.live_runs import (
    CONSTANT,
    QUIET,
    Running,
    live_config,
    run_to_end,
    table,
    wait_for,
)

EVENTS = 500


@pytest.mark.kafka
@pytest.mark.flink
def test_a_topic_that_grows_ends_the_job_and_a_new_state_reads_all_of_it(
    new_broker: Callable, jars: Path, tmp_path: Path, keys: Path
) -> None:
    kafka = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(kafka, 1)
    config = live_config(kafka, jars, tmp_path, keys, models=CONSTANT)
    first, second = (
        write_bench_log(tmp_path / name, EVENTS, subjects=20, seed=seed).folder
        for name, seed in (("first", 1), ("second", 2))
    )
    publish(first, kafka, console=QUIET)
    with pytest.raises(AffectstreamError, match=r"session\.text has 3 partitions now"):
        _run_while_it_grows(config)
    publish(second, kafka, console=QUIET)
    anew = config.live.model_copy(update={"state": tmp_path / "anew"})
    run_to_end(config.model_copy(update={"live": anew}))
    assert len(table(config.tables, "observations")) == 2 * EVENTS


def _run_while_it_grows(config: Config) -> None:
    with Running(config) as running:
        wait_for(lambda: bool(newest_checkpoint(config.live.state) or running.error))
        admin = KafkaAdminClient(**python_settings(config.kafka))
        admin.create_partitions({"session.text": 3})
        admin.close()
        running.join(120)
