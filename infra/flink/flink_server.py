"""Beam's Flink runner here: ``python -m infra.flink.flink_server fetch|start|stop|status``.

``fetch`` is all that ``affectstream live`` needs: its mini-cluster lives in the job server's JVM.
``start`` starts a standalone cluster, for ``affectstream live --flink-master 127.0.0.1:8081``.
"""

import json
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from infra.processes import BUILD, HOST, Process, ServerError, maven, serve

HERE = Path(__file__).resolve().parent

OUT = BUILD / "flink"
_OPENS = [
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio",
    "java.text", "java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
    "java.util.concurrent.locks", "sun.nio.ch",
]  # fmt: skip
_MAINS = {
    "jobserver.jar": "affectstream.JobServer",
    "expansion.jar": "affectstream.LoopbackExpansion",
}


def fetch() -> None:
    """Fetch the jars (189 of them, 196 MB), build the Kafka source, write the two starting jars."""
    lib = OUT / "lib"
    goals = ("package", "dependency:copy-dependencies", "-DincludeScope=runtime")
    maven(HERE / "pom.xml", OUT, lib, *goals)
    for name, main_class in _MAINS.items():
        if not (OUT / name).is_file():
            _pathing_jar(OUT / name, main_class, [OUT / "affectstream-io.jar", *lib.glob("*.jar")])


def _pathing_jar(path: Path, main_class: str, jars: list[Path]) -> None:
    """Write a jar whose manifest alone starts a class with other jars: Beam wants one jar."""
    headers = {
        "Manifest-Version": "1.0",
        "Main-Class": main_class,
        "Add-Opens": " ".join(f"java.base/{package}" for package in _OPENS),
        "Class-Path": " ".join(jar.as_uri() for jar in sorted(jars)),
    }
    with zipfile.ZipFile(path, "w") as jar:
        manifest = "".join(_wrapped(f"{name}: {value}") for name, value in headers.items())
        jar.writestr("META-INF/MANIFEST.MF", manifest + "\r\n")


def _wrapped(line: str) -> str:
    """Wrap a header at 72 bytes, as the jar format asks."""
    parts = [line[:70], *(line[at : at + 69] for at in range(70, len(line), 69))]
    return "\r\n ".join(parts) + "\r\n"


@dataclass(slots=True)
class Cluster:
    """A standalone Flink cluster of one job manager and one task manager, on loopback only."""

    folder: Path
    rest_port: int = 8081
    rpc_port: int = 6123
    slots: int = 2

    @property
    def processes(self) -> list[Process]:
        entry = "org.apache.flink.runtime"
        manager = self._java(f"{entry}.entrypoint.StandaloneSessionClusterEntrypoint", "512m")
        worker = self._java(f"{entry}.taskexecutor.TaskManagerRunner", "1g")
        return [
            Process("jobmanager", self.folder, manager, self.rest_port),
            Process("taskmanager", self.folder, worker),
        ]

    def start(self) -> None:
        """Fetch what is missing, write the settings and start both processes."""
        fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "jobmanager.rpc.address": HOST,
            "jobmanager.rpc.port": self.rpc_port,
            "jobmanager.memory.process.size": "1g",
            "rest.address": HOST,
            "rest.port": self.rest_port,
            "rest.bind-address": HOST,
            "jobmanager.bind-host": HOST,
            "web.submit.enable": "false",
            "taskmanager.bind-host": HOST,
            "taskmanager.host": HOST,
            "taskmanager.numberOfTaskSlots": self.slots,
            "taskmanager.cpu.cores": self.slots,
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
            "taskmanager.memory.task.heap.size": "512m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.managed.size": "64m",
            "taskmanager.memory.network.min": "64m",
            "taskmanager.memory.network.max": "64m",
        }
        lines = [f"{name}: {value}" for name, value in settings.items()]
        (self.folder / "flink-conf.yaml").write_text("\n".join(lines) + "\n")
        for process in self.processes:
            process.start()
        self._wait_for_slots(self.processes[1])

    def _wait_for_slots(self, worker: Process, timeout_s: float = 60) -> None:
        """Wait until the task manager has told the job manager of its slots."""
        end = time.monotonic() + timeout_s
        while not self._free_slots():
            if worker.pid is None or time.monotonic() > end:
                message = f"no task manager came up; the end of {worker.log}:\n{worker.tail()}"
                raise ServerError(message)
            time.sleep(0.2)

    def _free_slots(self) -> int:
        with suppress(OSError), urlopen(f"http://{HOST}:{self.rest_port}/overview") as answer:
            return int(json.load(answer)["slots-total"])
        return 0

    def _java(self, main_class: str, heap: str) -> list[str]:
        opens = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS]
        path = f"{OUT}/affectstream-io.jar:{OUT}/lib/*"
        return ["java", f"-Xmx{heap}", *opens, "-cp", path, main_class,
                "--configDir", str(self.folder)]  # fmt: skip


if __name__ == "__main__":
    sys.exit(serve(__doc__, fetch, Cluster, BUILD / "flink-cluster", 8081))
