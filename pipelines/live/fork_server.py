"""Workers that need no imports: one process imports everything once, and forks each worker.

Beam, torch and transformers take 13 s to import while a JVM starts on the same two cores. What
Flink starts (``pipelines.live.worker``) asks here for a worker, and lives as long as it does.
"""

import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from schemas.strict import open_private

VARIABLE = "AFFECTSTREAM_FORK_SERVER"
"""Environment variable that names the socket; without it a worker imports for itself."""

WORKER, GRAPH = "worker", "graph"
"""What is asked for: a worker, or the job's graph, which needs the same imports, in a file."""

ALLOCATION = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "134217728",
}
"""Settings of glibc for workers. By default it opens one arena per thread, moves its thresholds,
and kept more and more freed memory (157 MB after 8 minutes at 1,500 events/s). With 256 kB every
larger tensor is mapped and faulted in again: a backlog was read at 360 events/s with the shipped
models, and at 546 with these."""


class ForkServer:
    """The serving process; it ends when the process that started it does."""

    def __init__(self, log: Path, form: str = "text") -> None:
        # A folder of its own: nobody else may enter it, and a socket's path has 107 bytes at most.
        self._folder = Path(tempfile.mkdtemp(prefix="affectstream-"))
        self.socket = self._folder / "socket"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open_private(log) as out, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.socket))
            listener.listen()  # callers wait in the queue while the server imports
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.live.fork_server", str(listener.fileno()), form],
                pass_fds=[listener.fileno()],
                env=os.environ | ALLOCATION,
                stdin=subprocess.PIPE,  # when it closes, nobody needs the server any more
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the supervisor, which drains the job
            )

    @property
    def pid(self) -> int:
        """Return the serving process, the parent of all its workers."""
        return self._process.pid

    def close(self) -> None:
        """End the server; workers end with those who asked for them."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)


def serve(descriptor: int, form: str) -> None:
    """Fork a process for each caller of this socket until the standard input ends.

    ``form`` is that of the log, which workers inherit: text or json.

    A caller says in one line, a JSON list, what it wants, ``WORKER`` or ``GRAPH``, with arguments.
    """
    with socket.socket(fileno=descriptor) as listener:
        gc.disable()  # it would look through the growing heap again and again: 1.2 of 4.1 s
        from pipelines.observe.logs import write_logs  # noqa: PLC0415

        write_logs(form)
        from pipelines.live.graph import write_graph  # noqa: PLC0415  all that workers need, too
        from pipelines.live.sdk_harness import end_worker, run_harness  # noqa: PLC0415

        gc.freeze()  # a worker's collector would write to, and so copy, each object it has here
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a worker's status
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            caller = listener.accept()[0]
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                gc.enable()
                what, *argv = json.loads(caller.makefile().readline())
                threading.Thread(
                    target=_follow_caller, args=(caller, end_worker), daemon=True
                ).start()
                if what == GRAPH:
                    caller.sendall(bytes([write_graph(argv)]))
                else:
                    run_harness(argv)
                return
            caller.close()


def _follow_caller(caller: socket.socket, end_worker: Callable[[], NoReturn]) -> None:
    """End this worker when its caller is gone: Flink ends a worker by ending that."""
    caller.recv(1)
    end_worker()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
