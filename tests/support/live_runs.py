"""What the tests of the live path share: settings, a supervisor in a thread, tables compared."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from rich.console import Console

from infra.flink import flink_server
from infra.kafka.kafka_server import Broker
from infra.processes import free_ports
from pipelines.config import Config, Kafka, load_config
from pipelines.kafka.clients import python_settings
from pipelines.kafka.topics import create_topics
from pipelines.live.supervisor import Supervisor
from schemas.events import TOPICS
from schemas.keys import write_keys
from schemas.modalities import MODALITIES
from schemas.tables import TABLES

QUIET = Console(quiet=True)
CONSTANT = {modality: {"model": "constant"} for modality in MODALITIES}


def live_config(kafka: Kafka, jars: Path, folder: Path, keys: Path, **settings: Any) -> Config:
    """Settings of a job whose state and tables are in this folder."""
    live = {"state": folder / "state", "jars": jars} | settings.pop("live", {})
    return load_config(
        None, kafka=kafka.model_dump(), tables=folder / "tables", keys=keys, live=live, **settings
    )


def take_any_time(kafka: Kafka) -> None:
    """Let the topics take records of any time, as brokers before 4.0 did and theirs still may."""
    change = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    admin = KafkaAdminClient(**python_settings(kafka))
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, t, change) for t in TOPICS])
    finally:
        admin.close()


@contextmanager
def servers(folder: Path, models: dict[str, dict[str, str]]) -> Iterator[tuple[Broker, Config]]:
    """Start a broker with all topics; yield it and the settings of a job on it."""
    broker = Broker(folder / "broker", *free_ports(2))
    broker.start()
    try:
        kafka = Kafka(bootstrap=broker.bootstrap)
        create_topics(kafka, 2)
        flink_server.fetch()
        write_keys(folder / "keys.yaml")
        yield (
            broker,
            live_config(kafka, flink_server.OUT, folder, folder / "keys.yaml", models=models),
        )
    finally:
        broker.process.stop()


class Running:
    """A supervised job in a thread; what ends it is raised when the block ends."""

    def __init__(self, config: Config, *, until_end: bool = False) -> None:
        self.supervisor = Supervisor(config, QUIET, until_end=until_end)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.supervisor.run()
        except BaseException as error:  # raised again where it is awaited
            self.error = error

    def __enter__(self) -> "Running":
        self._thread.start()
        return self

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
        ended = not self._thread.is_alive()
        if not ended:
            self.supervisor.stop()
            self._thread.join(60)
            if self.supervisor.job:
                self.supervisor.job.kill()
        if self.error:
            raise self.error
        log = self.supervisor.job.log.read_text(errors="replace") if self.supervisor.job else ""
        assert ended, f"the job did not end in {timeout_s} s; the end of its log:\n{log[-3000:]}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.supervisor.stop()
        self._thread.join(90)
        if self.supervisor.job:
            self.supervisor.job.kill()


def run_to_end(config: Config, timeout_s: float = 300) -> Supervisor:
    """Run the job until everything is read and all windows are closed."""
    with Running(config, until_end=True) as running:
        running.join(timeout_s)
    return running.supervisor


def wait_for(what: Callable[[], bool], timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


ROLES = {
    "pipelines.cli.main": "supervisor",
    "pipelines.live.driver": "driver",
    "jobserver.jar": "jvm",
    "pipelines.live.fork_server": "fork_server",
    "pipelines.live.worker": "worker",
    "pipelines.live.sdk_harness": "worker",
}
"""What a process of a live job is, by a part of its command line."""


def memory_mb() -> float:
    """Return the proportional memory of all processes of the live job that this process started."""
    return sum(memory_by_role_mb(psutil.Process()).values())


def memory_by_role_mb(top: psutil.Process) -> dict[str, float]:
    """Return the proportional memory (PSS) of a live job's processes by role.

    The job's processes are ``top`` and its descendants, as far as they have a role. Memory that
    several of them share counts in equal parts. A worker is a fork of the fork server and has its
    command line, so what that has started counts as worker.
    """
    found = dict.fromkeys(ROLES.values(), 0.0)
    with suppress(psutil.Error):
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):  # it ended meanwhile
                if role := _role(process):
                    found[role] += process.memory_full_info().pss / 2**20
    return found


def _role(process: psutil.Process) -> str | None:
    """Return what a process is to the job, None where it is no part of one."""
    command = " ".join(process.cmdline())
    role = next((role for part, role in ROLES.items() if part in command), None)
    parent = process.parent()
    forked = role == "fork_server" and parent and _role(parent) == role
    return "worker" if forked else role


def listeners() -> set[tuple[str, str]]:
    """Return jar or name, and address, of all that this process's descendants listen with."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            jars = [Path(part).name for part in child.cmdline() if part.endswith(".jar")]
            for socket in child.net_connections("tcp"):
                if socket.status == psutil.CONN_LISTEN:
                    address = socket.laddr.ip.removeprefix("::ffff:")
                    found.add((jars[0] if jars else child.name(), address))
    return found


def table(root: str | Path, name: str) -> pa.Table:
    rows = DeltaTable(f"{root}/{name}").to_pyarrow_table()
    ids = rows[TABLES[name].row_id].to_pylist()
    assert len(set(ids)) == len(ids), f"{name} has a row twice"
    return rows.sort_by([(TABLES[name].row_id, "ascending")])


def rows_of(config: Config, name: str) -> int:
    """Return how many rows of a table have landed; a job makes its tables when it starts."""
    there = DeltaTable.is_deltatable(f"{config.tables}/{name}")
    return len(table(config.tables, name)) if there else 0


def same(one: pa.Table, other: pa.Table) -> None:
    """Equal rows; floating-point values to 1e-3."""
    assert one.schema == other.schema
    assert len(one) == len(other)
    for name in one.schema.names:
        a, b = one[name].combine_chunks(), other[name].combine_chunks()
        kind = a.type
        if pa.types.is_list(kind):
            assert pa.compute.list_value_length(a).equals(pa.compute.list_value_length(b))
            a, b, kind = a.flatten(), b.flatten(), kind.value_type
        if pa.types.is_floating(kind):
            np.testing.assert_allclose(a.to_numpy(False), b.to_numpy(False), atol=1e-3)
        else:
            assert a.equals(b), name


def differing(one: pa.Table, other: pa.Table, row_id: str) -> set[str]:
    """Return the ids of rows that only one of them has, or whose values differ by 1e-3 or more."""
    known = [set(rows[row_id].to_pylist()) for rows in (one, other)]
    ids = pa.array(sorted(known[0] & known[1]), pa.string())
    first, second = (
        rows.take(pc.index_in(ids, rows[row_id].combine_chunks())) for rows in (one, other)
    )
    apart = np.zeros(len(ids), bool)
    for name in one.schema.names:
        a, b = first[name].combine_chunks(), second[name].combine_chunks()
        if not a.equals(b):
            pairs = zip(a.to_pylist(), b.to_pylist(), strict=True)
            apart |= np.array([not _close(x, y) for x, y in pairs], bool)
    return known[0] ^ known[1] | set(ids.filter(pa.array(apart)).to_pylist())


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-3
    return bool(one == other)


def same_letters(one: str, other: str) -> None:
    """Equal dead letters by stage, code and event id: offsets differ from log to log."""
    first, second = (
        sorted(
            map(tuple, (row.values() for row in table(root, "dead_letters").select(
                ["stage", "code", "event_id"]).to_pylist())), key=str)
        for root in (one, other)
    )  # fmt: skip
    assert first == second


COMPARED = sorted(set(TABLES) - {"runs", "dead_letters"})
