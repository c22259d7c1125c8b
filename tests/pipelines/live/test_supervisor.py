"""When a live job may end, when it must, and what is said then; no server is needed for that."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.config import Kafka
from pipelines.live import supervisor as live
from pipelines.live.flink_rest import Health
from pipelines.live.job_process import POISON, SERVER_LOST
from pipelines.live.progress import Read
from pipelines.live.screen import Screen, View
from pipelines.live.state_folder import hold_state_folder
from pipelines.live.supervisor import Supervisor
from schemas.errors import AffectstreamError
from tests.support.live_runs import QUIET, live_config
from transforms.isolation.deaths import journal

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


class _Job:
    """A job that is there until it is told to be cancelled."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.status_soon: int | None = None
        self.told: str | None = None

    def ended(self, within_s: float = 0) -> int | None:
        if within_s and self.status is None:
            self.status = self.status_soon
        return self.status

    def killed(self) -> bool:
        return self.status == SERVER_LOST

    def unusable(self) -> None:
        return None

    def broken(self) -> str | None:
        return self.told

    def condemned(self) -> int:
        return 0

    def kill(self) -> None:
        self.status = -9

    def server_pid(self) -> None:
        return None

    def reason(self) -> str:
        return "OSError: no space"


@pytest.fixture
def attempt() -> live._Attempt:
    started = time.monotonic()
    return live._Attempt(_Job(), started, running_since=started)


@pytest.mark.parametrize(
    ("status", "told", "killed"),
    [(1, "no space", False), (SERVER_LOST, "no space", True), (None, "JVM died", True)],
)
def test_a_job_that_failed_is_told_from_one_whose_server_was_killed(
    supervisor: Supervisor, attempt: live._Attempt, status: int | None, told: str, killed: bool
) -> None:
    attempt.job.status_soon = status
    with pytest.raises(live._Ended, match=told) as ended:
        supervisor._check_alive(attempt)
    assert ended.value.killed is killed


def test_a_job_of_which_a_stage_is_broken_is_not_started_again(
    supervisor: Supervisor, attempt: live._Attempt
) -> None:
    attempt.job.told = "GateByPolicy raised KeyError on more than 8 records"
    with pytest.raises(AffectstreamError, match="GateByPolicy raised KeyError"):
        supervisor._check_alive(attempt)


def _drained(supervisor: Supervisor, attempt: live._Attempt, *healths: tuple[int, int]) -> bool:
    """Tell it of checkpoints by (when the last one began, now), in ms; say what it made of them."""
    for number, (began_ms, now_ms) in enumerate(healths):
        health = Health("RUNNING", checkpoints=number, began_ms=began_ms, now_ms=now_ms)
        supervisor._check_moving(attempt, health, None)
        attempt.job.status = 0  # it obeys at once
        if supervisor._drained(attempt, health):
            return True
    return False


def test_a_drain_waits_for_the_rows_that_are_collected(
    supervisor: Supervisor, attempt: live._Attempt
) -> None:
    """Asked at 1,000 ms; rows are collected for 2 s, a second more is their margin."""
    first = [(900, 1000), (950, 2000), (1500, 2100)]
    assert not _drained(supervisor, attempt, *first)
    assert not _drained(supervisor, attempt, (3500, 3600), (5050, 5090))
    assert _drained(supervisor, attempt, (5100, 5150))


def test_a_drain_at_the_end_has_waited_for_them_before(
    supervisor: Supervisor, attempt: live._Attempt
) -> None:
    supervisor._all_collected = True
    assert _drained(supervisor, attempt, (900, 1000), (1500, 2100))


def test_rows_that_are_collected_for_longer_than_a_window_are_waited_for(tmp_path: Path) -> None:
    config = live_config(
        Kafka(), tmp_path, tmp_path, tmp_path / "keys", live={"commit_s": 20, "checkpoint_s": 1}
    )
    supervisor = Supervisor(config, QUIET)
    assert not supervisor._caught_up(_view(0, -2))
    assert not supervisor._caught_up(_view(22, 20))
    assert supervisor._caught_up(_view(23, 21))


