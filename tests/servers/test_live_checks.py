"""What a live job meets that it cannot use: one sentence, and an end."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata
from live_runs import CONSTANT, QUIET, live_config
from records import raw, record

from pipelines.config import Kafka
from pipelines.flink_job import check_graph
from pipelines.live import Supervisor
from pipelines.publish import publish
from pipelines.topics import check_topics
from schemas.errors import AffectstreamError


def graph(*names: str) -> beam_runner_api_pb2.Pipeline:
    proto = beam_runner_api_pb2.Pipeline()
    for number, name in enumerate(names):
        proto.components.transforms[f"t{number}"].unique_name = name
    return proto


def test_a_checkpoint_of_another_graph_is_not_restored(tmp_path: Path) -> None:
    check_graph(graph("ReadKafka", "Decode"), tmp_path, restoring=False)
    check_graph(graph("Decode", "ReadKafka"), tmp_path, restoring=True)
    with pytest.raises(AffectstreamError, match="another version of the graph"):
        check_graph(graph("ReadKafka", "Decode", "New"), tmp_path, restoring=True)
    check_graph(graph("ReadKafka", "Decode", "New"), tmp_path, restoring=False)


@pytest.mark.kafka
def test_a_missing_topic_is_one_sentence(new_broker: Callable) -> None:
    kafka = Kafka(bootstrap=new_broker().bootstrap)
    with pytest.raises(AffectstreamError, match="run `affectstream topics create`"):
        check_topics(kafka)


@pytest.mark.kafka
def test_a_topic_that_shrank_is_one_sentence(kafka: Kafka, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    rows = [record("text", n, {"text": "hi", "lang": "en"}) for n in range(5)]
    pq.write_table(pa.Table.from_batches([raw(*rows)]), log / "part-0.parquet")
    publish(log, kafka, console=QUIET)
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=kafka.group)
    partitions = [TopicPartition("session.text", number) for number in range(3)]
    ends = consumer.end_offsets(partitions)
    consumer.commit({tp: OffsetAndMetadata(end, "", -1) for tp, end in ends.items()})
    check_topics(kafka)
    consumer.commit({partitions[0]: OffsetAndMetadata(ends[partitions[0]] + 7, "", -1)})
    consumer.close()
    with pytest.raises(AffectstreamError, match=r"session\.text, partition 0, .* cut or made anew"):
        check_topics(kafka)


@pytest.mark.flink
def test_missing_jars_end_the_supervisor_at_once(tmp_path: Path, keys: Path) -> None:
    config = live_config(Kafka(bootstrap="127.0.0.1:1"), tmp_path / "no", tmp_path, keys)
    supervisor = Supervisor(config, QUIET)
    with pytest.raises(AffectstreamError, match="run `make flink`"):
        supervisor.run()
    assert supervisor.starts == 1


@pytest.mark.kafka
@pytest.mark.flink
def test_a_job_that_never_starts_is_given_up(kafka: Kafka, tmp_path: Path, keys: Path) -> None:
    jars = tmp_path / "jars"
    jars.mkdir()
    for name in ("jobserver.jar", "expansion.jar"):
        (jars / name).write_bytes(b"no jar")
    config = live_config(kafka, jars, tmp_path, keys, models=CONSTANT, live={"tries": 1})
    supervisor = Supervisor(config, QUIET)
    with pytest.raises(AffectstreamError, match="failed 2 times in a row"):
        supervisor.run()
    assert supervisor.starts == 2
    assert supervisor.job.ended() is not None
