"""What a supervisor does at the ends of its job, which is a stand-in: no server is needed."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from pipelines.config import Config, Kafka
from pipelines.live import supervisor as live
from pipelines.live.failures import Failures
from pipelines.live.flink_rest import Health
from pipelines.live.job_process import POISON, SERVER_LOST
from pipelines.live.state_folder import hold_state_folder
from pipelines.live.supervisor import Supervisor
from schemas.errors import AffectstreamError, BrokerAwayError
from tests.support.live_runs import QUIET, live_config
from transforms.isolation.deaths import journal


class Job:
    """A job that does at its start what a test says, and has ended with a status."""

    status: ClassVar[int | None] = 1
    at_start: ClassVar[Callable[[], None]] = staticmethod(lambda: None)
    error_of_stage: ClassVar[str | None] = None
    restored = None

    def __init__(self, config: Config, *_: object, again: bool) -> None:
        self._poison = config.live.state / POISON
        self.again = again
        self._started = False

    def exit_status(self, within_s: float = 0) -> int | None:
        return self.status

    def server_pid(self) -> int | None:
        return 1 if self.status is None else None

    def await_server_end(self, within_s: float) -> None:
        return

    def startup_error(self) -> None:
        return None

    def stage_error(self) -> str | None:
        if not self._started:
            self._started = True
            Job.at_start()
        return self.error_of_stage

    def count_poison(self) -> int:
        return len(journal(self._poison).condemned())

    def kill(self) -> None:
        return None

    def last_error(self) -> str:
        return "OSError: no space"


class Flink:
    """A job manager whose job runs; its last checkpoint began with the last request."""

    def __init__(self, address: str, name: str, tls: object = None) -> None:
        self.now_ms = 0

    def health(self) -> Health:
        self.now_ms += 5_000
        return Health("RUNNING", began_ms=self.now_ms, now_ms=self.now_ms)

    def watermark_ms(self) -> None:
        return None

    def repeated(self) -> int:
        return 0

    def task_metrics(self, wanted: object) -> None:
        return None

    def cancel(self) -> None:
        return None


class SilentTopics:
    """Topics of a broker that does not answer."""

    def __init__(self, kafka: Kafka) -> None:
        return

    def measure(self) -> None:
        return None

    def close(self) -> None:
        return


class Broker:
    """Answers to ``check_topics`` one after the other: an error is raised, None passes."""

    def __init__(self, *answers: AffectstreamError | None) -> None:
        self._answers = list(answers)

    def __call__(self, kafka: Kafka) -> None:
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer


@pytest.fixture
def supervisor(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """Of a job that may fail twice in a row."""
    monkeypatch.setattr(live, "JobProcess", Job)
    monkeypatch.setattr(live, "check_topics", lambda _: None)
    monkeypatch.setattr(Failures, "pause_s", 0.0)
    kafka = Kafka(bootstrap="127.0.0.1:1")
    settings = {"live": {"tries": 2}, "observe": {"port": 0}}
    return Supervisor(live_config(kafka, tmp_path, tmp_path, keys, **settings), QUIET)


def test_a_job_of_which_a_stage_fails_on_every_record_is_not_started_again(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "error_of_stage", "GateByPolicy raised KeyError on 9 records")
    with pytest.raises(AffectstreamError, match="GateByPolicy raised KeyError"):
        supervisor.run()
    assert supervisor.starts == 1


def test_a_killed_job_is_started_again_with_the_graph_that_was_built(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "status", SERVER_LOST)
    with pytest.raises(AffectstreamError, match=r"failed 3 times in a row.*OSError: no space"):
        supervisor.run()
    assert supervisor.starts == 3
    assert supervisor.job.again


def test_the_job_of_an_error_is_started_again_only_with_its_files(
    supervisor: Supervisor, keys: Path
) -> None:
    """There are no jars."""
    with pytest.raises(AffectstreamError, match="run `make flink`"):
        supervisor.run()
    assert supervisor.starts == 1


def test_ends_in_which_a_record_was_found_that_kills_workers_are_no_errors(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four such ends, and then those of which nothing is learnt, as many as ``live.tries``."""
    for name in ("jobserver.jar", "expansion.jar"):
        (tmp_path / name).touch()
    poison = tmp_path / "state" / POISON
    poison.mkdir(parents=True)

    def find_record() -> None:
        for _ in range(3 if supervisor.starts <= 4 else 0):
            journal(poison).died(
                "FetchMedia", [("session.voice", 0, supervisor.starts)], alone=True
            )

    monkeypatch.setattr(Job, "at_start", find_record)
    with pytest.raises(AffectstreamError, match="failed 3 times in a row"):
        supervisor.run()
    assert supervisor.starts == 4 + 2


