"""The archive: rows of past days, sealed under a key of each person that an erasure destroys.

For history that has to stay as it is, on media that cannot be rewritten: a person's rows become
unreadable when the key is gone (crypto-shredding), in every copy.
"""

import datetime as dt
import hmac
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from deltalake import DeltaTable

from pipelines.tables.arrow_types import plain_types
from schemas.arrow import equal_runs
from schemas.errors import AffectstreamError
from schemas.ids import unambiguous_text
from schemas.strict import replace_file
from schemas.table import PARTITION, Root
from schemas.tables import TABLES

_KEY_BITS, _NONCE = 256, 12  # bytes of nonce, as NIST SP 800-38D has it
_SEALED = pa.schema(
    [
        ("table", pa.string()),
        (PARTITION, pa.date32()),
        ("owner", pa.string()),
        ("rows", pa.int64()),
        ("sealed", pa.binary()),
    ]
)
"""One row for each person and day: nonce, then the rows as Arrow IPC under AES-256-GCM."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What an archive gave back, and of how many rows the key is gone."""

    rows: pa.Table
    shredded_rows: int


class Vault:
    """The persons' keys, in an sqlite file that only its owner may read.

    A person's key stands under a keyed hash of the reference, so that the file names nobody. What
    is deleted is overwritten.
    """

    def __init__(self, path: Path, secret: bytes) -> None:
        """Open the file, which is made where it is missing.

        Raises:
            AffectstreamError: it cannot be, or is no such file.
        """
        self._path, self._secret = path, secret
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS keys(owner TEXT PRIMARY KEY, key BLOB) WITHOUT ROWID"
            )

    def owner(self, reference: str) -> str:
        """Return under which name this subject's key stands."""
        message = unambiguous_text("archive", reference)
        return hmac.digest(self._secret, message, "sha256").hex()[:32]

    def key(self, owner: str) -> AESGCM | None:
        """Return an owner's key, None where there is none."""
        with self._explained():
            found = self._db.execute("SELECT key FROM keys WHERE owner = ?", (owner,)).fetchone()
        return AESGCM(found[0]) if found else None

    def key_for(self, owner: str) -> AESGCM:
        """Return an owner's key, which is made where there is none."""
        made = AESGCM.generate_key(_KEY_BITS)
        with self._explained():
            self._db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (owner, made))
        known = self.key(owner)
        assert known is not None
        return known

    def shred(self, references: Iterable[str]) -> int:
        """Destroy the keys of these subjects; return how many there were."""
        owners = [(self.owner(reference),) for reference in references]
        with self._explained():
            before = self._db.total_changes
            self._db.executemany("DELETE FROM keys WHERE owner = ?", owners)
            return self._db.total_changes - before

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            message = f"the vault {self._path} cannot be used ({error}): see `archive.vault`"
            raise AffectstreamError(message) from error


def archive_days(root: Root, name: str, days: Iterable[dt.date], vault: Vault, out: Path) -> int:
    """Write a sealed file for each of these days of a table; return how many rows they hold.

    Raises:
        AffectstreamError: no such table of persons stands, or a file of that day is there already.
    """
    table = TABLES.get(name)
    if table is None or table.subject is None:
        known = ", ".join(each.name for each in TABLES.values() if each.subject)
        message = f"{name} is no table of persons: archive one of {known}"
        raise AffectstreamError(message)
    place = f"{root}/{name}"
    if not DeltaTable.is_deltatable(place):
        message = f"{name} does not stand under {root}: a replay or live run creates it"
        raise AffectstreamError(message)
    dataset, written = DeltaTable(place).to_pyarrow_dataset(), 0
    for day in days:
        rows = plain_types(dataset.to_table(filter=pc.field(PARTITION) == pa.scalar(day)))
        if rows.num_rows:
            _write(out / name / f"{day}.parquet", _seal(name, table.subject, day, rows, vault))
            written += rows.num_rows
    return written


def open_archive(folder: Path, vault: Vault) -> Opened:
    """Return the rows of an archived table whose owners' keys are there.

    Raises:
        AffectstreamError: there is nothing to open, or something was changed since it was sealed.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        message = f"no sealed day stands in {folder}: give the folder of one archived table"
        raise AffectstreamError(message)
    parts, shredded = [], 0
    for file in files:
        for row in pq.read_table(file, schema=_SEALED).to_pylist():
            if (key := vault.key(row["owner"])) is None:
                shredded += row["rows"]
                continue
            bound = _bound_to(row["table"], row[PARTITION], row["owner"])
            sealed = row["sealed"]
            try:
                opened = key.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
            except InvalidTag as error:
                message = f"{file} was changed since it was sealed, or the vault is another one"
                raise AffectstreamError(message) from error
            parts.append(pa.ipc.open_stream(opened).read_all())
    schema = TABLES[folder.name].schema if folder.name in TABLES else pa.schema([])
    rows = pa.concat_tables(parts, promote_options="default") if parts else schema.empty_table()
    return Opened(rows, shredded)


def _seal(name: str, subject: str, day: dt.date, rows: pa.Table, vault: Vault) -> pa.Table:
    made = []
    ordered = rows.sort_by([(subject, "ascending")])
    codes = ordered[subject].combine_chunks().dictionary_encode().indices.fill_null(-1)
    for start, stop in equal_runs(codes.to_numpy()):
        mine = ordered.slice(start, stop - start)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, mine.schema) as writer:
            writer.write_table(mine)
        owner, nonce = vault.owner(mine[subject][0].as_py() or ""), os.urandom(_NONCE)
        bound = _bound_to(name, day, owner)
        sealed = vault.key_for(owner).encrypt(nonce, sink.getvalue().to_pybytes(), bound)
        made.append([name, day, owner, len(mine), nonce + sealed])
    columns = zip(*made, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, _SEALED, strict=True)], _SEALED)


def _bound_to(name: str, day: dt.date, owner: str) -> bytes:
    """Return what a sealed row belongs to: elsewhere it does not open."""
    return unambiguous_text(name, day.isoformat(), owner)


def _write(path: Path, rows: pa.Table) -> None:
    if path.exists():
        message = f"{path} is there already: an archive is written once, give another --out"
        raise AffectstreamError(message)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
        pq.write_table(rows, file)


def shred(path: Path | None, secret: bytes, references: Iterable[str]) -> int:
    """Destroy these subjects' keys in a vault, if there is one; return how many there were."""
    if path is None or not path.exists():
        return 0
    with closing(Vault(path, secret)) as vault:
        return vault.shred(references)
