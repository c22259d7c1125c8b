"""The state folder: one supervisor at a time, and the end of what a killed one left running."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.live.state_folder import group_members, held, note_driver
from schemas.errors import AffectstreamError

_DRIVER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *sys.argv[1:]])
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group, with another in it that passes for a job server."""
    server = getattr(request, "param", "jobserver.jar")
    command = [sys.executable, "-c", _DRIVER, server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        yield process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_second_supervisor_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(AffectstreamError, match="a live job runs with the state"):
        held(tmp_path).__enter__()
    with held(tmp_path):
        pass


def test_the_job_of_a_killed_supervisor_is_ended(
    driver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    note_driver(tmp_path, driver.pid)
    assert len(group_members(driver.pid)) == 2
    with held(tmp_path):
        assert group_members(driver.pid) == []


def test_a_job_server_without_its_driver_is_ended(
    driver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    note_driver(tmp_path, driver.pid)
    driver.kill()
    driver.wait()
    assert len(group_members(driver.pid)) == 1
    with held(tmp_path):
        assert group_members(driver.pid) == []


@pytest.mark.parametrize("other", [{"started": 1}, {"boot": "before"}])
def test_another_process_of_the_same_number_goes_on(
    driver: subprocess.Popen[bytes], tmp_path: Path, other: dict[str, object]
) -> None:
    note_driver(tmp_path, driver.pid)
    path = tmp_path / "driver.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    with held(tmp_path):
        assert len(group_members(driver.pid)) == 2


@pytest.mark.parametrize("driver", ["another.jar"], indirect=True)
def test_what_is_no_job_server_goes_on_without_a_leader(
    driver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    note_driver(tmp_path, driver.pid)
    driver.kill()
    driver.wait()
    with held(tmp_path):
        assert len(group_members(driver.pid)) == 1
