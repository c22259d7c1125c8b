"""The online store in one sqlite file, which several processes may read while one writes."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.serve.follow import Changes, Position
from pipelines.serve.online import Entry, StoreAwayError, entries
from schemas.errors import AffectstreamError
from schemas.settings import Online

_SCHEMA = """
CREATE TABLE IF NOT EXISTS latest(
    subject_ref TEXT, "table" TEXT, purpose TEXT,
    window_end INTEGER, revision INTEGER, expires INTEGER, row BLOB,
    PRIMARY KEY (subject_ref, "table", purpose)
);
CREATE TABLE IF NOT EXISTS position("table" TEXT PRIMARY KEY, table_id TEXT, version INTEGER);
"""
_TAKE = """
INSERT INTO latest VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    window_end = excluded.window_end, revision = excluded.revision,
    expires = excluded.expires, row = excluded.row
WHERE (excluded.window_end, excluded.revision) > (latest.window_end, latest.revision)
"""
_MOVE = """
INSERT INTO position VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET table_id = excluded.table_id, version = excluded.version
"""
_FORGET_OTHERS = """
DELETE FROM latest WHERE "table" = ? AND subject_ref NOT IN (SELECT subject_ref FROM standing)
"""
_FIND = 'SELECT * FROM latest WHERE subject_ref = ? AND "table" = ?'


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write all of a block or nothing, with no other writer from its beginning on."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


class SqliteStore:
    """Rows in a file in WAL mode; what is erased is overwritten in it, and in its log."""

    def __init__(self, settings: Online) -> None:
        """Open the file, which is made where it is missing.

        Raises:
            AffectstreamError: it cannot be, or is no such database.
        """
        self._path = Path(settings.store)
        self._ttl_s = settings.ttl_s
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)  # it holds people's rows: nobody else's to read
            self._db = sqlite3.connect(
                self._path, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.execute("PRAGMA cache_size = -32000")  # 32 MB of 1 GB a million people
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            message = f"cannot open the online store {self._path} ({error}): see `online.store`"
            raise AffectstreamError(message) from error

    def positions(self) -> dict[str, Position]:
        """Return how far each table was taken in."""
        with self._explained():
            found = self._db.execute("SELECT * FROM position").fetchall()
        return {table: Position(table_id, version) for table, table_id, version in found}

    def write(self, changes: Changes) -> None:
        """Take in what is new and forget whom it says, with its position, all or nothing."""
        with self._explained(), transaction(self._db):
            self._forget(changes.erased)
            if changes.standing is not None:
                self._forget_others(changes.table, changes.standing)
            self._db.executemany(_TAKE, entries(changes, self._ttl_s))
            self._db.execute(_MOVE, (changes.table, *changes.position))
        if changes.erased or changes.standing is not None:
            self._truncate_log()

    def take(self, rows: Iterable[Entry]) -> None:
        """Take in rows that have grown and are no changes of a follower's: no position moves."""
        with self._explained(), transaction(self._db):
            self._db.executemany(_TAKE, rows)

    def find(self, table: str, subject_ref: str) -> list[Entry]:
        """Return what is held of a subject, at most one row for each purpose."""
        with self._explained():
            return [Entry(*row) for row in self._db.execute(_FIND, (subject_ref, table))]

    def erase(self, subjects: Iterable[str]) -> None:
        """Forget all that is held of these subjects, and overwrite it."""
        with self._explained(), transaction(self._db):
            self._forget(subjects)
        self._truncate_log()

    def purge(self, before: int) -> int:
        """Forget what expired before this time, in microseconds; return how many rows that was."""
        with self._explained():
            return self._db.execute("DELETE FROM latest WHERE expires < ?", (before,)).rowcount

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _forget(self, subjects: Iterable[str]) -> None:
        self._db.executemany(
            "DELETE FROM latest WHERE subject_ref = ?", ((subject,) for subject in subjects)
        )

    def _forget_others(self, table: str, standing: Iterable[str]) -> None:
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS standing(subject_ref TEXT PRIMARY KEY)")
        self._db.execute("DELETE FROM standing")
        self._db.executemany("INSERT INTO standing VALUES (?)", ((ref,) for ref in standing))
        self._db.execute(_FORGET_OTHERS, (table,))
        self._db.execute("DELETE FROM standing")

    def _truncate_log(self) -> None:
        with self._explained():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            message = f"the online store {self._path} cannot be used: {error}"
            raise StoreAwayError(message) from error
