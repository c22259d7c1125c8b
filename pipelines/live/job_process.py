"""The streaming job as processes: driver, job server with its mini-cluster, Python workers."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from pipelines.config import Config
from pipelines.live.fork_server import ALLOCATION, VARIABLE, ForkServer
from pipelines.live.guards.job_token import write_token
from pipelines.live.guards.rest_tls import make_certificate
from pipelines.live.state_folder import (
    GRAPH_FILE,
    LOG_FILE,
    POISON,
    RESTORING,
    UNUSABLE,
    UNUSABLE_FILE,
    command_of,
    group_members,
    is_job_server,
    living_children,
    note_driver,
)
from schemas.strict import make_private_folder, open_private, write_private
from transforms.isolation import deaths

LOCAL = "[local]"
"""As ``live.flink_master``: a mini-cluster in the job server's JVM."""
TLS = "tls"
"""Folder in the state folder of what guards the mini-cluster's REST interface."""
SERVER_LOST = 4
"""Exit status of a driver whose job server broke off, as one that was killed does."""


def newest_checkpoint(state: Path) -> Path | None:
    """Return the newest complete checkpoint; Flink may remove others meanwhile."""
    found = []
    for metadata in (state / "checkpoints").glob("*/chk-*/_metadata"):
        try:
            found.append((metadata.stat().st_mtime_ns, metadata.parent))
        except FileNotFoundError:
            continue
    return max(found)[1] if found else None


def forget_unused(state: Path, restored: Path | None, *, again: bool) -> None:
    """Remove the graph that another supervisor built, and checkpoints that nothing restores."""
    if not again:
        (state / GRAPH_FILE).unlink(missing_ok=True)
    for job in (state / "checkpoints").glob("*"):
        if restored is None or job != restored.parent:
            shutil.rmtree(job, ignore_errors=True)


class JobProcess:
    """One start of the job, restored from a checkpoint where there is one."""

    def __init__(
        self, config: Config, rest_port: int, fork_server: ForkServer, *, again: bool
    ) -> None:
        self._state = config.live.state.absolute()
        self._fork_server = fork_server
        self.restored = newest_checkpoint(self._state)
        forget_unused(self._state, self.restored, again=again)
        deaths.start_anew(self._state / POISON)
        write_token(self._state)
        self._write_settings(rest_port, guarded=config.live.flink_master == LOCAL)
        path = self._state / "config.json"
        write_private(path, config.model_dump_json().encode())
        command = [sys.executable, "-m", "pipelines.live.driver", str(path)]
        command += ["--again"] if again else []
        command += [RESTORING] if self.restored else []
        self.log = self._state / LOG_FILE
        if self.log.exists():
            self.log.replace(self._state / "job.previous.log")
        with open_private(self.log) as log:
            self._driver = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | ALLOCATION | {VARIABLE: str(fork_server.socket)},
                start_new_session=True,  # its process group is what ``kill`` ends
                umask=0o077,  # Flink's checkpoints, logs and temporary files are nobody else's
            )
        try:
            note_driver(self._state, self._driver.pid)
        except OSError:
            self.kill()
            raise

    def _write_settings(self, rest_port: int, *, guarded: bool) -> None:
        """Write what only Flink's own settings can say: ``--savepoint_path`` is ignored locally.

        ``guarded`` is whether the REST interface is that of this job's own mini-cluster.
        """
        settings: dict[str, object] = {
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.bind-port": rest_port,
            "jobmanager.bind-host": "127.0.0.1",  # else all of the machine's addresses
            "taskmanager.bind-host": "127.0.0.1",
            "web.submit.enable": "false",
            "state.checkpoints.num-retained": 2,
            # ms; by default Flink says for ten seconds how far the watermark was, and a job that
            # has read everything waits for that
            "metrics.fetcher.update-interval": 1000,
            "restart-strategy.type": "failure-rate",
            "restart-strategy.failure-rate.max-failures-per-interval": 6,
            # a record that fails again does so every 6 to 10 s, with the workers' start
            "restart-strategy.failure-rate.failure-rate-interval": "3 min",
            "restart-strategy.failure-rate.delay": "500 ms",
        }
        if self.restored:
            settings["execution.savepoint.path"] = self.restored.as_uri()
        if guarded:
            settings |= make_certificate(self._state / TLS)
        conf = self._state / "conf"
        make_private_folder(conf)
        lines = [f"{name}: {value}" for name, value in settings.items()]
        write_private(conf / "flink-conf.yaml", ("\n".join(lines) + "\n").encode())

    @property
    def driver_pid(self) -> int:
        return self._driver.pid

    def server_pid(self) -> int | None:
        """Return the job server's JVM, None before it is there and after it died."""
        for pid in self._members():
            if is_job_server(pid):
                return pid
        return None

    def worker_pids(self) -> list[int]:
        """Return the Python workers, forked by the fork server or started without it.

        Before there are any, that may be the process that builds the graph.
        """
        return living_children(self._fork_server.pid) + [
            pid for pid in self._members() if "pipelines.live.sdk_harness" in command_of(pid)
        ]

    def _members(self) -> list[int]:
        """Return the living processes of the driver's group."""
        return group_members(self._driver.pid)

    def exit_status(self, within_s: float = 0.0) -> int | None:
        """Wait this long for the driver's end; return its exit status, None where it still runs."""
        try:
            return self._driver.wait(within_s)
        except subprocess.TimeoutExpired:
            return None

    def await_server_end(self, within_s: float) -> None:
        """Wait at most this long for the end of the job server, which a cancelled job ends.

        The driver removes its files before, and sleeps for a second after it.
        """
        end = time.monotonic() + within_s
        while self.server_pid() is not None and time.monotonic() < end:
            time.sleep(0.05)

    def kill(self) -> None:
        """End driver, JVM and workers at once: after an interrupt a driver may hang."""
        with suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGKILL)
        workers = self.worker_pids()
        for pid in workers:  # by themselves they take a second to notice
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deaths.forget(self._state / POISON, workers)
        self._driver.wait()
        end = time.monotonic() + 10
        while (self._members() or self.worker_pids()) and time.monotonic() < end:
            time.sleep(0.02)

    def startup_error(self) -> str | None:
        """Return why the driver could not start the job, None where it could."""
        if self._driver.poll() != UNUSABLE:
            return None
        return (self._state / UNUSABLE_FILE).read_text(encoding="utf-8")

    def stage_error(self) -> str | None:
        """Return why a stage fails on every record, None where none does."""
        return deaths.read_broken(self._state / POISON)

    def count_poison(self) -> int:
        """Return how many records no worker takes any more, since workers died of them."""
        return len(deaths.journal(self._state / POISON).condemned())

    def last_error(self) -> str:
        """Return the last error in the job's log as one line, or where that log is."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        errors = re.findall(
            r"^(?:.*?Caused by: )?((?:[\w.]+)?(?:Error|Exception): .+)$", text, re.M
        )
        return errors[-1].strip()[:300] if errors else f"see {self.log}"
