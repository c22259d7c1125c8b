"""What Flink starts as a worker: asks the fork server for one, or becomes one.

It imports next to nothing, and ends when its worker does.
"""

import json
import os
import socket
import sys

from pipelines.live.fork_server import VARIABLE, WORKER


def main(argv: list[str]) -> None:
    """Have a worker forked and wait for its end; become one where no fork server answers."""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(os.environ[VARIABLE])
        except (KeyError, OSError):  # a cluster's own machine, or the fork server died
            harness = [sys.executable, "-m", "pipelines.live.sdk_harness", *argv]
            os.execv(sys.executable, harness)
        server.sendall(json.dumps([WORKER, *argv]).encode() + b"\n")
        server.recv(1)


if __name__ == "__main__":
    main(sys.argv[1:])
