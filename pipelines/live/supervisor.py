"""Live: starts the streaming job, watches it, restores it after a crash, drains it at the end."""

import signal
import socket
import threading
import time
import uuid
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pipelines.config import Config
from pipelines.kafka.topics import check_topics
from pipelines.live.disk import check_room
from pipelines.live.drain import DRAIN_S, Drain, DrainVerdict
from pipelines.live.failures import Ending, Failures
from pipelines.live.flink_rest import FlinkRest, Health
from pipelines.live.fork_server import ForkServer
from pipelines.live.job_process import LOCAL, TLS, JobProcess
from pipelines.live.partitions import check_partitions, forget_partitions
from pipelines.live.progress import ReadProgress, TopicProgress, UnreadableRecords
from pipelines.live.screen import Screen, View
from pipelines.live.state_folder import explain_write_errors, hold_state_folder
from pipelines.live.watch import BrokerWatch, Verdict, Watch
from pipelines.observe.live import LiveMetrics
from pipelines.observe.logs import write_logs
from pipelines.serve.feed import feeding
from pipelines.tables.compaction import CompactedTables
from schemas.errors import AffectstreamError, BrokerAwayError
from schemas.keys import provider_of
from schemas.logs.events import LogEvent
from schemas.strict import make_private_folder, write_private
from transforms.landing.repair import repair_tables

_CANCEL_S = 30.0
_DRIVER_ENDS_S = 3.0
_CANCELLED_S = 15.0


