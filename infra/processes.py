"""What the server scripts share: Maven, free ports, servers started and ended by pid."""

import argparse
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
HOST = "127.0.0.1"
JAVA = ("java", "javac", "mvn")
_APT = {"java": "openjdk-17-jdk-headless", "javac": "openjdk-17-jdk-headless", "mvn": "maven"}
_APT |= {"redis-server": "redis-server", "chromium": "chromium fonts-noto-cjk", "npm": "npm"}
_GO = "https://go.dev/dl/go1.25.0.linux-$(dpkg --print-architecture).tar.gz"  # Debian 12 has 1.19
_OLDEST = {"java": (["java", "-version"], 17), "go": (["go", "version"], 1.21)}
"""How to ask for a version, and the oldest that does; Go from 1.21 on fetches a newer itself."""


class ServerError(Exception):
    """A server that could not be fetched or started: what is wrong, and the end of its log."""


def need(*programs: str) -> None:
    """Raise where a program is missing or too old, with the command that installs it."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        message = f"{', '.join(missing)} not found; install with: {_install(missing)}"
        raise ServerError(message)
    for name in set(programs) & set(_OLDEST):
        command, oldest = _OLDEST[name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        # Java tells first of options that it picked up from the environment
        output = done.stdout + done.stderr
        said = re.search(r"^.*version \D{0,3}(\d+(?:\.\d+)?).*$", output, re.M)
        if said is None or float(said[1]) < oldest:
            told = said[0] if said else output.partition("\n")[0]
            message = f"{name} is older than {oldest} ({told}); install with: {_install([name])}"
            raise ServerError(message)


def _install(programs: Iterable[str]) -> str:
    """Return one command line for a Debian machine."""
    packages = dict.fromkeys(_APT[name] for name in programs if name in _APT)
    commands = [f"apt-get install -y {' '.join(packages)}"] if packages else []
    if "go" in programs:
        commands.append(f"curl -L {_GO} | tar -xzC /usr/local && PATH=$PATH:/usr/local/go/bin")
    return " && ".join(commands)


def maven(pom: Path, out: Path, lib: Path, *goals: str) -> None:
    """Run Maven goals that copy jars into ``lib``: again only when a file beside the pom changed.

    Maven refuses what differs from the checksum that comes with it, and this what differs from
    ``jars.sha256`` beside the pom, which came by another way.
    """
    sources = sorted(p for p in pom.parent.rglob("*") if p.suffix in (".xml", ".java"))
    digest = hashlib.blake2b(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = out / "fetched"
    if stamp.is_file() and stamp.read_text() == digest:
        need("java")  # it was there when the jars were fetched
        return
    need(*JAVA)
    shutil.rmtree(out, ignore_errors=True)
    command = ["mvn", "-q", "-B", "--strict-checksums", "-f", str(pom), f"-Dout={out}"]
    command += [f"-DoutputDirectory={lib}", *goals]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"Maven could not fetch {pom.parent.name}:\n{(done.stdout + done.stderr)[-3000:]}"
        raise ServerError(message)
    check_jars(lib, pom.parent / "jars.sha256")
    stamp.write_text(digest)


def check_jars(lib: Path, digests: Path) -> None:
    """Compare the jars of a folder with their digests, in the form of ``sha256sum``.

    Raises:
        ServerError: a jar is another one, is not named, or is missing; other jars are removed.
    """
    lines = (line.split() for line in digests.read_text().splitlines())
    wanted = {name: digest for digest, name in lines}
    found = {path.name: _sha256(path) for path in lib.glob("*.jar")}
    wrong = sorted(name for name in wanted.keys() | found if wanted.get(name) != found.get(name))
    if not wrong:
        return
    for path in lib.glob("*.jar"):
        path.unlink()
    message = (
        f"{wrong[0]} and {len(wrong) - 1} more are not the jars of {digests}: fetch them again; if "
        "the pom has changed, make the list anew with sha256sum, and look what is new in it"
    )
    raise ServerError(message)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; OSError where it is no more."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _identity(pid: int) -> str:
    """Return pid, start in clock ticks and boot: a number is given again, all three are not."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{pid} {_stat(pid)[19]} {boot}"


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
        """The running process, or None; a number that another process has by now is none."""
        try:
            known = (self.folder / f"{self.name}.pid").read_text()
            pid = int(known.split()[0])
            return pid if alive(pid) and known == _identity(pid) else None
        except (OSError, ValueError, IndexError):
            return None

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
            (self.folder / f"{self.name}.pid").write_text(_identity(process.pid))
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


def status_of(step: Callable[[], None]) -> int:
    """Do a step and return the exit status; print what it lacked or could not do."""
    try:
        step()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Say what ``make test`` needs and this machine lacks; return the exit status."""
    return status_of(lambda: need(*JAVA, "go", "redis-server", "chromium", "npm"))


if __name__ == "__main__":
    sys.exit(main())
