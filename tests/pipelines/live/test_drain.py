"""When a drain may begin, and when what was read has landed."""

import pytest

from pipelines.live.drain import Drain, DrainVerdict
from pipelines.live.flink_rest import Health
from pipelines.live.progress import ReadProgress
from tests.support.clock import Clock

NOW_MS = 1_000_000.0


def _caught_up(
    drain: Drain, after_s: float, watermark_s: float | None, read: int = 10, lag: int = 0
) -> bool:
    """Ask so many seconds after ``NOW_MS``; the watermark is also relative to it."""
    watermark = None if watermark_s is None else NOW_MS + watermark_s * 1000
    seen = ReadProgress({"session.text": 1}, {"session.text": read}, {"session.text": lag}, 0.0)
    return drain.has_caught_up(seen, watermark, NOW_MS + after_s * 1000)


def _judge(
    drain: Drain, health: Health | None, *, checkpoint_at: float = 0.0, running: bool = True
) -> DrainVerdict:
    return drain.judge(health, running=running, restarted=False, checkpoint_at=checkpoint_at)


def _judge_all(drain: Drain, *times_ms: tuple[int, int]) -> list[DrainVerdict]:
    """Judge by (when the last checkpoint began, now), in ms of the job manager's clock."""
    return [_judge(drain, Health("RUNNING", began_ms=b, now_ms=n)) for b, n in times_ms]


def test_it_waits_for_the_windows_of_what_was_read_last() -> None:
    drain = Drain(window_s=5, commit_s=2)
    assert not drain.has_caught_up(None, NOW_MS + 9_000, NOW_MS)
    assert not _caught_up(drain, 0, None)
    assert not _caught_up(drain, 0, -2)
    assert not _caught_up(drain, 7, 4.9)
    assert _caught_up(drain, 7, 5)


def test_what_comes_meanwhile_is_waited_for_too() -> None:
    drain = Drain(window_s=5, commit_s=2)
    assert not _caught_up(drain, 0, -2)
    assert not _caught_up(drain, 5, 3, lag=1)
    assert not _caught_up(drain, 7, 5, read=11)
    assert not _caught_up(drain, 14, 11.9, read=11)
    assert _caught_up(drain, 14, 12, read=11)


def test_rows_that_are_collected_for_longer_than_a_window_are_waited_for() -> None:
    drain = Drain(window_s=5, commit_s=20)
    assert not _caught_up(drain, 0, -2)
    assert not _caught_up(drain, 22, 20.9)
    assert _caught_up(drain, 23, 21)


def test_a_drain_waits_for_the_rows_that_are_collected() -> None:
    """Asked at 1,000 ms; rows are collected for 2 s, a second more is their margin."""
    drain = Drain(5, 2, Clock())
    early = [(900, 1000), (950, 2000), (999, 2050), (1000, 2100), (3500, 3600), (5099, 5100)]
    assert set(_judge_all(drain, *early)) == {DrainVerdict.WAITING}
    assert _judge_all(drain, (5100, 5150)) == [DrainVerdict.DONE]


def test_a_drain_after_all_was_read_has_waited_for_them_before() -> None:
    drain = Drain(5, 2, Clock())
    _caught_up(drain, 0, 0)
    assert _caught_up(drain, 6, 5)
    assert _judge_all(drain, (900, 1000), (1000, 2100)) == [DrainVerdict.WAITING, DrainVerdict.DONE]


def test_a_drain_without_checkpoints_is_given_up() -> None:
    clock = Clock()
    clock.now = 500.0  # long after the last checkpoint
    drain = Drain(5, 2, clock)
    assert _judge(drain, None, checkpoint_at=50.0) is DrainVerdict.WAITING
    clock.now = 620.0
    assert _judge(drain, None, checkpoint_at=50.0) is DrainVerdict.WAITING
    clock.now = 700.0
    assert _judge(drain, None, checkpoint_at=610.0) is DrainVerdict.WAITING
    clock.now = 730.1
    assert _judge(drain, None, checkpoint_at=610.0) is DrainVerdict.STUCK


def test_the_time_of_a_drain_is_that_of_its_first_answer() -> None:
    """Flink may not answer at first: only a checkpoint after it did is known to hold all."""
    drain = Drain(5, 2, Clock())
    assert _judge(drain, None) is DrainVerdict.WAITING
    first = [(900, 1000), (950, 1100), (1000, 1200)]
    assert set(_judge_all(drain, *first)) == {DrainVerdict.WAITING}
    assert _judge_all(drain, (4200, 4300)) == [DrainVerdict.DONE]


@pytest.mark.parametrize(
    ("health", "verdict"),
    [(None, DrainVerdict.NOTHING_READ), (Health("INITIALIZING"), DrainVerdict.WAITING)],
)
def test_a_job_that_never_ran_has_nothing_to_drain(
    health: Health | None, verdict: DrainVerdict
) -> None:
    assert _judge(Drain(5, 2, Clock()), health, running=False) is verdict


def test_a_job_that_is_being_started_again_cannot_be_drained() -> None:
    drain = Drain(5, 2, Clock())
    verdict = drain.judge(None, running=False, restarted=True, checkpoint_at=0.0)
    assert verdict is DrainVerdict.RESTARTING