class Supervisor:
    """Keeps one job running until it is asked to stop, or cannot be helped."""

    def __init__(self, config: Config, console: Console, *, until_end: bool = False) -> None:
        self._config = _with_own_group(config)
        self._console = console
        self.until_end = until_end
        self._stopping = threading.Event()
        self._topics = TopicProgress(self._config.kafka)
        self._tables = CompactedTables(config.tables)
        self._unreadable = UnreadableRecords()
        self._broker = BrokerWatch()
        self._drain = Drain(config.windows.length_s, config.live.commit_s)
        self._drain_cause: AffectstreamError | None = None
        self._rest = FlinkRest("", "")
        self._metrics: LiveMetrics
        self.starts = 0
        self.view: View | None = None
        self.job: JobProcess | None = None

    def stop(self) -> None:
        """Ask for a drained end: what was read is committed, the next start goes on from there."""
        self._stopping.set()

    def health(self) -> Health | None:
        """Return what Flink says of the job, None while it does not answer."""
        return self._rest.health()

    def run(self) -> None:
        """Run the job until it is stopped.

        Raises:
            AffectstreamError: the job cannot start, failed too often (``live.tries``), lost what it
                reads from, or was not drained; or another one runs with the same state.
        """
        state, failures = self._config.live.state, Failures(self._config.live.tries)
        check_room(self._config)
        repair_tables(self._config.tables)  # what cannot be repaired is said here, not in a log
        with (
            hold_state_folder(state),
            closing(self._topics),
            Screen(self._console, structured=self._config.observe.log == "json") as screen,
            closing(ForkServer(state / "worker.log", self._config.observe.log)) as fork_server,
            closing(LiveMetrics(self._config.observe, self._tables)) as metrics,
        ):
            self._metrics = metrics
            if metrics.problem:
                screen.note(metrics.problem, LogEvent.METRICS_OFF, reason=metrics.problem)
            while (ending := self._run_job(fork_server, screen)) is not None:
                if self._check_before_restart(ending, screen):
                    failures.add(ending)
                known = {"killed": ending.killed, "poisoned": ending.poisoned}
                text = f"restarting: {ending.reason}"
                screen.note(text, LogEvent.JOB_RESTARTING, **known, advanced=ending.advanced)
                metrics.count_restart()
                if self._stopping.wait(failures.pause_s):
                    self._fail_drain(f"it ended before: {ending.reason}")

    def _run_job(self, fork_server: ForkServer, screen: Screen) -> Ending | None:
        """Start the job and follow it; return how it ended, None where it was drained."""
        job, watch = self._start_job(fork_server), Watch()
        try:
            versions, poison = self._versions(), job.count_poison()
            verdict, ending = self._follow(job, watch, screen), None
            if verdict:
                poisoned = job.count_poison() > poison
                # A job that dies of the same record each time commits nothing new before it does.
                advanced = poisoned or watch.healthy or self._versions() != versions
                ending = Ending(_explain(verdict, job), verdict.by_kill, advanced, poisoned)
        finally:
            job.kill()
            if self._config.live.flink_master != LOCAL:
                self._cancel()  # a cluster's job does not end with its driver
        if self._drain_cause:
            raise self._drain_cause
        if ending and self._stopping.is_set():
            self._fail_drain(f"it ended before: {ending.reason}")
        return ending

    def _start_job(self, fork_server: ForkServer) -> JobProcess:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        master, state = self._config.live.flink_master, self._config.live.state
        address = f"127.0.0.1:{port}" if master == LOCAL else master
        tls = state / TLS if master == LOCAL else None
        self._rest = FlinkRest(address, self._config.kafka.group, tls)
        if master != LOCAL:
            self._cancel()  # the job of a supervisor that was killed
        with explain_write_errors(state):
            job = JobProcess(self._config, port, fork_server, again=self.starts > 0)
        if job.restored is None:
            forget_partitions(state)
        self.starts += 1
        self.job, self.view = job, None
        return job

    def _follow(self, job: JobProcess, watch: Watch, screen: Screen) -> Verdict | None:
        """Return why the job is over, None once it was drained.

        Raises:
            AffectstreamError: it cannot start, a stage fails on every record, or a drain failed.
        """
        while True:
            if (verdict := self._judge_process(job, watch)) is not None:
                return verdict
            health = self._rest.health()
            read = self._topics.measure() if health else None
            if not self._stopping.is_set():
                doubtful = health is not None and (read is None or read.truncated)
                self._check_surroundings(read, doubtful=doubtful, screen=screen)
            verdict = watch.judge_progress(health, read)
            if verdict and not self._stopping.is_set():  # a drain has a limit of its own
                return verdict
            self.view = view = self._observe(health, read)
            screen.show(view)
            self._metrics.update(view, self._rest)
            if (
                self.until_end
                and not self._stopping.is_set()
                and self._drain.has_caught_up(read, view.watermark_ms, view.clock_ms)
            ):
                self._stopping.set()
            if self._stopping.is_set() and self._has_drained(job, watch, health):
                return None
            if self._stopping.wait(1.0):
                time.sleep(0.2)

    def _judge_process(self, job: JobProcess, watch: Watch) -> Verdict | None:
        if (error := job.startup_error() or job.stage_error()) is not None:
            raise AffectstreamError(error)
        server_runs = job.server_pid() is not None
        # The driver of a job that failed ends the job server, and itself a moment later.
        wait_s = _DRIVER_ENDS_S if watch.running and not server_runs else 0.0
        return watch.judge_process(job.exit_status(wait_s), server_runs=server_runs)

    def _observe(self, health: Health | None, read: ReadProgress | None) -> View:
        tables = self._tables.refresh()
        self._tables.compact()
        return View(
            health,
            read,
            self._rest.watermark_ms() if health else None,
            (time.time() + self._config.kafka.clock_offset_s) * 1000,
            tables,
            self.starts,
            self._unreadable.update(self._tables.table("dead_letters")),
            self._rest.repeated() if health else 0,
        )

    def _check_surroundings(
        self, read: ReadProgress | None, *, doubtful: bool, screen: Screen
    ) -> None:
        """Ask for a drain where a disk fills or Kafka is not what it was: what was read lands."""
        try:
            check_room(self._config)
            if self._broker.needs_check(doubtful=doubtful):
                self._topics_answer(screen)
            elif read and not doubtful:
                check_partitions(self._config.live.state, read.partitions)
        except AffectstreamError as error:
            self._drain_cause = error
            self._stopping.set()

    def _check_before_restart(self, ending: Ending, screen: Screen) -> bool:
        """Check again what the job needs, and wait for the broker; False where it was away.

        Raises:
            AffectstreamError: something that the job needs can no longer be used.
        """
        if not ending.killed:
            from pipelines.run.preflight import check_files  # noqa: PLC0415  imports Beam: seconds

            check_files(self._config)
        if self._topics_answer(screen):
            return True
        while not self._stopping.wait(1.0) and not self._topics_answer(screen):
            pass
        return False

    def _topics_answer(self, screen: Screen) -> bool:
        """Check that the topics can be read on; return False while the broker is away.

        Raises:
            AffectstreamError: they cannot, or the broker has been away for too long.
        """
        try:
            check_topics(self._config.kafka)
        except BrokerAwayError as error:
            note, event = self._broker.record_absence(error), LogEvent.BROKER_AWAY
        else:
            note, event = self._broker.record_answer(), LogEvent.BROKER_BACK
        if note:
            screen.note(note, event)
        return event is LogEvent.BROKER_BACK

    def _has_drained(self, job: JobProcess, watch: Watch, health: Health | None) -> bool:
        """Cancel the job once what was read before the request has landed; tell whether it has.

        Raises:
            AffectstreamError: it will not.
        """
        verdict = self._drain.judge(
            health,
            running=watch.running,
            restarted=self.starts > 1,
            checkpoint_at=watch.checkpoint_at,
        )
        match verdict:
            case DrainVerdict.RESTARTING:
                self._fail_drain("it was being started again")
            case DrainVerdict.STUCK:
                error = job.last_error()
                self._fail_drain(f"it finished no checkpoint for {DRAIN_S:.0f} s ({error})")
            case DrainVerdict.DONE:
                self._rest.cancel()
                job.await_server_end(_CANCELLED_S)
        return verdict in (DrainVerdict.DONE, DrainVerdict.NOTHING_READ)

    def _fail_drain(self, reason: str) -> NoReturn:
        cause = f"{self._drain_cause}; and " if self._drain_cause else ""
        message = (
            f"{cause}the job was not drained: {reason}; what it has read since its last checkpoint "
            "may not have landed; the next start goes on from the newest checkpoint"
        )
        raise AffectstreamError(message)

    def _cancel(self) -> None:
        end = time.monotonic() + _CANCEL_S
        while self._rest.job() is not None and time.monotonic() < end:
            self._rest.cancel()
            time.sleep(0.2)

    def _versions(self) -> dict[str, int]:
        return {name: version for name, (version, _) in self._tables.refresh().items()}


