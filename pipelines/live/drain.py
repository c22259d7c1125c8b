"""The end of a job with nothing lost: when it may begin, and when what was read has landed."""

import time
from collections.abc import Callable
from enum import Enum, auto

from pipelines.live.flink_rest import Health
from pipelines.live.progress import ReadProgress

DRAIN_S = 120.0
"""A drain in which no checkpoint is finished for so long is given up; one takes 0.1 to 10 s."""
_COMMIT_MARGIN_S = 1.0
"""How much later than ``live.commit_s`` collected rows are committed at most: bundle and commit."""


class DrainVerdict(Enum):
    """How far a drain has come."""

    WAITING = auto()
    DONE = auto()
    """What was read has landed: the job may be cancelled."""
    NOTHING_READ = auto()
    """The job has not yet begun to run."""
    RESTARTING = auto()
    """The job is just being started again, so there is nothing that could be drained."""
    STUCK = auto()
    """The job has finished no checkpoint for ``DRAIN_S``."""


class Drain:
    """What a job has read, and whether the tables have it.

    ``window_s`` is how long windows are and ``commit_s`` for how long rows are collected.
    """

    def __init__(
        self, window_s: float, commit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._collect_s = commit_s + _COMMIT_MARGIN_S
        self._close_s = max(window_s, self._collect_s)
        self._clock = clock
        self._read_total: int | None = None
        self._read_at_ms = 0.0
        self._collected = False
        self._began_at: float | None = None
        self._from_ms: float | None = None

    def has_caught_up(
        self, read: ReadProgress | None, watermark_ms: float | None, clock_ms: float
    ) -> bool:
        """Tell whether nothing is left to read, and all windows of what was read are closed.

        ``clock_ms`` is the clock of event time. What is read by now is of now at the latest, so its
        last window ends a length later; and by then the rows that are collected are committed.
        """
        if read is None or watermark_ms is None or any(read.lag.values()):
            return False
        total = sum(read.read.values())
        if self._read_total != total:
            self._read_total, self._read_at_ms = total, clock_ms
        self._collected = watermark_ms >= self._read_at_ms + self._close_s * 1000
        return self._collected

    def judge(
        self, health: Health | None, *, running: bool, restarted: bool, checkpoint_at: float
    ) -> DrainVerdict:
        """Judge whether what was read before the first call has landed.

        A checkpoint that began after that call has passed all that was read before it, so that the
        tables' writers have it when it is finished. They collect some rows for a while; a second
        checkpoint, which begins after that, has them committed ahead of its barrier.

        ``running`` is whether this start of the job has run, ``restarted`` whether there was one
        before, and ``checkpoint_at`` when a checkpoint was last finished, by this object's clock.
        """
        if not running:
            if restarted:
                return DrainVerdict.RESTARTING
            return DrainVerdict.NOTHING_READ if health is None else DrainVerdict.WAITING
        now = self._clock()
        if self._began_at is None:
            self._began_at = now
        if self._from_ms is None and health:
            self._from_ms = health.now_ms
        if now - max(self._began_at, checkpoint_at) > DRAIN_S:
            return DrainVerdict.STUCK
        if health is None or self._from_ms is None or health.began_ms < self._from_ms:
            return DrainVerdict.WAITING
        if not self._collected:
            self._collected = True
            self._from_ms = health.now_ms + self._collect_s * 1000
            return DrainVerdict.WAITING
        return DrainVerdict.DONE
