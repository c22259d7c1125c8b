"""Who may call a job's servers: one that is guarded answers nobody without its token."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import (
    beam_expansion_api_pb2,
    beam_expansion_api_pb2_grpc,
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
)

from infra.processes import free_ports, listens
from pipelines.live.guards.job_token import TOKEN_FILE, with_token, write_token
from tests.support.live_runs import wait_for

pytestmark = pytest.mark.flink


def command(jars: Path, port: int, expansion: int, *properties: str) -> list[str]:
    """The job server as a live job starts it."""
    start = ["java", "-Xmx512m", *properties, f"-Daffectstream.expansion={expansion}"]
    start += ["-jar", str(jars / "jobserver.jar"), "--job-port", str(port)]
    return [*start, "--artifact-port", "0", "--expansion-port", "-1", "--job-host", "localhost"]


@contextmanager
def job_server(jars: Path, folder: Path, *properties: str) -> Iterator[tuple[int, int]]:
    """Start a job server; yield its port, and that of its expansion service."""
    port, expansion = free_ports(2)
    with (folder / "job.log").open("wb") as log:
        process = subprocess.Popen(
            command(jars, port, expansion, *properties), stdout=log, stderr=log
        )
    try:
        wait_for(lambda: listens(port) and listens(expansion), 60)
        yield port, expansion
    finally:
        process.kill()
        process.wait()


def answer(port: int, token: str | None = None) -> grpc.StatusCode:
    """Ask a job server for its jobs, and to prepare one."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
        stub = beam_job_api_pb2_grpc.JobServiceStub(with_token(plain, token) if token else plain)
        try:
            stub.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=30)
            stub.Prepare(beam_job_api_pb2.PrepareJobRequest(job_name="mine"), timeout=30)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def expand(port: int, token: str | None = None) -> grpc.StatusCode:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
        channel = with_token(plain, token) if token else plain
        stub = beam_expansion_api_pb2_grpc.ExpansionServiceStub(channel)
        asked = beam_expansion_api_pb2.DiscoverSchemaTransformRequest()
        try:
            stub.DiscoverSchemaTransform(asked, timeout=30)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_anybody_on_the_machine_submits_to_a_job_server_without_a_guard(
    jars: Path, tmp_path: Path
) -> None:
    with job_server(jars, tmp_path) as (port, expansion):
        assert answer(port) is grpc.StatusCode.OK
        assert expand(expansion) is grpc.StatusCode.OK


def test_nobody_without_the_token_gets_anything_from_a_guarded_one(
    jars: Path, tmp_path: Path
) -> None:
    token = write_token(tmp_path)
    right = token.read_text()
    guard = f"-Daffectstream.token_file={tmp_path / TOKEN_FILE}"
    with job_server(jars, tmp_path, guard) as (port, expansion):
        for wrong in (None, "x", right[:-1], right + "0", right.upper()):
            assert answer(port, wrong) is grpc.StatusCode.UNAUTHENTICATED
            assert expand(expansion, wrong) is grpc.StatusCode.UNAUTHENTICATED
        assert answer(port, right) is grpc.StatusCode.OK
        assert expand(expansion, right) is grpc.StatusCode.OK


def test_a_job_server_whose_token_cannot_be_read_does_not_start(jars: Path, tmp_path: Path) -> None:
    gone = f"-Daffectstream.token_file={tmp_path / 'gone'}"
    start = command(jars, *free_ports(2), gone)
    done = subprocess.run(start, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert f"NoSuchFileException: {tmp_path / 'gone'}" in done.stderr