def test_a_drain_without_checkpoints_is_given_up(
    supervisor: Supervisor, attempt: live._Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_DRAIN_S", 0.05)
    assert not _drained(supervisor, attempt, (900, 1000))
    time.sleep(0.1)
    supervisor._cannot_go_on = AffectstreamError("the disk is full")
    with pytest.raises(AffectstreamError, match=r"^the disk is full; and .* \(OSError: no space\)"):
        supervisor._drained(attempt, None)


def test_a_drain_of_a_job_that_never_answers_is_given_up(
    supervisor: Supervisor, attempt: live._Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_DRAIN_S", 0.05)
    assert not supervisor._drained(attempt, None)
    time.sleep(0.1)
    with pytest.raises(AffectstreamError, match="no checkpoint for 0 s"):
        supervisor._drained(attempt, None)


def test_a_stop_while_the_job_is_started_again_says_that_it_was_not_drained(
    supervisor: Supervisor, attempt: live._Attempt
) -> None:
    attempt.running_since = None
    supervisor.starts = 1
    assert supervisor._drained(attempt, None)  # nothing was read yet
    supervisor.starts = 2
    with pytest.raises(AffectstreamError, match="not drained: it was being started again; what"):
        supervisor._drained(attempt, None)


def test_a_stop_between_two_starts_says_that_it_was_not_drained(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempted(*_: object) -> live._Ended:
        supervisor.stop()
        return live._Ended("the job server's JVM died", killed=True)

    monkeypatch.setattr(supervisor, "_attempt", attempted)
    monkeypatch.setattr(supervisor, "_broker_was_there", lambda *_: False)
    monkeypatch.setattr(live, "ForkServer", lambda _: io.StringIO())
    with pytest.raises(AffectstreamError, match=r"not drained: it ended before: the job server's"):
        supervisor.run()


def test_a_state_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(AffectstreamError, match=r"cannot write to the state folder .*/state \("):
        Supervisor(live_config(Kafka(), tmp_path, tmp_path, tmp_path / "keys"), QUIET)


def test_a_job_that_finishes_no_checkpoint_is_started_anew(
    supervisor: Supervisor, attempt: live._Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_NO_CHECKPOINT_S", 0.05)
    supervisor._check_moving(attempt, Health("RUNNING", checkpoints=1), None)
    time.sleep(0.1)
    supervisor._check_moving(attempt, Health("RUNNING", checkpoints=2), None)
    time.sleep(0.1)
    with pytest.raises(live._Ended, match=r"no checkpoint .* \(OSError: no space\)") as ended:
        supervisor._check_moving(attempt, Health("RUNNING", checkpoints=2), None)
    assert not ended.value.killed


def test_a_slow_bundle_is_no_stall_and_checkpoints_without_records_are(
    supervisor: Supervisor, attempt: live._Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_STALL_S", 0.05)
    waiting = Read({"session.text": 1}, {"session.text": 10}, {"session.text": 5}, 0.0)
    supervisor._check_moving(attempt, Health("RUNNING", checkpoints=1), waiting)
    time.sleep(0.1)
    supervisor._check_moving(attempt, Health("RUNNING", checkpoints=3), waiting)
    with pytest.raises(live._Ended, match="nothing was read for 0 s though records wait"):
        supervisor._check_moving(attempt, Health("RUNNING", checkpoints=4), waiting)
    moved = Read({"session.text": 1}, {"session.text": 11}, {"session.text": 5}, 0.0)
    supervisor._check_moving(attempt, Health("RUNNING", checkpoints=5), moved)


def test_ends_in_which_a_record_was_found_that_kills_workers_are_no_errors(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six such ends, and then those of which nothing is learnt: as many as ``live.tries`` allow."""
    poison = supervisor._config.live.state / POISON
    poison.mkdir(parents=True)
    starts = 0

    def watch(*_: object) -> None:
        nonlocal starts
        starts += 1
        for _ in range(3 if starts <= 6 else 0):
            journal(poison).died("FetchMedia", [("session.voice", 0, starts)], alone=True)
        message = "a worker died"
        raise live._Ended(message)

    def start(*_: object) -> live._Attempt:
        job = _Job()
        return live._Attempt(job, time.monotonic(), condemned=job.condemned())

    monkeypatch.setattr(_Job, "condemned", lambda _: len(journal(poison).condemned()))
    monkeypatch.setattr(supervisor, "_start", start)
    monkeypatch.setattr(supervisor, "_watch", watch)
    monkeypatch.setattr(supervisor, "_broker_was_there", lambda *_: True)
    monkeypatch.setattr(live, "ForkServer", lambda _: io.StringIO())
    monkeypatch.setattr(live.Failures, "pause_s", 0.0)
    with pytest.raises(AffectstreamError, match="failed 4 times in a row"):
        supervisor.run()
    assert starts == 6 + 3


class _Broker:
    """Answers as told: an error is raised, None passes."""

    def __init__(self, *answers: AffectstreamError | None) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, kafka: Kafka) -> None:
        self.asked += 1
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer


def _look(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, broker: _Broker, *reads: Read | None
) -> str:
    monkeypatch.setattr(live, "check_topics", broker)
    monkeypatch.setattr(live, "check_room", lambda config: None)
    said = io.StringIO()
    screen = Screen(Console(file=said, width=200))
    for read in reads:
        supervisor._check_surroundings(read, asked=True, screen=screen)
    return said.getvalue()


_SOUND = Read({"session.text": 1}, {"session.text": 10}, {"session.text": 0}, 0.0)
_CUT = Read({"session.text": 1}, {"session.text": 10}, {"session.text": -3}, 0.0, cut=True)


def test_a_broker_that_is_away_is_waited_for_and_the_screen_says_so(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = live.BrokerAwayError("Kafka at x: refused")
    broker = _Broker(away, away, None)
    said = _look(supervisor, monkeypatch, broker, _SOUND, None, None, None, _SOUND, _SOUND)
    assert said.splitlines() == [
        "waiting for the broker: Kafka at x: refused",
        "the broker answers again",
    ]
    assert broker.asked == 3
    assert supervisor._cannot_go_on is None


def test_a_broker_that_is_gone_for_good_ends_the_job(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_AWAY_S", 0.0)
    broker = _Broker(live.BrokerAwayError("Kafka at x: refused"))
    _look(supervisor, monkeypatch, broker, None, None)
    assert str(supervisor._cannot_go_on).startswith("the broker was away for 0 s: Kafka at x")
    assert supervisor._stopping.is_set()


def test_what_a_job_needs_is_looked_at_after_an_error_and_the_broker_waited_for(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = live.BrokerAwayError("Kafka at x: refused")
    broker = _Broker(None, away, away, None)
    monkeypatch.setattr(live, "check_topics", broker)
    assert supervisor._broker_was_there(live._Ended("killed", killed=True), Screen(QUIET))
    assert not supervisor._broker_was_there(live._Ended("killed", killed=True), Screen(QUIET))
    assert broker.asked == 4
    with pytest.raises(AffectstreamError, match="no key file"):
        supervisor._broker_was_there(live._Ended("it failed"), Screen(QUIET))


@pytest.mark.parametrize("read", [None, _CUT])
def test_a_topic_that_cannot_be_read_on_ends_the_job(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, read: Read | None
) -> None:
    broker = _Broker(AffectstreamError("topic session.text was cut or made anew"))
    _look(supervisor, monkeypatch, broker, read, _SOUND, read)
    assert broker.asked == 0, "one doubtful look is not enough"
    _look(supervisor, monkeypatch, broker, read)
    assert "made anew" in str(supervisor._cannot_go_on)
    assert supervisor._stopping.is_set()


def test_a_state_folder_that_is_in_use_is_refused(supervisor: Supervisor) -> None:
    refused = pytest.raises(AffectstreamError, match="a live job runs with the state")
    with hold_state_folder(supervisor._config.live.state), refused:
        supervisor.run()
    assert supervisor.starts == 0
