"""When a live job may end: nothing is left to read, and the windows of all that was read closed."""

from pathlib import Path

import pytest
from live_runs import QUIET, live_config

from pipelines.config import Kafka
from pipelines.live import Supervisor
from pipelines.live_screen import View
from pipelines.progress import Read

NOW_MS = 1_000_000.0


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    """Of windows of 5 s, which is the default."""
    kafka = Kafka(bootstrap="127.0.0.1:1")
    return Supervisor(live_config(kafka, tmp_path, tmp_path, tmp_path / "keys"), QUIET)


def _view(after_s: float, watermark_s: float | None, read: int = 10, lag: int = 0) -> View:
    watermark = None if watermark_s is None else int(NOW_MS + watermark_s * 1000)
    seen = Read({"session.text": 1}, {"session.text": read}, {"session.text": lag}, 0.0)
    return View(None, seen, watermark, NOW_MS + after_s * 1000, {}, 1)


def test_it_waits_for_the_windows_of_what_was_read_last(supervisor: Supervisor) -> None:
    assert not supervisor._caught_up(_view(0, None))
    assert not supervisor._caught_up(_view(0, -2))
    assert not supervisor._caught_up(_view(6, 4))
    assert supervisor._caught_up(_view(7, 5))


def test_what_comes_meanwhile_is_waited_for_too(supervisor: Supervisor) -> None:
    assert not supervisor._caught_up(_view(0, -2))
    assert not supervisor._caught_up(_view(5, 3, lag=1))
    assert not supervisor._caught_up(_view(7, 5, read=11))
    assert supervisor._caught_up(_view(14, 12, read=11))
