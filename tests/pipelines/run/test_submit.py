"""Submission to runners other than the embedded one and Flink."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

from infra.processes import HOST, free_ports, listens
from pipelines.affect import build_pipeline
from pipelines.config import Config, load_config
from pipelines.run.submit import SETUP, runner_options, submit
from pipelines.sessionlogs.bench_log import write_bench_log
from pipelines.tables.query import tables
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from tests.support.secret_scan import holders

CONSTANT = {name: {"model": "constant"} for name in MODALITIES}


@pytest.fixture
def config(tmp_path: Path, keys: Path) -> Config:
    write_bench_log(tmp_path / "session", 300, subjects=6)
    log, root = tmp_path / "session" / "log", tmp_path / "tables"
    return load_config(None, log=log, tables=root, keys=keys, models=CONSTANT)


@pytest.fixture
def job_service(tmp_path: Path) -> Iterator[str]:
    """Beam's own job service: a portable runner behind a real endpoint."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    with (tmp_path / "job-service.log").open("wb") as log:
        service = subprocess.Popen(
            [*command, "--port", str(port)], stdout=log, stderr=log, cwd=tmp_path
        )
    end = time.monotonic() + 60
    while not listens(port) and time.monotonic() < end:
        time.sleep(0.1)
    yield f"{HOST}:{port}"
    service.terminate()
    service.wait(timeout=30)


def test_a_portable_runner_lands_the_tables(config: Config, job_service: str) -> None:
    options = ["--job_endpoint", job_service, "--environment_type", "LOOPBACK"]
    assert submit(config, "PortableRunner", options).wait_until_finish() == "DONE"
    found = tables(config.tables)
    assert found["observations"] == 300
    assert found["emotion_features"] == found["expression_decisions"] > 0


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        message = "the network was asked for"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def dataflow_graph(config: Config) -> beam_runner_api_pb2.Pipeline:
    options = ["--project=some-project", "--region=europe-west1"]
    options += ["--temp_location=gs://some-bucket/tmp", "--experiments=use_runner_v2"]
    given = runner_options(config, "DataflowRunner", options)
    assert given.get_all_options()["setup_file"] == str(SETUP)
    assert given.get_all_options()["streaming"] == (config.log is None)
    pipeline = beam.Pipeline(runner=DataflowRunner(), options=given)
    build_pipeline(pipeline, config)
    return pipeline.to_runner_api()


def stages(graph: beam_runner_api_pb2.Pipeline) -> set[str]:
    return {step.unique_name.partition("/")[0] for step in graph.components.transforms.values()}


@pytest.mark.usefixtures("no_network")
def test_the_graph_builds_for_dataflow_without_a_call_to_the_cloud(config: Config) -> None:
    wanted = {"ReadLog", "DecodeEvents", "GateByPolicy", "Land:expression_decisions"}
    assert wanted <= stages(dataflow_graph(config))


@pytest.mark.flink
@pytest.mark.usefixtures("no_network")
def test_the_streaming_graph_builds_for_dataflow_with_java_in_docker(
    config: Config, jars: Path, tmp_path: Path
) -> None:
    live = config.live.model_copy(update={"jars": jars, "java_environment": "DOCKER"})
    (tmp_path / "password").write_text("never-in-a-graph")
    login = {"username": "me", "password_file": tmp_path / "password"}
    kafka = config.kafka.model_copy(update=login)
    graph = dataflow_graph(config.model_copy(update={"log": None, "live": live, "kafka": kafka}))
    whole = {"graph": graph.SerializeToString()}
    assert holders(str(tmp_path / "password"), whole) == ["graph"]
    assert holders("never-in-a-graph", whole) == []
    assert {"ReadKafka", "DecodeEvents", "Land:expression_decisions"} <= stages(graph)
    steps = graph.components.transforms.values()
    (environment,) = {
        step.environment_id
        for step in steps
        if step.unique_name.startswith("ReadKafka/Java") and step.environment_id
    }
    environment = graph.components.environments[environment]
    assert environment.urn == "beam:env:docker:v1"
    payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
    assert "java" in payload.container_image
    reads = {step.spec.urn for step in steps if "ReadKafka" in step.unique_name}
    assert "beam:transform:read:v1" not in reads, "Flink's own way to read"


def test_an_unknown_runner_is_one_sentence(config: Config) -> None:
    with pytest.raises(AffectstreamError, match="runner Nowhere cannot be used here"):
        submit(config, "Nowhere", [])
