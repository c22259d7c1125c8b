"""The live job gives the tables that a replay of the same log gives."""

from collections.abc import Callable
from pathlib import Path

import pytest
from live_runs import COMPARED, QUIET, live_config, run_to_end, same, same_letters, table

from pipelines.config import Config, Kafka, load_config
from pipelines.publish import publish
from pipelines.replay import replay
from pipelines.sessionlogs.sample import write_sample
from pipelines.topics import create_topics

pytestmark = [pytest.mark.kafka, pytest.mark.flink]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Config:
    """The built-in sample, all faults included, through the embedded runner."""
    folder = tmp_path_factory.mktemp("replayed")
    log = write_sample(folder / "session").folder
    config = load_config(None, log=log, tables=folder / "tables", keys=keys)
    replay(config, QUIET)
    return config


@pytest.mark.parametrize(("partitions", "parallelism"), [(3, 1), (2, 2)])
def test_live_tables_are_those_of_a_replay(
    new_broker: Callable, jars: Path, replayed: Config, tmp_path: Path,
    partitions: int, parallelism: int,
) -> None:  # fmt: skip
    kafka = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(kafka, partitions)
    publish(replayed.recorded, kafka, console=QUIET)
    config = live_config(kafka, jars, tmp_path, replayed.keys, live={"parallelism": parallelism})
    supervisor = run_to_end(config)
    assert supervisor.starts == 1
    for name in COMPARED:
        same(table(replayed.tables, name), table(config.tables, name))
    same_letters(replayed.tables, config.tables)
