"""Live: starts the streaming job, watches it, restores it after a crash, drains it at the end."""

import signal
import socket
import threading
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pipelines.config import Config
from pipelines.kafka.topics import check_topics
from pipelines.live.disk import check_room
from pipelines.live.failures import Failures
from pipelines.live.flink_rest import FlinkRest, Health
from pipelines.live.fork_server import ForkServer
from pipelines.live.job_process import JobProcess
from pipelines.live.partitions import check_partitions, forget_partitions
from pipelines.live.progress import Read, TopicProgress, UnreadableRecords
from pipelines.live.screen import Screen, View
from pipelines.live.state_folder import explain_write_errors, hold_state_folder
from pipelines.tables.compaction import CompactedTables
from schemas.errors import AffectstreamError, BrokerAwayError
from transforms.landing.repair import repair_tables

_LOCAL = "[local]"
_CANCEL_S = 30.0
_START_S = 300.0
"""A job that is not running by then is started anew; it takes 20 to 40 s, with models."""
_STALL_S = 120.0
_STALL_CHECKPOINTS = 3
"""A job that reads nothing for so long and so many checkpoints though records wait is started anew:
seen once in Beam. What was read is told with a checkpoint, so a slow bundle is no stall."""
_NO_CHECKPOINT_S = 600.0
"""Flink's own limit for one checkpoint; a job that Flink restarts on and on finishes none."""
_HEALTHY_S = 60.0
_AWAY_S = 600.0
"""How long a broker that does not answer is waited for."""
_DRAIN_S = 120.0
"""A drain in which no checkpoint is finished for so long is given up; one takes 0.1 to 10 s."""
_DRIVER_ENDS_S = 3.0
_COMMIT_MARGIN_S = 1.0
"""How much later than ``live.commit_s`` collected rows are committed at most: bundle and commit."""
_GOES_ON = "the next start goes on from the newest checkpoint"


class _Ended(Exception):  # noqa: N818  a turn of the loop, not an error
    """The job is no more, for this reason.

    ``killed``: from outside, by no error of its own; ``found``: a record that kills workers was
    found, which the next start does not take.
    """

    def __init__(self, reason: str, *, killed: bool = False) -> None:
        super().__init__(reason)
        self.killed = killed
        self.of_use = False
        self.found = False


@dataclass(slots=True)
class _Attempt:
    """What one start of the job has come to."""

    job: JobProcess
    started: float
    running_since: float | None = None
    read_total: int = -1
    moved_at: float = field(default_factory=time.monotonic)
    moved_checkpoints: int = 0
    checkpoints: int = 0
    checkpoint_at: float = field(default_factory=time.monotonic)
    draining: bool = False
    drain_from_ms: float | None = None
    versions: dict[str, int] = field(default_factory=dict)
    condemned: int = 0


