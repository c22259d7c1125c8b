"""An S3 store over plain files: ``python -m infra.s3.s3_server fetch|start|stop|status``.

versitygw keeps objects as files; Delta's writers need only its conditional puts. The folder's file
system must have extended attributes.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.processes import BUILD, HOST, Process, ServerError, need, serve
from schemas.strict import write_private

HERE = Path(__file__).resolve().parent

MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
BINARY = BUILD / "s3" / "bin" / "versitygw"


def fetch() -> None:
    """Build the server with Go where it is missing (two minutes on two cores)."""
    if BINARY.is_file():
        return
    need("go")
    environment = os.environ | {"GOBIN": str(BINARY.parent), "GOFLAGS": "-modcacherw"}
    done = subprocess.run(
        ["go", "install", MODULE], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        message = f"Go could not build {MODULE}:\n{done.stderr[-3000:]}"
        raise ServerError(message)


@dataclass(slots=True)
class Store:
    """One S3 server on loopback; each folder below ``folder/data`` is a bucket."""

    folder: Path
    port: int = 9200
    access_key: str = "affectstream"
    secret_key: str = "only-on-loopback"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the tables' library finds this store."""
        return {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    @property
    def processes(self) -> list[Process]:
        data = self.folder / "data"
        command = [str(BINARY), "--port", f"{HOST}:{self.port}", "posix", str(data)]
        keys = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        return [Process("s3", self.folder, command, self.port, keys)]

    def start(self, bucket: str = "tables") -> None:
        """Build and start it with a bucket; the file ``environment`` exports its variables."""
        fetch()
        (self.folder / "data" / bucket).mkdir(parents=True, exist_ok=True)
        exports = [f"export {name}={value}\n" for name, value in self.environment.items()]
        write_private(self.folder / "environment", "".join(exports).encode())
        self.processes[0].start()


if __name__ == "__main__":
    sys.exit(serve(__doc__, fetch, Store, BUILD / "s3-store", 9200))
