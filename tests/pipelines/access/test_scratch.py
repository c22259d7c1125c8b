"""What a query copies for its reader is gone when it is over, and when it was killed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.access.scratch import scratch_folder

_KILLED = """
import os, pathlib, signal
from pipelines.access.scratch import scratch_folder
with scratch_folder() as folder:
    (pathlib.Path(folder) / "shown").write_text("rows")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def age(folder: Path) -> None:
    os.utime(folder, (1, 1))


def test_what_a_killed_query_left_is_removed_by_the_next_one(temporary: Path) -> None:
    command = [sys.executable, "-c", _KILLED]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    (left,) = temporary.iterdir()
    with scratch_folder() as folder:
        assert set(temporary.iterdir()) == {left, Path(folder)}, "it may have begun just now"
    age(left)
    other = temporary / "affectstream-else"
    other.mkdir()
    age(other)
    with scratch_folder() as folder:
        assert set(temporary.iterdir()) == {other, Path(folder)}
        assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == [other]


def test_the_folder_of_a_query_that_runs_stays(temporary: Path) -> None:
    with scratch_folder() as first:
        age(Path(first))
        with scratch_folder() as second:
            assert set(temporary.iterdir()) == {Path(first), Path(second)}
