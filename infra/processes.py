"""What the server scripts share: Maven, free ports, servers started and ended by pid."""

import argparse
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
HOST = "127.0.0.1"
INSTALL = "apt-get install -y openjdk-17-jdk-headless maven"


class ServerError(Exception):
    """A server that could not be fetched or started: what is wrong, and the end of its log."""


def need_java() -> None:
    """Raise where Java 17 or Maven are missing, with the command that installs them."""
    missing = [name for name in ("java", "javac", "mvn") if shutil.which(name) is None]
    if missing:
        message = f"{', '.join(missing)} not found: Java 17 and Maven are needed: {INSTALL}"
        raise ServerError(message)
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    if int(said.split('"')[1].split(".")[0]) < 17:
        message = f"Java 17 or newer is needed, this is {said.splitlines()[0]}: {INSTALL}"
        raise ServerError(message)


def maven(pom: Path, out: Path, *goals: str) -> None:
    """Run Maven goals once: again only when a file beside the pom has changed."""
    sources = sorted(p for p in pom.parent.rglob("*") if p.suffix in (".xml", ".java"))
    digest = hashlib.blake2b(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = out / "fetched"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    need_java()
    shutil.rmtree(out, ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", str(pom), f"-Dout={out}", *goals]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"Maven could not fetch {pom.parent.name}:\n{(done.stdout + done.stderr)[-3000:]}"
        raise ServerError(message)
    stamp.write_text(digest)


def free_ports(count: int) -> list[int]:
    """Return distinct free ports of this machine."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind((HOST, 0))
        return [sock.getsockname()[1] for sock in sockets]


def listens(port: int) -> bool:
    """Tell whether something accepts connections on this port."""
    with socket.socket() as sock:
        sock.settimeout(0.5)
        return sock.connect_ex((HOST, port)) == 0


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@dataclass(slots=True)
class Process:
    """One server process with a log and a pid file, so that another call finds it again.

    It is ready when it listens on its port, where it has one.
    """

    name: str
    folder: Path
    command: list[str]
    port: int | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The running process, or None."""
        try:
            pid = int((self.folder / f"{self.name}.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if alive(pid) else None

    def start(self, timeout_s: float = 60) -> None:
        """Start it, or do nothing where it runs, and wait until it is ready."""
        if self.pid is None:
            if self._listens():
                message = f"port {self.port} is taken by something else"
                raise ServerError(message)
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C of the caller is not meant for it
                    env=os.environ | self.environment,
                )
            (self.folder / f"{self.name}.pid").write_text(str(process.pid))
        end = time.monotonic() + timeout_s
        while self.port is not None and not self._listens():
            if self.pid is None or time.monotonic() > end:
                self.stop()
                message = f"{self.name} did not start; the end of {self.log}:\n{self.tail()}"
                raise ServerError(message)
            time.sleep(0.05)

    def _listens(self) -> bool:
        return self.port is not None and listens(self.port)

    def tail(self) -> str:
        """Return the last 3,000 characters of its log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.is_file() else ""

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 30) -> None:
        """End it with a signal and wait; after the time-out it is killed."""
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, how)
        end = time.monotonic() + timeout_s
        while alive(pid):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            _reap(pid)
            time.sleep(0.02)
        (self.folder / f"{self.name}.pid").unlink(missing_ok=True)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # started by another call of the script
        return


class Server(Protocol):
    """What a server script starts: one process or more."""

    @property
    def processes(self) -> list[Process]: ...

    def start(self) -> None: ...


def serve(
    about: str,
    fetch: Callable[[], None],
    make: Callable[[Path, int], Server],
    folder: Path,
    port: int,
) -> int:
    """Fetch, start, stop or show a server, as the command line asks; return the exit status."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["fetch", "start", "stop", "status"])
    parser.add_argument("--port", type=int, default=port)
    parser.add_argument("--folder", type=Path, default=folder)
    given = parser.parse_args()
    server = make(given.folder, given.port)
    try:
        if given.action == "fetch":
            fetch()
            return 0
        if given.action == "start":
            server.start()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    if given.action == "stop":
        for process in reversed(server.processes):
            process.stop()
    pids = {process.name: process.pid for process in server.processes}
    print("\n".join(f"{name}: {f'pid {pid}' if pid else 'down'}" for name, pid in pids.items()))
    return 0 if given.action == "stop" or all(pids.values()) else 1
