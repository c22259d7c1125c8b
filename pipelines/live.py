"""Live: starts the streaming job, watches it, restores it after a crash, drains it at the end."""

import signal
import socket
import threading
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from pipelines.config import Config
from pipelines.disk import check_room
from pipelines.flink_rest import FlinkRest, Health
from pipelines.fork_server import ForkServer
from pipelines.job_process import JobProcess
from pipelines.live_screen import Screen, View
from pipelines.partitions import check_partitions, forget_partitions
from pipelines.progress import Read, TableProgress, TopicProgress
from schemas.errors import AffectstreamError

_LOCAL = "[local]"
_CANCEL_S = 30.0
_START_S = 300.0
"""A job that is not running by then is started anew; it takes 20 to 40 s, with models."""
_STALL_S = 120.0
"""A job that reads nothing for so long though records wait is started anew: seen once in Beam."""
_HEALTHY_S = 60.0


class _Ended(Exception):  # noqa: N818  a turn of the loop, not an error
    """The job is no more, for this reason."""


@dataclass(slots=True)
class _Attempt:
    """What one start of the job has come to."""

    job: JobProcess
    started: float
    running_since: float | None = None
    read_total: int = -1
    moved_at: float = field(default_factory=time.monotonic)
    done_checkpoints: int | None = None
    versions: dict[str, int] = field(default_factory=dict)


