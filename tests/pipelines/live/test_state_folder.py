"""The state folder: one supervisor at a time, and the end of what a killed one left running."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipelines.live.state_folder import (
    command_of,
    group_members,
    hold_state_folder,
    note_driver,
)
from schemas.errors import AffectstreamError
from tests.support.live_runs import wait_for

_DRIVER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *sys.argv[1:]])
print("up", flush=True)
time.sleep(600)
"""
_SERVER_THAT_LOADS = """
import os, time
time.sleep(0.5)
os.execl("/bin/sleep", "jobserver.jar", "600")
"""
_DRIVER_OF_LOADING_SERVER = """
import subprocess, sys, time
server = subprocess.Popen([""], executable=sys.executable, stdin=subprocess.PIPE)
server.stdin.write(sys.argv[1].encode())
server.stdin.close()
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group, with another in it that passes for a job server."""
    server = getattr(request, "param", "jobserver.jar")
    with _lead_group(_DRIVER, server) as process:
        process.stdout.readline()
        yield process


@contextmanager
def _lead_group(script: str, argument: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", script, argument]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_second_supervisor_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    refused = pytest.raises(AffectstreamError, match="a live job runs with the state")
    with hold_state_folder(tmp_path), refused:
        hold_state_folder(tmp_path).__enter__()
    with hold_state_folder(tmp_path):
        pass


def test_the_job_of_a_killed_supervisor_is_ended(
    driver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    note_driver(tmp_path, driver.pid)
    assert len(group_members(driver.pid)) == 2
    with hold_state_folder(tmp_path):
        assert group_members(driver.pid) == []


def test_a_job_server_without_its_driver_is_ended(
    driver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    note_driver(tmp_path, driver.pid)
    driver.kill()
    driver.wait()
    assert len(group_members(driver.pid)) == 1
    with hold_state_folder(tmp_path):
        assert group_members(driver.pid) == []


def test_a_job_server_that_is_just_being_loaded_is_ended(tmp_path: Path) -> None:
    """A process has no command line while the kernel loads its program; here for half a second."""
    with _lead_group(_DRIVER_OF_LOADING_SERVER, _SERVER_THAT_LOADS) as driver:
        note_driver(tmp_path, driver.pid)
        driver.stdout.readline()
        (server,) = set(group_members(driver.pid)) - {driver.pid}
        wait_for(lambda: not command_of(server))
        driver.kill()
        driver.wait()
        assert len(group_members(driver.pid)) == 1
        with hold_state_folder(tmp_path):
            assert group_members(driver.pid) == []


@pytest.mark.parametrize("other", [{"started": 1}, {"boot": "before"}])
def test_another_process_of_the_same_number_goes_on(
    driver: subprocess.Popen[bytes], tmp_path: Path, other: dict[str, object]
) -> None:
    note_driver(tmp_path, driver.pid)
    path = tmp_path / "driver.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    with hold_state_folder(tmp_path):
        assert len(group_members(driver.pid)) == 2


@pytest.mark.parametrize("driver", ["another.jar"], indirect=True)
def test_what_is_no_job_server_goes_on_without_a_leader(
    driver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    note_driver(tmp_path, driver.pid)
    driver.kill()
    driver.wait()
    with hold_state_folder(tmp_path):
        assert len(group_members(driver.pid)) == 1
