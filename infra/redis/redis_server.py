"""A redis server here: ``python -m infra.redis.redis_server fetch|start|stop|status``."""

import sys
from dataclasses import dataclass
from pathlib import Path

from infra.processes import BUILD, HOST, Process, need, serve
from schemas.strict import write_private


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
        return [Process("redis", self.folder, ["redis-server", str(self._settings)], self.port)]

    @property
    def _settings(self) -> Path:
        """The settings' file: any user of the machine sees the arguments of a process."""
        return self.folder / "redis.conf"

    def start(self) -> None:
        """Start it."""
        fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"bind {HOST}", f"port {self.port}", 'save ""', f'dir "{self.folder}"']
        lines += [f'requirepass "{self.password}"'] if self.password else []
        write_private(self._settings, ("\n".join(lines) + "\n").encode())
        self.processes[0].start()

    def stop(self) -> None:
        """Stop it."""
        self.processes[0].stop()


if __name__ == "__main__":
    sys.exit(serve(__doc__, fetch, Redis, BUILD / "redis", 6379))