def _explain(verdict: Verdict, job: JobProcess) -> str:
    """Say why the job is over, with the last error of its log where that may say more."""
    match verdict:
        case Verdict.FAILED | Verdict.KILLED:
            return job.last_error()
        case Verdict.SERVER_DIED:
            return verdict.value
        case _:
            return f"{verdict.value} ({job.last_error()})"


def _with_own_group(config: Config) -> Config:
    """Return the settings with absolute paths and a consumer group of this state folder alone.

    A start without a checkpoint would go on where the group stands, not at the beginning; so a new
    folder needs a new group.
    """
    path = config.live.state / "run"
    with explain_write_errors(config.live.state):
        if not path.exists() or not path.stat().st_size:  # empty: the disk was full then
            make_private_folder(path.parent)
            write_private(path, uuid.uuid4().hex[:12].encode())
        group = f"{config.kafka.group}.{path.read_text(encoding='utf-8')}"
    keys = config.keys if provider_of(config.keys) is not None else config.keys.absolute()
    absolute: dict[str, object] = {"tables": _absolute(config.tables), "keys": keys}
    files = {
        name: path.absolute()
        for name in ("ca_file", "password_file")
        if (path := getattr(config.kafka, name)) is not None
    }
    kafka = config.kafka.model_copy(update={"group": group} | files)
    if config.signatures.keys:
        signers = {"keys": config.signatures.keys.absolute()}
        absolute["signatures"] = config.signatures.model_copy(update=signers)
    return config.model_copy(update=absolute | {"kafka": kafka, "log": None})


def _absolute(root: str) -> str:
    return root if "://" in root else str(Path(root).absolute())


def live(config: Config, console: Console, *, until_end: bool = False, feed: bool = False) -> None:
    """Run the job in the foreground; SIGTERM and Ctrl-C drain it.

    With ``feed``, what lands is handed on at the same time, and at the end what is left of it. The
    job does not wait for a sink that is away, and goes on where a feed cannot.
    """
    write_logs(config.observe.log)
    supervisor = Supervisor(config, console, until_end=until_end)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    with feeding(config, console) if feed else nullcontext():
        supervisor.run()
