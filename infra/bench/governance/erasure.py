"""A thousand persons erased at once, from tables of a million windows."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from rich.console import Console

from infra.bench.serve.query import write_features
from pipelines.config import load_config
from pipelines.govern.erasure.erase import Request, erase
from schemas.keys import read_keys, write_keys
from schemas.tables import TABLES
from transforms.landing.prepare import prepare_tables
from transforms.pseudonymise import Pseudonyms

_ROWS, _DAYS, _SUBJECTS, _ERASED = 1_000_000, 30, 10_000, 1_000
_MADE = ("emotion_features", "observations", "expression_decisions")


def measure(folder: Path) -> dict[str, float]:
    """Erase every tenth of 10,000 subjects; each table has a million rows of 30 days.

    ``erasure_1000_s`` is the whole command: tombstones, rows, files, log, and the search of every
    byte that is left.
    """
    write_keys(folder / "keys.yaml")
    config = load_config(None, tables=folder / "tables", keys=folder / "keys.yaml")
    keys = read_keys(config.keys)
    names = [f"player-{number}" for number in range(_SUBJECTS)]
    pseudonyms = Pseudonyms(keys)
    references = [min(pseudonyms.references(name, ["EU"])) for name in names]
    _write(folder / "tables", references)
    began = time.monotonic()
    requests = [Request(name) for name in names[:_ERASED]]
    proofs = erase(config, keys, requests, Console(quiet=True))
    took = time.monotonic() - began
    left = DeltaTable(folder / "tables" / _MADE[0]).to_pyarrow_dataset()
    erased = pa.array(references[:_ERASED])
    found = left.count_rows(filter=pc.field("subject_ref").isin(erased))
    return {
        "erasure_persons": len(proofs),
        "erasure_rows": sum(proof.rows_deleted for proof in proofs),
        "erasure_files": proofs[0].files_deleted,
        "erasure_left": found,
        "erasure_1000_s": took,
    }


def _write(root: Path, references: list[str]) -> None:
    """Write the features, and rows of the other tables that have their columns from these."""
    prepare_tables(root)
    made = write_features(root.parent / "made", rows=_ROWS, days=_DAYS) / _MADE[0]
    rng = np.random.default_rng(24)
    subjects = pa.array(references)
    for batch in DeltaTable(made).to_pyarrow_dataset().to_batches(batch_size=50_000):
        whose = subjects.take(pa.array(rng.integers(0, len(references), batch.num_rows)))
        rows = pa.table(batch).drop_columns("subject_ref").append_column("subject_ref", whose)
        for name in _MADE:
            write_deltalake(root / name, _as_rows(rows, name), mode="append")


def _as_rows(rows: pa.Table, name: str) -> pa.Table:
    schema = TABLES[name].schema
    more = {TABLES[name].row_id: rows["window_id"], "event_time": rows["window_start"]}
    columns = {n: rows[n] for n in rows.column_names} | more
    filled = [
        columns[field.name].cast(field.type)
        if field.name in columns
        else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(filled, schema=schema)
