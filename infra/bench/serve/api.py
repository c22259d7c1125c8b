"""The HTTP API: lookups of the newest row by one client, at a rate and as fast as they go."""

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import yaml

from infra.processes import ROOT, Process, free_ports
from pipelines.config import load_config
from pipelines.serve.api.token_file import add_token
from pipelines.serve.follow import Changes, Position
from pipelines.serve.online import COLUMNS
from pipelines.serve.stores import open_online
from schemas.settings import Online
from schemas.tables import TABLES
from tests.support.served import feature

NAME = "emotion_features"
_SUBJECTS = 20_000
_RATE, _SECONDS, _CONNECTIONS = 1_000, 20, 16
_BURST = 20_000


def measure(folder: Path) -> dict[str, float]:
    """Time lookups over HTTP, and the processor time that the server takes for each.

    ``api_p99_ms`` counts from when a request was due, 1,000 a second, to its last byte; client and
    server share the machine.
    """
    names = [f"{number:032x}" for number in range(_SUBJECTS)]
    with _server(folder, names) as (port, token, pid):
        process = psutil.Process(pid)
        asyncio.run(_ask(port, token, names, 2_000, None))  # warm
        waits = asyncio.run(_ask(port, token, names, _RATE * _SECONDS, _RATE))
        before, began = _cpu_s(process), time.perf_counter()
        asyncio.run(_ask(port, token, names, _BURST, None))
        took, used = time.perf_counter() - began, _cpu_s(process) - before
        return {
            "api_cpu_ms": used / _BURST * 1e3,
            "api_requests_per_s": _BURST / took,
            "api_p50_ms": float(np.percentile(waits, 50)),
            "api_p99_ms": float(np.percentile(waits, 99)),
            "api_rss_mb": process.memory_info().rss / 1e6,
        }


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


@contextmanager
def _server(folder: Path, names: list[str]) -> Iterator[tuple[int, str, int]]:
    """Start a server over a store of these subjects; yield its port, a token and its pid."""
    (port,) = free_ports(1)
    store, tokens = folder / "online.sqlite", folder / "tokens.json"
    _fill(Online(store=str(store)), names)
    token = add_token(tokens, "bench", "analyst", timedelta(days=1))
    config = load_config(
        None,
        tables=folder / "tables",
        keys=folder / "keys.yaml",
        online={"store": str(store)},
        api={"port": port, "tokens": tokens, "requests_per_s": 1e6},
        access={"audit": folder / "audit"},
    )
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "pipelines.cli.main", "serve", "--config", str(path)]
    process = Process("api", folder, command, port, {"PYTHONPATH": str(ROOT)})
    process.start()
    pid = process.pid
    assert pid is not None
    try:
        yield port, token, pid
    finally:
        process.stop()


def _fill(settings: Online, names: list[str]) -> None:
    """Write a row of each subject, whose window has just ended."""
    schema = pa.schema([TABLES[NAME].schema.field(name) for name in COLUMNS[NAME]])
    row = feature("bench", 0) | {"window_end": datetime.now(UTC)}
    whole = [{name: row.get(name) for name in schema.names} | {"subject_ref": n} for n in names]
    rows = pa.Table.from_pylist(whole, schema=schema)
    with closing(open_online(settings)) as store:
        store.write(Changes(NAME, rows, (), Position("bench", 0)))


async def _ask(
    port: int, token: str, names: list[str], count: int, rate: int | None
) -> list[float]:
    """Send so many requests over some connections, at a rate or one after the other.

    Returns the milliseconds of each.
    """
    chosen = iter(random.Random(5).choices(names, k=count))
    waits: list[float] = []
    began, due = time.perf_counter(), iter(range(count))

    async def ask_on() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in due:
            start = time.perf_counter()
            if rate is not None:
                at = began + number / rate
                await asyncio.sleep(max(0.0, at - start))
                start = at
            line = f"GET /v1/subjects/{next(chosen)}/latest HTTP/1.1\r\nHost: api\r\n"
            writer.write(f"{line}Authorization: Bearer {token}\r\n\r\n".encode())
            await _read_answer(reader)
            waits.append((time.perf_counter() - start) * 1e3)
        writer.close()

    await asyncio.gather(*(ask_on() for _ in range(_CONNECTIONS if rate else 4)))
    return waits


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.partition(b"\r\n")[0].decode()
    if " 200 " not in status:
        message = f"the server answered {status}"
        raise RuntimeError(message)
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
