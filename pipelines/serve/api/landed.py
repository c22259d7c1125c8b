"""What the tables say of a subject: history by page, and why a decision was made."""

import base64
import binascii
import re
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError

from pipelines.access.roles import API_PAGES, Grant, Purposes, Role
from pipelines.serve.api.problems import Problem, ProblemError
from pipelines.serve.followed_table import FollowedTable
from pipelines.serve.literals import moment, same, text
from pipelines.serve.online import COLUMNS
from pipelines.tables.arrow_types import plain_types
from schemas.table import PARTITION, Root
from schemas.tables import TABLES

HISTORY: Final = {"features": "emotion_features", "decisions": "expression_decisions"}
"""What a history may be of → its table."""
LONG = ("avatar_weights",)
"""Columns that a history leaves out: 52 numbers in each row."""
OBSERVED = (
    *("event_id", "event_time", "modality", "expression", "confidence", "abstained"),
    *("valence", "arousal", "quality", "model_id"),
)
_READ = (*HISTORY.values(), "observations")
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_DAY = timedelta(days=1)
_FAILURES = (DeltaError, pa.ArrowException, OSError)


class Page(NamedTuple):
    """Rows in the order of time, and the cursor of the next page, None behind the last."""

    rows: list[dict[str, Any]]
    next: str | None


class LandedRows:
    """Reads tables through the query engine; each is opened once and followed from then on.

    A pyarrow dataset would take 2 s to open where a table has 1,800 small files.
    """

    def __init__(self, root: Root, now: Callable[[], datetime]) -> None:
        self._tables = {name: FollowedTable(root, name) for name in _READ}
        self._now = now
        self._lock = threading.Lock()

    def check(self) -> None:
        """Look whether all tables that answers come from are there and can be read.

        Raises:
            ProblemError: one is not.
        """
        for name in _READ:
            try:
                with self._lock:
                    self._newest(name)
            except _FAILURES as error:
                raise ProblemError(Problem.TABLES_AWAY) from error

    def history(
        self,
        table: str,
        subject_ref: str,
        grant: Grant,
        purposes: Purposes,
        span: tuple[datetime, datetime],
        limit: int,
        after: str | None,
    ) -> Page:
        """Return rows of a subject whose windows ended within the span, at most ``limit``.

        Columns that the grant does not show are null.

        Raises:
            ProblemError: the cursor is none, or the tables cannot be read.
        """
        row_id = TABLES[table].row_id
        where = [
            f"subject_ref = {_text(subject_ref)}",
            f"window_end >= {moment(span[0])} AND window_end < {moment(span[1])}",
            *_on_days(*span),
            *_of_purposes(purposes),
            *grant.conditions(COLUMNS[table], self._now()),
        ]
        if after is not None:
            end, last = _read_cursor(after)
            where.append(
                f"(window_end > {moment(end)} OR "
                f"(window_end = {moment(end)} AND {row_id} > {_text(last)}))"
            )
        columns = [name for name in COLUMNS[table] if name not in LONG]
        order = f"ORDER BY window_end, {row_id} LIMIT {limit + 1}"
        rows = self._select(table, columns, where, order)
        shown = [_blank(grant, row) for row in rows[:limit]]
        if len(rows) <= limit:
            return Page(shown, None)
        last_row = rows[limit - 1]
        return Page(shown, _cursor(last_row["window_end"], last_row[row_id]))

    def explanation(
        self, subject_ref: str, decision_id: str, role: Role, purposes: Purposes
    ) -> dict[str, Any] | None:
        """Return a decision with its window and observations, None where there is none.

        Columns that the role does not see are null.

        Raises:
            ProblemError: the tables cannot be read.
        """
        mine = f"subject_ref = {_text(subject_ref)}"
        grants = [role.tables[name] for name in API_PAGES["explanation"]]
        found = self._select(
            "expression_decisions",
            COLUMNS["expression_decisions"],
            [
                mine,
                f"decision_id = {_text(decision_id)}",
                *_of_purposes(purposes),
                *grants[0].conditions(COLUMNS["expression_decisions"], self._now()),
            ],
        )
        if not found:
            return None
        decision = found[0]
        window = self._window(mine, decision, grants[1])
        observations = [] if window is None else self._observations(mine, window, grants[2])
        return {
            "decision": _blank(grants[0], decision),
            "window": None if window is None else _blank(grants[1], window),
            "observations": [_blank(grants[2], row) for row in observations],
        }

    def _window(self, mine: str, decision: dict[str, Any], grant: Grant) -> dict[str, Any] | None:
        end, columns = decision["window_end"], COLUMNS["emotion_features"]
        where = [
            mine,
            f"window_id = {_text(decision['window_id'])}",
            *_on_days(end, end),
            *grant.conditions(columns, self._now()),
        ]
        found = self._select("emotion_features", columns, where)
        return found[0] if found else None

    def _observations(
        self, mine: str, window: dict[str, Any], grant: Grant
    ) -> list[dict[str, Any]]:
        start, end = window["window_start"], window["window_end"]
        parts = ("session_ref", "purpose", "scenario", "age_band")
        where = [
            mine,
            *(same(name, window[name]) for name in parts),
            f"event_time >= {moment(start)} AND event_time < {moment(end)}",
            *_on_days(start, end),
            *grant.conditions(TABLES["observations"].schema.names, self._now()),
        ]
        return self._select("observations", OBSERVED, where, "ORDER BY event_time, event_id")

    def _select(
        self, table: str, columns: Iterable[str], where: list[str], order: str = ""
    ) -> list[dict[str, Any]]:
        where_and_order = f"WHERE {' AND '.join(where)} {order}"
        try:
            return self._run(table, columns, where_and_order)
        except _FAILURES:  # made anew since it was opened, or vacuumed while it was read
            self._forget(table)
        try:
            return self._run(table, columns, where_and_order)
        except _FAILURES as error:
            self._forget(table)
            raise ProblemError(Problem.TABLES_AWAY) from error

    def _run(self, name: str, columns: Iterable[str], rest: str) -> list[dict[str, Any]]:
        with self._lock:
            table = self._newest(name)
            known = {field.name for field in table.schema().fields}
            engine = QueryBuilder().register(name, table)
        wanted = [column if column in known else f"NULL AS {column}" for column in columns]
        found = engine.execute(f"SELECT {', '.join(wanted)} FROM {name} {rest}")
        return plain_types(pa.table(found)).to_pylist()

    def _newest(self, name: str) -> DeltaTable:
        """Return a table as it stands now."""
        table = self._tables[name].newest()
        if table is None:
            raise ProblemError(Problem.TABLES_AWAY, f"there is no table {name}")
        return table

    def _forget(self, name: str) -> None:
        with self._lock:
            self._tables[name].forget()


