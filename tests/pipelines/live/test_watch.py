"""When a start of the job is over, and for how long a broker is waited for."""

import pytest

from pipelines.live.flink_rest import Health
from pipelines.live.job_process import SERVER_LOST
from pipelines.live.progress import ReadProgress
from pipelines.live.watch import BrokerWatch, Verdict, Watch
from schemas.errors import AffectstreamError, BrokerAwayError
from tests.support.clock import Clock

AWAY = BrokerAwayError("Kafka at x: refused")


def _health(checkpoints: int) -> Health:
    return Health("RUNNING", checkpoints=checkpoints)


def _read(total: int, waiting: int) -> ReadProgress:
    return ReadProgress(
        {"session.text": 1}, {"session.text": total}, {"session.text": waiting}, 0.0
    )


def _running(clock: Clock) -> Watch:
    watch = Watch(clock)
    assert watch.judge_progress(_health(0), None) is None
    return watch


@pytest.mark.parametrize(
    ("status", "verdict", "by_kill"),
    [
        (1, Verdict.FAILED, False),
        (0, Verdict.FAILED, False),
        (-9, Verdict.KILLED, True),
        (SERVER_LOST, Verdict.KILLED, True),
        (None, Verdict.SERVER_DIED, True),
    ],
)
def test_a_job_that_failed_is_told_from_one_that_was_killed(
    status: int | None, verdict: Verdict, by_kill: bool
) -> None:
    watch = _running(Clock())
    assert watch.judge_process(None, server_runs=True) is None
    assert watch.judge_process(status, server_runs=False) is verdict
    assert verdict.by_kill is by_kill


def test_a_job_that_does_not_run_after_its_start_is_over() -> None:
    watch = Watch(clock := Clock())
    clock.now = 300.0
    assert watch.judge_process(None, server_runs=False) is None, "there is no server yet"
    clock.now = 300.1
    assert watch.judge_process(None, server_runs=True) is Verdict.NOT_STARTED
    watch.judge_progress(Health("INITIALIZING"), None)
    assert not watch.running
    watch.judge_progress(_health(0), None)
    assert watch.judge_process(None, server_runs=True) is None


def test_a_start_is_healthy_once_the_job_has_run_for_a_minute() -> None:
    watch = Watch(clock := Clock())
    clock.now = 100.0
    assert not watch.healthy
    watch.judge_progress(_health(0), None)
    clock.now = 160.0
    assert not watch.healthy
    clock.now = 160.1
    assert watch.healthy


def test_a_job_that_finishes_no_checkpoint_is_over() -> None:
    clock = Clock()
    clock.now = 250.0
    watch = _running(clock)
    clock.now = 850.0
    assert watch.judge_progress(_health(1), None) is None
    clock.now = 1450.0
    assert watch.judge_progress(None, None) is None
    assert watch.checkpoint_at == 850.0
    clock.now = 1450.1
    assert watch.judge_progress(_health(1), None) is Verdict.NO_CHECKPOINT


def test_a_job_that_is_not_yet_running_needs_no_checkpoint() -> None:
    watch = Watch(clock := Clock())
    clock.now = 700.0
    assert watch.judge_progress(Health("INITIALIZING"), None) is None
    assert watch.judge_progress(_health(0), None) is None, "it runs since a moment ago"
    clock.now = 1300.1
    assert watch.judge_progress(_health(0), None) is Verdict.NO_CHECKPOINT


def test_a_job_that_is_not_yet_running_does_not_stall() -> None:
    watch = Watch(clock := Clock())
    watch.judge_progress(None, _read(10, 5))
    clock.now = 200.0
    waiting = _read(10, 5)
    assert watch.judge_progress(Health("RESTARTING", checkpoints=4), waiting) is None
    assert watch.judge_progress(_health(4), waiting) is None, "it runs since a moment ago"
    clock.now = 320.1
    assert watch.judge_progress(_health(5), waiting) is Verdict.STALLED


def test_a_slow_bundle_is_no_stall_and_checkpoints_without_records_are() -> None:
    watch = _running(clock := Clock())
    assert watch.judge_progress(_health(1), _read(10, 5)) is None
    clock.now = 120.1
    assert watch.judge_progress(_health(3), _read(10, 5)) is None, "two checkpoints since"
    assert watch.judge_progress(_health(4), _read(10, 5)) is Verdict.STALLED
    assert watch.judge_progress(_health(4), None) is None, "Kafka does not answer"
    assert watch.judge_progress(_health(5), _read(11, 5)) is None, "it reads again"


def test_checkpoints_in_a_short_time_are_no_stall() -> None:
    watch = _running(clock := Clock())
    watch.judge_progress(_health(1), _read(10, 5))
    clock.now = 120.0
    assert watch.judge_progress(_health(9), _read(10, 5)) is None
    clock.now = 120.1
    assert watch.judge_progress(_health(9), _read(10, 5)) is Verdict.STALLED


def test_a_job_with_nothing_to_read_does_not_stall() -> None:
    """One record per partition may be the marker of a transaction."""
    watch = _running(clock := Clock())
    for number in range(1, 10):
        clock.now += 100
        assert watch.judge_progress(_health(number), _read(10, 1)) is None
    clock.now += 100
    assert watch.judge_progress(_health(12), _read(10, 2)) is None, "since a moment ago"


def test_topics_are_checked_after_two_doubtful_looks_in_a_row() -> None:
    broker = BrokerWatch(Clock())
    looks = [True, False, True, True, True, False]
    assert [broker.needs_check(doubtful=look) for look in looks] == [
        False, False, False, True, True, False,
    ]  # fmt: skip


def test_topics_are_checked_until_a_broker_that_is_away_answers() -> None:
    broker = BrokerWatch(Clock())
    assert broker.record_answer() is None
    assert broker.record_absence(AWAY) == "waiting for the broker: Kafka at x: refused"
    assert broker.record_absence(AWAY) is None
    assert broker.needs_check(doubtful=False)
    assert broker.record_answer() == "the broker answers again"
    assert not broker.needs_check(doubtful=False)
    assert broker.record_answer() is None


def test_a_broker_is_waited_for_ten_minutes() -> None:
    broker = BrokerWatch(clock := Clock())
    broker.record_absence(AWAY)
    clock.now = 599.9
    broker.record_absence(AWAY)
    broker.record_answer()
    clock.now = 700.0
    broker.record_absence(AWAY)
    clock.now = 1299.9
    broker.record_absence(AWAY)
    clock.now = 1300.0
    with pytest.raises(AffectstreamError, match="the broker was away for 600 s: Kafka at x: ref"):
        broker.record_absence(AWAY)