class Supervisor:
    """Keeps one job running until it is told to stop, or cannot be helped."""

    def __init__(self, config: Config, console: Console, *, until_end: bool = False) -> None:
        self._config = _with_own_group(config)
        self._console = console
        self.until_end = until_end
        self._stopping = threading.Event()
        self._topics = TopicProgress(self._config.kafka)
        self._tables = CompactedTables(config.tables)
        self._unreadable = UnreadableRecords()
        self._rest = FlinkRest("", "")
        self._cannot_go_on: AffectstreamError | None = None
        self._all_read: tuple[int, float] | None = None
        self._all_collected = False
        self._doubtful = False
        self._away_since: float | None = None
        self.starts = 0
        self.view: View | None = None
        self.job: JobProcess | None = None

    def stop(self) -> None:
        """Ask for a drained end: what was read is committed, the next start goes on from there."""
        self._stopping.set()

    def health(self) -> Health | None:
        """Return what Flink tells of the job, None while it does not answer."""
        return self._rest.health()

    def run(self) -> None:
        """Run the job until it is stopped.

        Raises:
            AffectstreamError: the job cannot start, failed too often (``live.tries``), lost what it
                reads from, or was not drained; or another one runs with the same state.
        """
        state, failures = self._config.live.state, Failures(self._config.live.tries)
        check_room(self._config)
        repair_tables(self._config.tables)  # told here, not in the log of a job
        with (
            hold_state_folder(state),
            closing(self._topics),
            Screen(self._console) as screen,
            closing(ForkServer(state / "worker.log")) as fork_server,
        ):
            while (ended := self._attempt(fork_server, screen)) is not None:
                if self._broker_was_there(ended, screen):
                    failures.add(
                        str(ended), of_use=ended.of_use, killed=ended.killed, found=ended.found
                    )
                screen.note(f"restarting: {ended}")
                if self._stopping.wait(failures.pause_s):
                    self._not_drained(f"it ended before: {ended}")

    def _attempt(self, fork_server: ForkServer, screen: Screen) -> _Ended | None:
        """Start the job and follow it; return how it ended, None where it was drained."""
        attempt = self._start(fork_server)
        ended = None
        try:
            self._watch(attempt, screen)
        except _Ended as told:
            ended = told
            ended.found = attempt.job.condemned() > attempt.condemned
            ended.of_use = ended.found or self._got_on(attempt)
        finally:
            attempt.job.kill()
            if self._config.live.flink_master != _LOCAL:
                self._cancel()  # a cluster's job does not end with its driver
        if self._cannot_go_on:
            raise self._cannot_go_on
        if ended and self._stopping.is_set():
            self._not_drained(f"it ended before: {ended}")
        return ended

    def _broker_was_there(self, ended: _Ended, screen: Screen) -> bool:
        """Check again what the job needs, and wait for the broker; False where it was away.

        Raises:
            AffectstreamError: something that the job needs can no more be used.
        """
        if not ended.killed:
            from pipelines.run.preflight import check_files  # noqa: PLC0415  imports Beam: seconds

            check_files(self._config)
        if self._topics_usable(screen):
            return True
        while not self._stopping.wait(1.0) and not self._topics_usable(screen):
            pass
        return False

    def _topics_usable(self, screen: Screen) -> bool:
        """Tell whether the topics can be read on, False while the broker is away.

        Raises:
            AffectstreamError: they cannot, or the broker has been away for too long.
        """
        try:
            check_topics(self._config.kafka)
        except BrokerAwayError as error:
            now = time.monotonic()
            if self._away_since is None:
                self._away_since = now
                screen.note(f"waiting for the broker: {error}")
            if now - self._away_since < _AWAY_S:
                return False
            message = f"the broker was away for {_AWAY_S:.0f} s: {error}"
            raise AffectstreamError(message) from error
        if self._away_since is not None:
            screen.note("the broker answers again")
        self._away_since = None
        return True

    def _start(self, fork_server: ForkServer) -> _Attempt:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        master = self._config.live.flink_master
        address = f"127.0.0.1:{port}" if master == _LOCAL else master
        self._rest = FlinkRest(address, self._config.kafka.group)
        if master != _LOCAL:
            self._cancel()  # of a supervisor that was killed
        with explain_write_errors(self._config.live.state):
            job = JobProcess(self._config, port, fork_server, again=self.starts > 0)
        if job.restored is None:
            forget_partitions(self._config.live.state)
        self.starts += 1
        self.job, self.view = job, None
        started = time.monotonic()
        return _Attempt(job, started, versions=self._versions(), condemned=job.condemned())

    def _watch(self, attempt: _Attempt, screen: Screen) -> None:
        """Return when the job was drained; raise _Ended when it died."""
        while True:
            self._check_alive(attempt)
            health = self._rest.health()
            read = self._topics.look() if health else None
            if not self._stopping.is_set():
                self._check_surroundings(read, asked=health is not None, screen=screen)
            self._check_moving(attempt, health, read)
            watermark = self._rest.watermark_ms() if health else None
            repeated = self._rest.repeated() if health else 0
            tables = self._tables.refresh()
            self._tables.compact()
            unreadable = self._unreadable.update(self._tables.table("dead_letters"))
            self.view = view = View(
                health, read, watermark, self._clock_ms(), tables, self.starts,
                unreadable, repeated,
            )  # fmt: skip
            screen.show(view)
            if self.until_end and not self._stopping.is_set() and self._caught_up(view):
                self._all_collected = True
                self._stopping.set()
            if self._stopping.is_set() and self._drained(attempt, health):
                return
            if self._stopping.wait(1.0):
                time.sleep(0.2)

    def _check_alive(self, attempt: _Attempt) -> None:
        if (reason := attempt.job.unusable() or attempt.job.broken()) is not None:
            raise AffectstreamError(reason)
        no_server = attempt.running_since and attempt.job.server_pid() is None
        # The driver of a job that failed ends the job server, and itself a moment later.
        if attempt.job.ended(within_s=_DRIVER_ENDS_S if no_server else 0) is not None:
            raise _Ended(attempt.job.reason(), killed=attempt.job.killed())
        if no_server:
            message = "the job server's JVM died"
            raise _Ended(message, killed=True)
        if not attempt.running_since and time.monotonic() - attempt.started > _START_S:
            raise self._stuck(attempt, f"the job was not running {_START_S:.0f} s after its start")

    def _stuck(self, attempt: _Attempt, what: str) -> _Ended:
        return _Ended(f"{what} ({attempt.job.reason()})")

    def _check_moving(self, attempt: _Attempt, health: Health | None, read: Read | None) -> None:
        now = time.monotonic()
        if health and health.state == "RUNNING" and attempt.running_since is None:
            attempt.running_since = attempt.moved_at = attempt.checkpoint_at = now
        if health and health.checkpoints != attempt.checkpoints:
            attempt.checkpoints, attempt.checkpoint_at = health.checkpoints, now
        if attempt.running_since and now - attempt.checkpoint_at > _NO_CHECKPOINT_S:
            raise self._stuck(attempt, f"no checkpoint was finished for {_NO_CHECKPOINT_S:.0f} s")
        if read is None:
            return
        total = sum(read.read.values())
        if total != attempt.read_total or not read.waits:
            attempt.read_total, attempt.moved_at = total, now
            attempt.moved_checkpoints = attempt.checkpoints
        since = attempt.checkpoints - attempt.moved_checkpoints
        stalled = now - attempt.moved_at > _STALL_S and since >= _STALL_CHECKPOINTS
        if attempt.running_since and stalled:
            what = f"nothing was read for {_STALL_S:.0f} s though records wait"
            raise self._stuck(attempt, what)

    def _check_surroundings(self, read: Read | None, *, asked: bool, screen: Screen) -> None:
        """Drain the job where a disk fills or Kafka is not what it was: what was read lands.

        Kafka is looked at more closely after two doubtful looks: one may fall into its restart.
        """
        doubtful = asked and (read is None or read.cut)
        try:
            check_room(self._config)
            if (doubtful and self._doubtful) or self._away_since is not None:
                self._topics_usable(screen)
            elif read and not doubtful:
                check_partitions(self._config.live.state, read.partitions)
            self._doubtful = doubtful
        except AffectstreamError as error:
            self._cannot_go_on = error
            self._stopping.set()

    def _caught_up(self, view: View) -> bool:
        """Tell whether nothing is left to read, and all windows of what was read are closed.

        What is read by now is of now at the latest, so its last window ends a length later; and by
        then the rows that are collected for ``live.commit_s`` are committed.
        """
        if view.read is None or view.watermark_ms is None or any(view.read.lag.values()):
            return False
        total = sum(view.read.read.values())
        if self._all_read is None or self._all_read[0] != total:
            self._all_read = (total, view.clock_ms)
        after_s = max(self._config.windows.length_s, self._collect_s)
        return view.watermark_ms >= self._all_read[1] + after_s * 1000

    def _clock_ms(self) -> float:
        return (time.time() + self._config.kafka.clock_offset_s) * 1000

    @property
    def _collect_s(self) -> float:
        return self._config.live.commit_s + _COMMIT_MARGIN_S

    def _drained(self, attempt: _Attempt, health: Health | None) -> bool:
        """Wait until what was read before the request has landed, then cancel the job.

        A checkpoint that began after the request has passed all that was read before it, so that
        this is with the tables' writers when it is finished. They collect some rows for a while;
        a second checkpoint, which begins after that, has them committed ahead of its barrier.
        """
        if attempt.running_since is None:
            if self.starts > 1:
                self._not_drained("it was being started again")
            return health is None  # not yet running: nothing to drain
        if not attempt.draining:
            attempt.draining, attempt.checkpoint_at = True, time.monotonic()
        if attempt.drain_from_ms is None and health:
            attempt.drain_from_ms = health.now_ms
        self._check_draining(attempt)
        if health is None or attempt.drain_from_ms is None:
            return False
        if health.began_ms < attempt.drain_from_ms:
            return False
        if not self._all_collected:
            self._all_collected = True
            attempt.drain_from_ms = health.now_ms + self._collect_s * 1000
            return False
        self._rest.cancel()
        attempt.job.ended(within_s=15)
        return True

    def _check_draining(self, attempt: _Attempt) -> None:
        """Raise where no checkpoint has been finished for a long time."""
        if time.monotonic() - attempt.checkpoint_at > _DRAIN_S:
            what = f"it finished no checkpoint for {_DRAIN_S:.0f} s ({attempt.job.reason()})"
            self._not_drained(what)

    def _not_drained(self, what: str) -> NoReturn:
        why = f"{self._cannot_go_on}; and " if self._cannot_go_on else ""
        message = (
            f"{why}the job was not drained: {what}; what it has read since its last checkpoint may "
            f"not have landed; {_GOES_ON}"
        )
        raise AffectstreamError(message)

    def _cancel(self) -> None:
        end = time.monotonic() + _CANCEL_S
        while self._rest.job() is not None and time.monotonic() < end:
            self._rest.cancel()
            time.sleep(0.2)

    def _got_on(self, attempt: _Attempt) -> bool:
        """Tell whether this start was of use: it ran for a while, or a table has new rows.

        A job that dies of the same record again and again commits nothing new before it does.
        """
        since = attempt.running_since
        lasted = since is not None and time.monotonic() - since > _HEALTHY_S
        return lasted or self._versions() != attempt.versions

    def _versions(self) -> dict[str, int]:
        return {name: version for name, (version, _) in self._tables.refresh().items()}


def _with_own_group(config: Config) -> Config:
    """Give the state folder a consumer group of its own.

    A start without a checkpoint would go on where the group stands, not at the beginning; so a new
    folder needs a new group.
    """
    path = config.live.state / "run"
    with explain_write_errors(config.live.state):
        if not path.exists() or not path.stat().st_size:  # empty: the disk was full then
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
        group = f"{config.kafka.group}.{path.read_text(encoding='utf-8')}"
    absolute = {"tables": _absolute(config.tables), "keys": config.keys.absolute()}
    files = {
        name: path.absolute()
        for name in ("ca_file", "password_file")
        if (path := getattr(config.kafka, name)) is not None
    }
    kafka = config.kafka.model_copy(update={"group": group} | files)
    return config.model_copy(update=absolute | {"kafka": kafka, "log": None})


def _absolute(root: str) -> str:
    return root if "://" in root else str(Path(root).absolute())


def live(config: Config, console: Console, *, until_end: bool = False) -> None:
    """Run the job in the foreground; SIGTERM and Ctrl-C drain it."""
    supervisor = Supervisor(config, console, until_end=until_end)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    supervisor.run()