def _blank(grant: Grant, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what the grant does not show."""
    return {name: value if grant.shows(name) else None for name, value in row.items()}


def _text(value: str) -> str:
    """Return an id as a literal of SQL; only ids get so far."""
    if not _ID.fullmatch(value):
        raise ProblemError(Problem.QUERY_WRONG)
    return text(value)


def _on_days(start: datetime, end: datetime) -> list[str]:
    """Prune partitions: a window's row stands on the day of its start, or of its end."""
    first, last = (start - _DAY).astimezone(UTC).date(), end.astimezone(UTC).date()
    return [f"{PARTITION} >= DATE '{first}' AND {PARTITION} <= DATE '{last}'"]


def _of_purposes(purposes: Purposes) -> list[str]:
    if purposes is None:
        return []
    return [f"purpose IN ({', '.join(_text(purpose) for purpose in sorted(purposes))})"]


def _cursor(end: datetime, row_id: str) -> str:
    return base64.urlsafe_b64encode(f"{end.isoformat()} {row_id}".encode()).decode()


def _read_cursor(text: str) -> tuple[datetime, str]:
    try:
        end, row_id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        at = datetime.fromisoformat(end)
        if at.tzinfo is None or not _ID.fullmatch(row_id):
            raise ValueError
    except (ValueError, binascii.Error) as error:
        detail = "after: give what `next` of the page before said"
        raise ProblemError(Problem.QUERY_WRONG, detail) from error
    return at, row_id