class Supervisor:
    """Keeps one job running until it is told to stop, or cannot be helped."""

    def __init__(self, config: Config, console: Console, *, until_end: bool = False) -> None:
        self._config = _with_own_group(config)
        self._console = console
        self.until_end = until_end
        self._stopping = threading.Event()
        self._topics = TopicProgress(self._config.kafka)
        self._tables = TableProgress(config.tables)
        self._rest = FlinkRest("", "")
        self._cannot_go_on: AffectstreamError | None = None
        self._all_read: tuple[int, float] | None = None
        self.starts = 0
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
            AffectstreamError: the job cannot start, or came to nothing in ``live.tries`` starts.
        """
        failures = 0
        fork_server = ForkServer(self._config.live.state / "worker.log")
        with Screen(self._console) as screen, closing(fork_server), closing(self._topics):
            while True:
                attempt = self._start(fork_server)
                reason = None
                try:
                    self._watch(attempt, screen)
                except _Ended as ended:
                    reason = str(ended)
                finally:
                    attempt.job.kill()
                    if self._config.live.flink_master != _LOCAL:
                        self._cancel()  # a cluster's job does not end with its driver
                if self._cannot_go_on:
                    raise self._cannot_go_on
                if reason is None:
                    return
                failures = 1 if self._got_on(attempt) else failures + 1
                if failures > self._config.live.tries:
                    message = f"the job failed {failures} times in a row, at last with: {reason}"
                    raise AffectstreamError(message)
                screen.note(f"restarting: {reason}")
                if self._stopping.wait(min(30.0, 0.5 * 2 ** (failures - 1))):
                    return

    def _start(self, fork_server: ForkServer) -> _Attempt:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        master = self._config.live.flink_master
        address = f"127.0.0.1:{port}" if master == _LOCAL else master
        self._rest = FlinkRest(address, self._config.kafka.group)
        job = JobProcess(self._config, port, fork_server, again=self.starts > 0)
        if job.restored is None:
            forget_partitions(self._config.live.state)
        self.starts += 1
        self.job = job
        return _Attempt(job, time.monotonic(), versions=self._versions())

    def _watch(self, attempt: _Attempt, screen: Screen) -> None:
        """Return when the job was drained; raise _Ended when it died."""
        while True:
            self._check_alive(attempt)
            health = self._rest.health()
            read = self._topics.look() if health else None
            if not self._stopping.is_set():
                self._check_surroundings(read)
            self._check_moving(attempt, health, read)
            watermark = self._rest.watermark_ms() if health else None
            view = View(health, read, watermark, self._clock_ms(), self._tables.look(), self.starts)
            screen.show(view)
            if self.until_end and self._caught_up(view):
                self._stopping.set()
            if self._stopping.is_set() and self._drained(attempt, health):
                return
            self._stopping.wait(0.2 if self._stopping.is_set() else 1.0)
            if self._stopping.is_set():
                time.sleep(0.2)

    def _check_alive(self, attempt: _Attempt) -> None:
        if (reason := attempt.job.unusable()) is not None:
            raise AffectstreamError(reason)
        if attempt.job.ended() is not None:
            raise _Ended(attempt.job.reason())
        if attempt.running_since and attempt.job.server_pid() is None:
            message = "the job server's JVM died"
            raise _Ended(message)
        if not attempt.running_since and time.monotonic() - attempt.started > _START_S:
            message = f"the job was not running {_START_S:.0f} s after its start"
            raise _Ended(message)

    def _check_moving(self, attempt: _Attempt, health: Health | None, read: Read | None) -> None:
        now = time.monotonic()
        if health and health.state == "RUNNING" and attempt.running_since is None:
            attempt.running_since = attempt.moved_at = now
        if read is None:
            return
        total = sum(read.read.values())
        if total != attempt.read_total or not sum(read.lag.values()):
            attempt.read_total, attempt.moved_at = total, now
        if attempt.running_since and now - attempt.moved_at > _STALL_S:
            message = f"nothing was read for {_STALL_S:.0f} s though records wait"
            raise _Ended(message)

    def _check_surroundings(self, read: Read | None) -> None:
        """Drain the job where a disk fills or a topic has grown: what is read till then lands."""
        try:
            check_room(self._config)
            if read:
                check_partitions(self._config.live.state, read.partitions)
        except AffectstreamError as error:
            self._cannot_go_on = error
            self._stopping.set()

    def _caught_up(self, view: View) -> bool:
        """Tell whether nothing is left to read, and all windows of what was read are closed.

        What is read by now is of now at the latest, so its last window ends a length later.
        """
        if view.read is None or view.watermark_ms is None or any(view.read.lag.values()):
            return False
        total = sum(view.read.read.values())
        if self._all_read is None or self._all_read[0] != total:
            self._all_read = (total, view.clock_ms)
        return view.watermark_ms >= self._all_read[1] + self._config.windows.length_s * 1000

    def _clock_ms(self) -> float:
        return (time.time() + self._config.kafka.clock_offset_s) * 1000

    def _drained(self, attempt: _Attempt, health: Health | None) -> bool:
        """Wait for a checkpoint that began after the request, then cancel the job.

        Before a checkpoint is complete every bundle ahead of its barrier has been committed.
        """
        if health is None:
            return attempt.running_since is None  # not yet running: nothing to drain
        if attempt.done_checkpoints is None:
            attempt.done_checkpoints = health.checkpoints
        if health.checkpoints < attempt.done_checkpoints + 2:
            return False
        self._rest.cancel()
        end = time.monotonic() + 15
        while attempt.job.ended() is None and time.monotonic() < end:
            time.sleep(0.1)
        return True

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
        return {name: version for name, (version, _) in self._tables.look().items()}


def _with_own_group(config: Config) -> Config:
    """Give the state folder a consumer group of its own.

    A start without a checkpoint would go on where the group stands, not at the beginning; so a new
    folder needs a new group.
    """
    path = config.live.state / "run"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    group = f"{config.kafka.group}.{path.read_text(encoding='utf-8')}"
    absolute = {"tables": _absolute(config.tables), "keys": config.keys.absolute()}
    kafka = config.kafka.model_copy(update={"group": group})
    return config.model_copy(update=absolute | {"kafka": kafka, "log": None})


def _absolute(root: str) -> str:
    return root if "://" in root else str(Path(root).absolute())


def live(config: Config, console: Console, *, until_end: bool = False) -> None:
    """Run the job in the foreground; SIGTERM and Ctrl-C drain it."""
    supervisor = Supervisor(config, console, until_end=until_end)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    supervisor.run()
