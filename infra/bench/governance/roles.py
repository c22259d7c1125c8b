"""Roles and audit: what a filtered query and a logged lookup cost beside an open one."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from infra.bench.serve import api
from pipelines.access.audit import AuditLog, Entry, verify
from pipelines.access.audit_writer import AuditWriter
from pipelines.access.restricted import Reader
from pipelines.access.roles import Grant, Role
from pipelines.tables.query import query
from schemas.tables import TABLES
from tests.support.served import decision
from transforms.landing.prepare import prepare_tables

_ROWS = 200_000
_ENTRIES = 20_000
_LINES = 100_000
_NAME = "expression_decisions"
_SQL = f"SELECT action, count(*) AS n FROM {_NAME} GROUP BY action"


def measure(folder: Path) -> dict[str, float]:
    """Time a query with and without a row filter, an entry of the audit log, and its verification.

    ``roles_query_ratio`` is the processor time of a query of 200,000 decisions, half of which the
    role sees, over that of the same query by a role that sees all of them. The API's figures are
    those of ``infra.bench.serve.api``, with its log on.
    """
    found = _query(folder) | _audit(folder / "audit")
    served = api.measure(folder)
    return found | {f"roles_{name}": served[name] for name in ("api_cpu_ms", "api_p99_ms")}


def _query(folder: Path) -> dict[str, float]:
    root = folder / "tables"
    prepare_tables(root)
    _fill(root)
    whole = Reader("whole", Role(description="d", tables={_NAME: Grant()}))
    half = Reader("half", Role(description="d", tables={_NAME: Grant(purposes=frozenset({"a"}))}))
    times = {
        who.name: _cpu_s(lambda who=who: query(root, _SQL, reader=who)) for who in (whole, half)
    }
    return {
        "roles_query_whole_ms": times["whole"] * 1e3,
        "roles_query_filtered_ms": times["half"] * 1e3,
        "roles_query_ratio": times["half"] / times["whole"],
    }


def _fill(root: Path) -> None:
    row = decision("bench", 0)
    schema = pa.schema([field.remove_metadata() for field in TABLES[_NAME].schema])
    columns: dict[str, Any] = {
        name: pa.array([row.get(name)] * _ROWS, schema.field(name).type) for name in schema.names
    }
    numbers = np.arange(_ROWS)
    columns["decision_id"] = pa.array([f"{n:032x}" for n in numbers])
    columns["purpose"] = pa.array(["a", "b"]).take(pa.array(numbers % 2))
    write_deltalake(root / _NAME, pa.table(columns, schema=schema), mode="append")


def _audit(folder: Path) -> dict[str, float]:
    log = AuditLog(folder, 365)
    at = datetime.now(UTC)
    entry = Entry(at, "bench (1a2b)", "analyst", "api", "latest", ("0" * 32,), 1, "200")
    writer = AuditWriter(log)
    began = time.thread_time()
    for _ in range(_ENTRIES):
        writer.add(entry)
    added_us = (time.thread_time() - began) / _ENTRIES * 1e6
    writer.close()
    began_at, lines = time.process_time(), _LINES - _ENTRIES
    for _ in range(lines // 1_000):
        log.append([entry] * 1_000)
    written_us = (time.process_time() - began_at) / lines * 1e6
    took = _cpu_s(lambda: verify(folder))
    size = sum(file.stat().st_size for file in folder.glob("*.jsonl"))
    return {
        "audit_add_us": added_us,
        "audit_write_us": written_us,
        "audit_verify_100k_s": took,
        "audit_bytes_per_line": size / _LINES,
    }


def _cpu_s(work: Callable[[], object], times: int = 5) -> float:
    """Return the median processor time of some runs."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return float(np.median(found))