def test_a_broker_that_is_away_after_a_kill_is_no_failure_of_the_job(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = BrokerAwayError("Kafka at x: refused")
    monkeypatch.setattr(Job, "status", SERVER_LOST)
    monkeypatch.setattr(live, "check_topics", Broker(away, None, None, None, None))
    with pytest.raises(AffectstreamError, match="failed 3 times in a row"):
        supervisor.run()
    assert supervisor.starts == 1 + 3


def test_a_stop_between_two_starts_says_that_it_was_not_drained(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "status", SERVER_LOST)
    monkeypatch.setattr(live, "check_topics", lambda _: supervisor.stop())
    with pytest.raises(AffectstreamError, match=r"not drained: it ended before: OSError: no space"):
        supervisor.run()
    assert supervisor.starts == 1


def test_a_stop_of_a_job_that_dies_says_that_it_was_not_drained(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "status", SERVER_LOST)
    monkeypatch.setattr(Job, "at_start", supervisor.stop)
    with pytest.raises(AffectstreamError, match=r"not drained: it ended before: OSError: no space"):
        supervisor.run()


def test_a_stop_while_the_job_is_started_again_says_that_it_was_not_drained(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_second() -> None:
        if supervisor.starts == 2:
            monkeypatch.setattr(Job, "status", None)
            supervisor.stop()

    monkeypatch.setattr(Job, "status", SERVER_LOST)
    monkeypatch.setattr(Job, "at_start", stop_second)
    with pytest.raises(AffectstreamError, match="not drained: it was being started again; what"):
        supervisor.run()


def test_a_stop_before_anything_was_read_has_nothing_to_drain(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "status", None)
    monkeypatch.setattr(Job, "at_start", supervisor.stop)
    supervisor.run()
    assert supervisor.starts == 1


def test_topics_that_cannot_be_read_on_drain_the_job(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka does not answer where the supervisor looks, twice; a closer look says why."""
    monkeypatch.setattr(live, "JobProcess", Job)
    monkeypatch.setattr(Job, "status", None)
    monkeypatch.setattr(live, "FlinkRest", Flink)
    monkeypatch.setattr(live, "TopicProgress", SilentTopics)
    supervisor = Supervisor(live_config(Kafka(), tmp_path, tmp_path, keys), QUIET)
    lost = AffectstreamError("topic session.text was cut or made anew")
    monkeypatch.setattr(live, "check_topics", Broker(lost))
    with pytest.raises(AffectstreamError, match=r"^topic session\.text was cut or made anew$"):
        supervisor.run()
    assert supervisor.starts == 1


def test_a_state_folder_that_is_in_use_is_refused(supervisor: Supervisor, tmp_path: Path) -> None:
    refused = pytest.raises(AffectstreamError, match="a live job runs with the state")
    with hold_state_folder(tmp_path / "state"), refused:
        supervisor.run()
    assert supervisor.starts == 0


def test_a_state_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(AffectstreamError, match=r"cannot write to the state folder .*/state \("):
        Supervisor(live_config(Kafka(), tmp_path, tmp_path, tmp_path / "keys"), QUIET)
