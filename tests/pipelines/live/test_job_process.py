"""What a start of the job takes from its state folder, and what it leaves there."""

import os
from pathlib import Path

import pytest

from pipelines.live.job_process import GRAPH_FILE, forget_unused, newest_checkpoint


def _checkpoint(state: Path, job: str, number: int, *, complete: bool = True) -> Path:
    folder = state / "checkpoints" / job / f"chk-{number}"
    folder.mkdir(parents=True)
    if complete:
        (folder / "_metadata").write_bytes(b"x")
        os.utime(folder / "_metadata", ns=(number, number))
    return folder


def test_the_newest_whole_checkpoint_is_restored_and_only_its_job_is_kept(tmp_path: Path) -> None:
    _checkpoint(tmp_path, "first", 7)
    before = _checkpoint(tmp_path, "second", 8)
    newest = _checkpoint(tmp_path, "second", 9)
    _checkpoint(tmp_path, "third", 10, complete=False)
    found = newest_checkpoint(tmp_path)
    assert found == newest
    forget_unused(tmp_path, found, again=True)
    assert sorted((tmp_path / "checkpoints").glob("*/chk-*")) == [before, newest]


@pytest.mark.parametrize("again", [True, False])
def test_a_graph_is_taken_again_by_the_supervisor_that_built_it_only(
    tmp_path: Path, again: bool
) -> None:
    (tmp_path / GRAPH_FILE).write_bytes(b"x")
    forget_unused(tmp_path, None, again=again)
    assert (tmp_path / GRAPH_FILE).exists() is again
