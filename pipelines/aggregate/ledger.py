"""The ledger: every question that was asked, what it cost, and its answer, in one sqlite file.

A question is debited, on disk, before its answer is made, and an answer is on disk before anybody
sees it. Asked again of the same version of the table, it has the answer that it had: noise that is
drawn twice could be averaged away.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from pipelines.aggregate.accounting import appearing_epsilon, epsilon_of
from pipelines.aggregate.settings import Aggregates
from pipelines.serve.online_sqlite import transaction
from schemas.errors import AffectstreamError
from schemas.strict import suggest
from schemas.table import Root

_SCHEMA = """
CREATE TABLE IF NOT EXISTS question(
    id INTEGER PRIMARY KEY, asked_at TEXT NOT NULL, audience TEXT NOT NULL,
    table_id TEXT NOT NULL, version INTEGER NOT NULL, question TEXT NOT NULL,
    rho REAL NOT NULL, threshold_delta REAL NOT NULL, answer BLOB,
    UNIQUE (audience, table_id, version, question)
) STRICT
"""
_FIND = """
SELECT id FROM question WHERE (audience, table_id, version, question) = (?, ?, ?, ?)
"""
_DEBIT = """
INSERT INTO question(audience, table_id, version, question, rho, threshold_delta, asked_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_ANSWER = "SELECT answer FROM question WHERE id = ?"
_KEEP_FIRST = "UPDATE question SET answer = ? WHERE id = ? AND answer IS NULL"
_WAIT_S = 30
"""How long to wait for the transactions of other processes, in seconds."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about one version of a table."""

    table_id: str
    version: int
    question: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What an audience has asked and spent in all: ε for the budget's δ, and what of that δ.

    ``delta`` is the part that is taken by groups which one subject may make appear.
    """

    questions: int
    epsilon: float
    delta: float


@contextmanager
def open_ledger(root: Root, settings: Aggregates, audience: str) -> Iterator["Ledger"]:
    """Open the ledger of these tables for an audience, for the length of a block.

    Raises:
        AffectstreamError: there is no such audience, or the file cannot be used.
    """
    if audience not in settings.audiences:
        known = suggest(audience, settings.audiences)
        message = f"{audience} is none of `aggregates.audiences`: {known}"
        raise AffectstreamError(message)
    with closing(Ledger(settings.ledger_file(root), settings, audience)) as ledger:
        yield ledger


class Ledger:
    """The questions of one audience, in a file that several processes may use at once."""

    def __init__(self, path: Path, settings: Aggregates, audience: str) -> None:
        """Open the file, which is made where it is missing.

        Raises:
            AffectstreamError: it cannot be, or is no such database.
        """
        self._path = path
        self._settings = settings
        self._audience = audience
        with self._explained():
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_SCHEMA)

    def debit(self, asked: Asked, rho: float, threshold_delta: float) -> tuple[int, bool]:
        """Return the number of a question, and whether it had been paid for before.

        Raises:
            AffectstreamError: it would cost more than the budget has left.
        """
        key = (self._audience, asked.table_id, asked.version, asked.question)
        with self._explained(), transaction(self._db):
            if found := self._db.execute(_FIND, key).fetchone():
                return int(found[0]), True
            self._check_budget(rho, threshold_delta)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            done = self._db.execute(_DEBIT, (*key, rho, threshold_delta, now))
            return int(done.lastrowid or 0), False

    def answer(self, number: int) -> pa.Table | None:
        """Return the answer of a question, None where it was not made yet."""
        with self._explained():
            (stored,) = self._db.execute(_ANSWER, (number,)).fetchone()
        return None if stored is None else pa.ipc.open_stream(stored).read_all()

    def keep_first(self, number: int, answer: pa.Table) -> pa.Table:
        """Keep this answer and return it, or the one that another process kept meanwhile."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, answer.schema) as stream:
            stream.write_table(answer)
        with self._explained():
            self._db.execute(_KEEP_FIRST, (sink.getvalue().to_pybytes(), number))
        return self.answer(number)

    def spent(self) -> Spent:
        """Return what the audience has spent."""
        with self._explained():
            return self._sum(self._losses())

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _losses(self) -> list[tuple[float, float]]:
        statement = "SELECT rho, threshold_delta FROM question WHERE audience = ?"
        return self._db.execute(statement, (self._audience,)).fetchall()

    def _sum(self, losses: list[tuple[float, float]]) -> Spent:
        delta = sum(threshold_delta for _, threshold_delta in losses)
        left = self._settings.budget_delta - delta
        if left <= 0:
            return Spent(len(losses), float("inf"), delta)
        noise = epsilon_of([rho for rho, _ in losses], left)
        return Spent(len(losses), noise + appearing_epsilon(delta), delta)

    def _check_budget(self, rho: float, threshold_delta: float) -> None:
        """Refuse what would be too much, within the transaction that debits."""
        epsilon, delta = self._settings.budget_epsilon, self._settings.budget_delta
        if self._sum([*self._losses(), (rho, threshold_delta)]).epsilon <= epsilon:
            return
        message = (
            f"the budget of {self._audience} (ε {epsilon:g}, δ {delta:g}) is spent: another "
            "question would exceed it; what was asked before of this version of the table is still "
            "answered"
        )
        raise AffectstreamError(message)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            message = (
                f"the ledger of aggregates {self._path} cannot be used ({error}), and nothing is "
                "answered without it: see `aggregates.ledger`"
            )
            raise AffectstreamError(message) from error
