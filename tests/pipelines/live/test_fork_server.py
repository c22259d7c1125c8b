"""The fork server: real processes; the runner is a socket that never answers, or nobody."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pipelines.config import Kafka
from pipelines.live.fork_server import GRAPH, VARIABLE, ForkServer
from pipelines.live.guards.job_token import write_token
from pipelines.live.state_folder import (
    UNUSABLE,
    UNUSABLE_FILE,
    command_of,
    is_alive,
    living_children,
)
from tests.support.live_runs import live_config, memory_by_role_mb, wait_for

_PATIENCE_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with closing(ForkServer(tmp_path_factory.mktemp("fork") / "worker.log")) as made:
        yield made


@pytest.fixture
def silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as runner:
        yield f"127.0.0.1:{runner.getsockname()[1]}"


def _worker(path: Path, endpoint: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipelines.live.worker", f"--provision_endpoint={endpoint}"]
    environment = os.environ | {VARIABLE: str(path)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def test_worker_is_forked_and_ends_with_its_caller(server: ForkServer, silent: str) -> None:
    caller = _worker(server.socket, silent)
    wait_for(lambda: len(living_children(server.pid)) == 1)
    assert caller.poll() is None
    caller.kill()
    caller.wait()
    wait_for(lambda: not living_children(server.pid))


def test_memory_is_counted_of_each_process_by_its_role(server: ForkServer, silent: str) -> None:
    caller = _worker(server.socket, silent)
    wait_for(lambda: len(living_children(server.pid)) == 1)
    (worker,) = living_children(server.pid)
    found = memory_by_role_mb(psutil.Process())
    sizes = {pid: psutil.Process(pid).memory_full_info().pss for pid in (server.pid, worker)}
    caller.kill()
    caller.wait()
    assert found["fork_server"] == pytest.approx(sizes[server.pid] / 2**20, rel=0.1)
    assert found["worker"] > sizes[worker] / 2**20  # and what asked for it
    assert {role for role, size in found.items() if size} == {"fork_server", "worker"}


def test_a_fork_says_why_there_can_be_no_graph(
    server: ForkServer, tmp_path: Path, keys: Path
) -> None:
    config = live_config(Kafka(bootstrap="127.0.0.1:1"), tmp_path / "none", tmp_path, keys)
    config.live.state.mkdir()
    write_token(config.live.state)
    settings = tmp_path / "config.json"
    settings.write_text(config.model_dump_json())
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(server.socket))
        asking.sendall(json.dumps([GRAPH, str(settings)]).encode() + b"\n")
        assert asking.recv(1) == bytes([UNUSABLE])
    assert "run `make flink`" in (config.live.state / UNUSABLE_FILE).read_text()
    wait_for(lambda: not living_children(server.pid))


def test_caller_ends_when_its_worker_is_killed(server: ForkServer, silent: str) -> None:
    caller = _worker(server.socket, silent)
    wait_for(lambda: len(living_children(server.pid)) == 1)
    os.kill(living_children(server.pid)[0], 9)
    caller.wait(_PATIENCE_S)


def test_caller_ends_when_its_worker_fails(server: ForkServer) -> None:
    _worker(server.socket, "127.0.0.1:1").wait(_PATIENCE_S)
    wait_for(lambda: not living_children(server.pid))


def test_without_a_fork_server_it_becomes_a_worker(tmp_path: Path, silent: str) -> None:
    caller = _worker(tmp_path / "none", silent)
    wait_for(lambda: "pipelines.live.sdk_harness" in command_of(caller.pid))  # the same process
    caller.kill()
    caller.wait()


def test_fork_server_ends_with_its_owner(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from pipelines.live.fork_server import ForkServer\n"
        "print(ForkServer(pathlib.Path(sys.argv[1])).pid)"
    )
    made = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], capture_output=True, check=True
    )
    wait_for(lambda: not is_alive(int(made.stdout)))
