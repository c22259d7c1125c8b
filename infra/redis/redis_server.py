"""A redis server here: ``python -m infra.redis.redis_server fetch|start|stop|status``."""

import sys
from dataclasses import dataclass
from pathlib import Path

from infra.processes import BUILD, HOST, Process, need, serve


def fetch() -> None:
    """Raise where Debian's redis-server is not installed."""
    need("redis-server")


@dataclass(slots=True)
class Redis:
    """One redis server on loopback that keeps its data in memory only."""

    folder: Path
    port: int = 6379
    password: str | None = None

    @property
    def address(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def processes(self) -> list[Process]:
        command = ["redis-server", "--bind", HOST, "--port", str(self.port), "--save", ""]
        command += ["--dir", str(self.folder)]
        command += ["--requirepass", self.password] if self.password else []
        return [Process("redis", self.folder, command, self.port)]

    def start(self) -> None:
        """Start it."""
        fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.processes[0].start()

    def stop(self) -> None:
        """Stop it."""
        self.processes[0].stop()


if __name__ == "__main__":
    sys.exit(serve(__doc__, fetch, Redis, BUILD / "redis", 6379))
