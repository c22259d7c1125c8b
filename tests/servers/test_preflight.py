"""What a live job meets that it cannot use: one sentence, and an end."""

import copy
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from pipelines.affect import build_pipeline
from pipelines.config import Config, Kafka
from pipelines.kafka.publish import publish
from pipelines.kafka.topics import check_topics
from pipelines.live.graph import check_graph, graph_version
from pipelines.live.progress import TopicProgress
from pipelines.live.supervisor import Supervisor
from schemas import events
from schemas.errors import AffectstreamError
from tests.support.live_runs import CONSTANT, QUIET, live_config
from tests.support.records import raw, record


@pytest.fixture
def config(tmp_path: Path, keys: Path) -> Config:
    """Of a recorded log with one event."""
    row = raw(record("text", 0, {"text": "hi", "lang": "en"}))
    pq.write_table(pa.Table.from_batches([row]), tmp_path / "part-0.parquet")
    made = live_config(Kafka(), tmp_path, tmp_path, keys, models=CONSTANT)
    made.live.state.mkdir()
    return made.model_copy(update={"log": tmp_path})


def build(config: Config) -> beam_runner_api_pb2.Pipeline:
    """Build the streaming graph; a recorded log as its source needs no Java."""
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming"]))
    build_pipeline(pipeline, config)
    return pipeline.to_runner_api()


def test_a_checkpoint_of_another_graph_is_not_restored(config: Config, tmp_path: Path) -> None:
    graph = build(config)
    check_graph(graph, config, restoring=False)
    check_graph(build(config), config, restoring=True)
    with pytest.raises(AffectstreamError, match="another version of the graph"):
        check_graph(_without_a_step(graph), config, restoring=True)
    for name, change in (
        ("windows", {"length_s": 10.0}),
        ("windows", {"lateness_s": 61.0}),
        ("windows", {"shards": 16}),
        ("kafka", {"clock_offset_s": -60.0}),
        ("kafka", {"bootstrap": "127.0.0.1:9093"}),
    ):
        part = getattr(config, name).model_copy(update=change)
        changed = config.model_copy(update={name: part})
        with pytest.raises(AffectstreamError, match="of other `windows` or `kafka`"):
            check_graph(graph, changed, restoring=True)
    (tmp_path / "password").write_text("new")
    login = {"username": "me", "password_file": tmp_path / "password"}
    secured = config.model_copy(update={"kafka": config.kafka.model_copy(update=login)})
    version = graph_version(graph, secured)
    (tmp_path / "password").write_text("newer")
    assert graph_version(graph, secured) == version, "the source reads it at each login"
    (tmp_path / "other").write_text("newer")
    for change in ({"password_file": tmp_path / "other"}, {"username": "you"}):
        moved = secured.kafka.model_copy(update=change)
        assert graph_version(graph, config.model_copy(update={"kafka": moved})) != version
    other_group = config.kafka.model_copy(update={"group": "another"})
    check_graph(graph, config.model_copy(update={"kafka": other_group}), restoring=True)
    check_graph(_without_a_step(graph), config, restoring=False)


def test_how_the_graph_windows_and_what_it_holds_are_of_its_version(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = build(config)
    version = graph_version(graph, config)
    for changed in (_with_another_trigger(graph), _with_another_state(graph)):
        assert graph_version(changed, config) != version
    assert graph_version(graph, config) == version
    monkeypatch.setattr(events, "WINDOW_KEY", (*events.WINDOW_KEY, "scene_id"))
    assert graph_version(graph, config) != version


def _without_a_step(graph: beam_runner_api_pb2.Pipeline) -> beam_runner_api_pb2.Pipeline:
    other = copy.deepcopy(graph)
    other.components.transforms.pop(next(iter(other.components.transforms)))
    return other


def _with_another_trigger(graph: beam_runner_api_pb2.Pipeline) -> beam_runner_api_pb2.Pipeline:
    other = copy.deepcopy(graph)
    for windowing in other.components.windowing_strategies.values():
        windowing.allowed_lateness += 1
    return other


def _with_another_state(graph: beam_runner_api_pb2.Pipeline) -> beam_runner_api_pb2.Pipeline:
    other = copy.deepcopy(graph)
    for step in other.components.transforms.values():
        if step.spec.urn == "beam:transform:pardo:v1":
            held = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload)
            if "before" in held.state_specs:
                held.state_specs["more"].CopyFrom(held.state_specs["before"])
                step.spec.payload = held.SerializeToString()
    return other


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
    with pytest.raises(AffectstreamError, match=r"session\.text, .* records were deleted"):
        check_topics(kafka)


@pytest.mark.kafka
def test_what_was_read_what_waits_and_what_was_cut_are_told(kafka: Kafka, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    rows = [record("motion", n, {"weights": {"jawOpen": 0.1}}) | {"key": b"k"} for n in range(10)]
    pq.write_table(pa.Table.from_batches([raw(*rows)]), log / "part-0.parquet")
    publish(log, kafka, console=QUIET)
    own = kafka.model_copy(update={"group": "progress"})
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=own.group)
    partitions = [TopicPartition("session.motion", number) for number in range(3)]
    ends = consumer.end_offsets(partitions)
    (full,) = [tp for tp, end in ends.items() if end]
    with closing(TopicProgress(own)) as progress:
        before = progress.measure()
        assert (before.read["session.motion"], before.lag["session.motion"]) == (0, 10)
        assert before.partitions["session.motion"] == 3
        consumer.commit({full: OffsetAndMetadata(4, "", -1)})
        after = progress.measure()
        assert (after.read["session.motion"], after.lag["session.motion"]) == (4, 6)
        assert after.per_s > 0
        assert not after.truncated
        consumer.commit({full: OffsetAndMetadata(11, "", -1)})
        assert progress.measure().truncated
    consumer.close()
    with closing(TopicProgress(Kafka(bootstrap="127.0.0.1:1"))) as lost:
        assert lost.measure() is None


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
    assert supervisor.job.exit_status() is not None
