"""One supervisor for each state folder: locks it, and ends what a killed one left running."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from schemas.errors import AffectstreamError
from schemas.strict import is_locked, make_private_folder, open_private, write_private

GRAPH_FILE = "pipeline.pb"
"""The graph as built: later starts by the same supervisor use it again."""
LOG_FILE = "job.log"
UNUSABLE_FILE = "unusable"
"""Why the job cannot start."""
UNUSABLE = 3
"""Exit status of a process that cannot start the job; ``UNUSABLE_FILE`` says why."""
RESTORING = "--restoring"
"""The argument of a process that starts a job from a checkpoint."""
POISON = "poison"
"""Folder in the state folder in which workers note what they have in work."""
NOTES = "--notes"
"""The workers' argument that names that folder."""
TOKEN = "--token"
"""The workers' argument that names the file of the job's token."""

_LOCK, _DRIVER = "lock", "driver.json"
_JOB_SERVER = "jobserver.jar"
_END_S = 10.0
_LOAD_S = 5.0
"""How long a process may show no command line: 39 ms were measured on two busy cores."""


@contextmanager
def explain_write_errors(state: Path) -> Iterator[None]:
    """Say what is wrong where the folder can't be written to.

    Raises:
        AffectstreamError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        message = (
            f"cannot write to the state folder {state} ({error.strerror}): make room there, or "
            "name a folder that you may write to with `--state`"
        )
        raise AffectstreamError(message) from error


@contextmanager
def hold_state_folder(state: Path) -> Iterator[None]:
    """Lock the folder for this process, and end the job of a supervisor that was killed.

    Raises:
        AffectstreamError: another supervisor runs with this folder.
    """
    with explain_write_errors(state):
        make_private_folder(state)  # what subjects showed stands in its checkpoints
        lock = open_private(state / _LOCK)
    with lock:  # the kernel releases it however this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = (
                f"a live job runs with the state in {state}: end it first, or name another folder "
                "with `--state`"
            )
            raise AffectstreamError(message) from error
        _end_orphaned_job(state)
        yield


def is_held(state: Path) -> bool:
    """Tell whether a supervisor runs with this folder."""
    return is_locked(state / _LOCK, fcntl.LOCK_SH)


def note_driver(state: Path, pid: int) -> None:
    """Write down which process leads the job's process group."""
    known = {"boot": _boot_id(), "pid": pid, "started": _start_ticks(pid)}
    write_private(state / _DRIVER, json.dumps(known).encode())


def _end_orphaned_job(state: Path) -> None:
    """End the noted driver's process group if it is still that one."""
    try:
        known = json.loads((state / _DRIVER).read_text(encoding="utf-8"))
        pid, boot, started = known["pid"], known["boot"], known["started"]
    except (FileNotFoundError, ValueError, KeyError):
        return
    if boot != _boot_id():
        return
    # Without its leader a group of this number is ours if a job server is in it.
    alive = pid in group_members(pid)
    if not (_start_ticks(pid) == started if alive else _has_job_server(pid)):
        return
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    end = time.monotonic() + _END_S
    while group_members(pid) and time.monotonic() < end:
        time.sleep(0.02)


def _has_job_server(group: int) -> bool:
    """Tell whether a job server is in this process group.

    A process has no command line while the kernel loads its program, and its parent goes on before
    that is done; so a member without one is asked again.
    """
    end = time.monotonic() + _LOAD_S
    while True:
        commands = [command_of(pid) for pid in group_members(group)]
        if any(_JOB_SERVER in command for command in commands):
            return True
        if all(commands) or time.monotonic() > end:
            return False
        time.sleep(0.02)


def is_job_server(pid: int) -> bool:
    """Tell whether this process is the JVM of Beam's job server."""
    return _JOB_SERVER in command_of(pid)


def group_members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    return [pid for pid in psutil.pids() if _group_of(pid) == group and is_alive(pid)]


def living_children(parent: int) -> list[int]:
    """Return the living processes that this one is the parent of."""
    try:
        return [child.pid for child in psutil.Process(parent).children() if is_alive(child.pid)]
    except psutil.NoSuchProcess:
        return []


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but not yet waited for does not."""
    try:
        state = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return state not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def command_of(pid: int) -> str:
    """Return the command line of a process, empty where it has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the machine did.

    Unlike a time of day this stays the same when the clock is set.
    """
    try:
        since_boot_s = psutil.Process(pid).create_time() - psutil.boot_time()
    except psutil.NoSuchProcess:
        return None
    return round(since_boot_s * os.sysconf("SC_CLK_TCK"))


def _boot_id() -> str:
    """Return the kernel's name for this run of the machine, which psutil does not know."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
