"""The proof rows of erasures, and the certificate that a person is given."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.govern.ledger import erasure_rows
from schemas.table import PARTITION, Root
from schemas.tables import ERASURES, TABLES
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_table
from transforms.landing.retry import retry_commit

NAME = "erasures"


@dataclass(frozen=True, slots=True)
class Proof:
    """One erasure: a row of ``erasures``.

    ``tables`` is table → rows deleted, ``versions`` table → the version from which on it has none.
    """

    erasure_id: str
    tombstone: str
    erased_until: datetime
    requested_at: datetime
    completed_at: datetime | None = None
    files_deleted: int = 0
    tables: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    places: Sequence[str] = ()

    @property
    def rows_deleted(self) -> int:
        """How many rows were deleted from all tables."""
        return sum(self.tables.values())


def open_proofs(root: Root) -> dict[str, Proof]:
    """Return the erasures that were begun and not completed, by tombstone."""
    rows = pa.Table.from_batches(erasure_rows(root), ERASURES)
    under_way = rows.filter(pc.is_null(rows["completed_at"]))
    return {row["tombstone"]: _proof(row) for row in under_way.to_pylist()}


def begin(root: Root, until: Mapping[str, datetime]) -> dict[str, Proof]:
    """Note of these tombstones that what was recorded until then goes: the gate closes by it.

    An erasure that was begun and not completed is gone on with.
    """
    prepare_table(root, TABLES[NAME])
    known, now = open_proofs(root), datetime.now(UTC)
    new = {
        stone: Proof(secrets.token_hex(16), stone, last, now)
        for stone, last in until.items()
        if stone not in known
    }
    if new:
        rows = pa.RecordBatch.from_pylist([_row(proof) for proof in new.values()], schema=ERASURES)
        TableWriter(root, NAME).commit([rows])
    return {stone: known.get(stone) or new[stone] for stone in until}


def note(root: Root, proofs: Sequence[Proof]) -> None:
    """Write what the proofs say now over what they said before."""
    table = DeltaTable(f"{root}/{NAME}")
    schema = pa.schema([each.remove_metadata() for each in ERASURES])
    rows = pa.Table.from_pylist([_row(proof) for proof in proofs], schema=schema)

    def commit() -> None:
        merged = table.merge(
            rows,
            predicate="t.erasure_id = s.erasure_id",
            source_alias="s",
            target_alias="t",
        )
        merged.when_matched_update_all().execute()

    retry_commit(commit, f"{root}/{NAME}", "proofs", table.update_incremental)


def _row(proof: Proof) -> dict[str, Any]:
    return {
        "erasure_id": proof.erasure_id,
        "tombstone": proof.tombstone,
        "erased_until": proof.erased_until,
        "requested_at": proof.requested_at,
        "completed_at": proof.completed_at,
        "rows_deleted": proof.rows_deleted,
        "files_deleted": proof.files_deleted,
        "tables": json.dumps(dict(proof.tables), sort_keys=True),
        "versions": json.dumps(dict(proof.versions), sort_keys=True),
        "places": json.dumps(list(proof.places)),
        PARTITION: proof.requested_at.date(),
    }


def _proof(row: Mapping[str, Any]) -> Proof:
    return Proof(
        erasure_id=row["erasure_id"],
        tombstone=row["tombstone"],
        erased_until=row["erased_until"],
        requested_at=row["requested_at"],
        completed_at=row["completed_at"],
        files_deleted=row["files_deleted"],
        tables=json.loads(row["tables"]),
        versions=json.loads(row["versions"]),
        places=json.loads(row["places"]),
    )
