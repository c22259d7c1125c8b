"""One supervisor a state folder: holds it, and ends what a killed one left running."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import AffectstreamError

_LOCK, _DRIVER = "lock", "driver.json"
_JOB_SERVER = b"jobserver.jar"
_END_S = 10.0


@contextmanager
def usable(state: Path) -> Iterator[None]:
    """Say what is wrong where the folder can't be written to."""
    try:
        yield
    except OSError as error:
        message = (
            f"cannot write to the state folder {state} ({error.strerror}): make room there, or "
            "name a folder that you may write to with `--state`"
        )
        raise AffectstreamError(message) from error


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold the folder for this process, after the job of a supervisor that was killed has ended.

    Raises:
        AffectstreamError: another supervisor runs with this folder.
    """
    with usable(state):
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / _LOCK).open("w")
    with lock:  # the kernel lets go of it however this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = (
                f"a live job runs with the state in {state}: end it first, or name another folder "
                "with `--state`"
            )
            raise AffectstreamError(message) from error
        _end_left_over(state)
        yield


def note_driver(state: Path, pid: int) -> None:
    """Write down which process the job's group is named after."""
    known = {"boot": _boot(), "pid": pid, "started": _started(pid)}
    (state / _DRIVER).write_text(json.dumps(known), encoding="utf-8")


def _end_left_over(state: Path) -> None:
    """End the noted driver's process group if it is still that one."""
    try:
        known = json.loads((state / _DRIVER).read_text(encoding="utf-8"))
        pid, boot, started = known["pid"], known["boot"], known["started"]
    except (FileNotFoundError, ValueError, KeyError):
        return
    members = group_members(pid)
    # Without its leader a group of this number is ours if a job server is in it.
    same = _started(pid) == started if pid in members else any(map(is_job_server, members))
    if boot != _boot() or not same:
        return
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    end = time.monotonic() + _END_S
    while group_members(pid) and time.monotonic() < end:
        time.sleep(0.02)


def is_job_server(pid: int) -> bool:
    """Tell whether this process is the JVM of Beam's job server."""
    return _JOB_SERVER in command_of(pid)


def group_members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    return [pid for pid, _, of in processes() if of == group]


def processes() -> Iterator[tuple[int, int, int]]:
    """Yield process, parent and process group of all that live."""
    for path in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(path.name))
        if fields and fields[0] != "Z":
            yield int(path.name), int(fields[1]), int(fields[2])


def command_of(pid: int) -> bytes:
    """Return the command line of a process, empty where it is no more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _started(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the machine did."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state, parent and group on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
