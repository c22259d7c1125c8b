"""Whether a job gets on and its broker answers: what was observed, and the verdict on it."""

import time
from collections.abc import Callable
from enum import Enum

from pipelines.live.flink_rest import Health
from pipelines.live.job_process import SERVER_LOST
from pipelines.live.progress import ReadProgress
from schemas.errors import AffectstreamError, BrokerAwayError

START_S = 300.0
"""A job that is not running by then is started again; it takes 20 to 40 s, with models."""
STALL_S = 120.0
STALL_CHECKPOINTS = 3
"""A job that reads nothing for so long and over so many checkpoints, though records wait, is
started again: seen once in Beam. What was read is known by checkpoints only, so a slow bundle is no
stall."""
NO_CHECKPOINT_S = 600.0
"""Flink's own limit for one checkpoint; a job that Flink restarts on and on finishes none."""
HEALTHY_S = 60.0
AWAY_S = 600.0
"""How long a broker that does not answer is waited for."""


class Verdict(Enum):
    """Why a start of the job is over, as a message says it."""

    FAILED = "the job failed"
    KILLED = "the job was killed"
    SERVER_DIED = "the job server's JVM died"
    NOT_STARTED = f"the job was not running {START_S:.0f} s after its start"
    NO_CHECKPOINT = f"no checkpoint was finished for {NO_CHECKPOINT_S:.0f} s"
    STALLED = f"nothing was read for {STALL_S:.0f} s though records wait"

    @property
    def by_kill(self) -> bool:
        """Whether something outside ended the job: no error of its own."""
        return self in (Verdict.KILLED, Verdict.SERVER_DIED)


class Watch:
    """One start of the job: when it began to run, to read and to finish checkpoints.

    ``checkpoint_at`` is when the newest checkpoint was seen first, by ``clock``, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_at = self.checkpoint_at = self._read_at = clock()
        self._running_since: float | None = None
        self._checkpoints = 0
        self._read_total = -1
        self._read_checkpoints = 0

    @property
    def running(self) -> bool:
        """Whether the job has been seen running since this start."""
        return self._running_since is not None

    @property
    def healthy(self) -> bool:
        """Whether it has run for so long that the start was of use."""
        return self._running_since is not None and self._clock() - self._running_since > HEALTHY_S

    def judge_process(self, exit_status: int | None, *, server_runs: bool) -> Verdict | None:
        """Judge the driver's exit status, None while it runs, and whether the job server runs."""
        if exit_status is not None:
            killed = exit_status < 0 or exit_status == SERVER_LOST
            return Verdict.KILLED if killed else Verdict.FAILED
        if self.running:
            return None if server_runs else Verdict.SERVER_DIED
        late = self._clock() - self._started_at > START_S
        return Verdict.NOT_STARTED if late else None

    def judge_progress(self, health: Health | None, read: ReadProgress | None) -> Verdict | None:
        """Judge what Flink and Kafka say of the job; None where they do not answer."""
        now = self._clock()
        if health:
            self._record_health(health, now)
        if self.running and now - self.checkpoint_at > NO_CHECKPOINT_S:
            return Verdict.NO_CHECKPOINT
        if read is None:
            return None
        total = sum(read.read.values())
        if total != self._read_total or not read.records_wait:
            self._read_total, self._read_at = total, now
            self._read_checkpoints = self._checkpoints
        since = self._checkpoints - self._read_checkpoints
        stalled = now - self._read_at > STALL_S and since >= STALL_CHECKPOINTS
        return Verdict.STALLED if self.running and stalled else None

    def _record_health(self, health: Health, now: float) -> None:
        if health.state == "RUNNING" and not self.running:
            self._running_since = self._read_at = self.checkpoint_at = now
        if health.checkpoints != self._checkpoints:
            self._checkpoints, self.checkpoint_at = health.checkpoints, now


class BrokerWatch:
    """How long the broker has been away, and whether its topics need a closer look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._away_since: float | None = None
        self._doubtful = False

    def needs_check(self, *, doubtful: bool) -> bool:
        """Tell whether to check the topics, by whether they looked doubtful this time.

        They have to look so twice in a row: one look may fall into a restart of the broker.
        """
        twice, self._doubtful = doubtful and self._doubtful, doubtful
        return twice or self._away_since is not None

    def record_answer(self) -> str | None:
        """Note that the broker answers; return what the screen should say, if anything."""
        was_away, self._away_since = self._away_since is not None, None
        return "the broker answers again" if was_away else None

    def record_absence(self, error: BrokerAwayError) -> str | None:
        """Note that the broker does not answer; return what the screen should say, if anything.

        Raises:
            AffectstreamError: it has been away for too long.
        """
        now = self._clock()
        note = None
        if self._away_since is None:
            self._away_since, note = now, f"waiting for the broker: {error}"
        if now - self._away_since >= AWAY_S:
            message = f"the broker was away for {AWAY_S:.0f} s: {error}"
            raise AffectstreamError(message) from error
        return note
