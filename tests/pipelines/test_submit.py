"""Submission to runners other than the embedded one and Flink."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from processes import HOST, free_ports, listens

from pipelines.affect import build_pipeline
from pipelines.config import Config, load_config
from pipelines.query import tables
from pipelines.sessionlogs.bench_log import write_bench_log
from pipelines.submit import SETUP, runner_options, submit
from schemas.errors import AffectstreamError
from schemas.vocabularies import MODALITIES

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


def test_the_graph_builds_for_dataflow_without_a_call_to_the_cloud(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        message = "the network was asked for"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    options = ["--project=some-project", "--region=europe-west1"]
    options += ["--temp_location=gs://some-bucket/tmp", "--experiments=use_runner_v2"]
    given = runner_options(config, "DataflowRunner", options)
    pipeline = beam.Pipeline(runner=DataflowRunner(), options=given)
    build_pipeline(pipeline, config)
    names = {step.unique_name for step in pipeline.to_runner_api().components.transforms.values()}
    assert {"DecodeEvents", "GateByPolicy", "Land:expression_decisions"} <= {
        name.partition("/")[0] for name in names
    }
    assert given.get_all_options()["setup_file"] == str(SETUP)


def test_an_unknown_runner_is_one_sentence(config: Config) -> None:
    with pytest.raises(AffectstreamError, match="runner Nowhere cannot be used here"):
        submit(config, "Nowhere", [])
