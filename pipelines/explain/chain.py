"""What landed of a decision: its window, observations, refusals, consents and reviews."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pipelines.access.restricted import Reader
from pipelines.serve.literals import moment, same, text
from pipelines.tables.query import query, standing
from schemas.errors import AffectstreamError
from schemas.events import WINDOW_KEY
from schemas.modalities import MODALITIES
from schemas.table import PARTITION, Root

Row = dict[str, Any]
_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_DAY: Final = timedelta(days=1)
_UNSHOWN: Final = ("embedding", "avatar_weights")
_NEEDED: Final = {
    "expression_decisions": ("decision_id", "window_id", "window_end", PARTITION),
    "emotion_features": ("window_id", *WINDOW_KEY, "window_start", "window_end", PARTITION),
    "observations": (*WINDOW_KEY, "event_id", "event_time", "modality", PARTITION),
    "refusals": (
        *(name for name in WINDOW_KEY if name != "age_band"),
        *("event_time", "modality", "code", "article", "policy_version", PARTITION),
    ),
    "consent_ledger": (
        *("ledger_id", "subject_ref", "purpose", "modality", "action"),
        *("event_time", "recorded_at"),
    ),
    "review_queue": ("decision_id", "reason", PARTITION),
}
"""Table → the columns by which its rows are found and told, each of which a role has to see."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The rows from events to decision; ``missing`` says of each part that is not here why.

    ``gate`` has for each modality how many events were ``allowed`` and how many were ``refused``,
    by code and article. ``consents`` are the newest word on each modality by the window's end.
    """

    decision: Row
    window: Row | None
    observations: list[Row]
    gate: list[Row]
    consents: list[Row]
    reviews: list[Row]
    missing: list[str]


def read_chain(root: Root, decision_id: str, reader: Reader | None = None) -> Chain:
    """Return what landed of a decision, as far as the reader's role sees it.

    Raises:
        AffectstreamError: there is no such decision, no table stands under ``root``, or the role
            may not read decisions.
    """
    rows = _Rows(root, reader)
    asked = f"decision_id = {text(decision_id)}"
    found = rows.of("expression_decisions", [asked]) if _ID.fullmatch(decision_id) else []
    if not found:
        message = (
            f"there is no decision {decision_id[:64]!r} under {root}: give an id as "
            "`affectstream review list` or a query of expression_decisions prints it; those of "
            "people who were erased are gone"
        )
        raise AffectstreamError(message)
    decision = found[0]
    end = decision["window_end"]
    mine = [f"window_id = {text(decision['window_id'])}", _on_days(end - _DAY, end)]
    windows = rows.of("emotion_features", mine)
    window = windows[0] if windows else None
    if window is None:
        rows.missing.append("the window's features are older than they are kept, or hidden")
    observations = [] if window is None else _observations(rows, window)
    return Chain(
        decision,
        window,
        observations,
        [] if window is None else _gate(rows, window, observations),
        [] if window is None else _consents(rows, window),
        rows.of("review_queue", [asked, _on_days(end, end)], "ORDER BY reason"),
        rows.missing,
    )


class _Rows:
    """Selects rows of tables, and notes which tables are not to be had."""

    def __init__(self, root: Root, reader: Reader | None) -> None:
        self._root, self._reader = root, reader
        self._standing = standing(root)
        self.missing: list[str] = []

    def of(self, table: str, where: list[str], order: str = "") -> list[Row]:
        """Return the rows of a table that meet all conditions, none where it is not to be had.

        Raises AffectstreamError where that are the decisions, without which there is nothing.
        """
        if why := self._hindrance(table):
            if table == "expression_decisions":
                raise AffectstreamError(why)
            self.missing.append(why)
            return []
        sql = f"SELECT * FROM {table} WHERE {' AND '.join(where)} {order}"
        found = query(self._root, sql, reader=self._reader).to_pylist()
        return [{n: value for n, value in row.items() if n not in _UNSHOWN} for row in found]

    def _hindrance(self, table: str) -> str | None:
        """Say why the rows of a table are not to be had, None where they are."""
        if table not in self._standing:
            return f"there is no table {table} under {self._root}"
        if self._reader is None:
            return None
        name, grant = self._reader.name, self._reader.role.tables.get(table)
        if grant is None:
            return f"role {name} may not read {table}"
        hidden = [column for column in _NEEDED[table] if not grant.shows(column)]
        return f"role {name} may not read {', '.join(hidden)} of {table}" if hidden else None


def _observations(rows: _Rows, window: Row) -> list[Row]:
    where = [
        *(same(name, window[name]) for name in WINDOW_KEY),
        *_within("event_time", window["window_start"], window["window_end"]),
    ]
    return rows.of("observations", where, "ORDER BY event_time, event_id")


def _gate(rows: _Rows, window: Row, observations: list[Row]) -> list[Row]:
    """Return the verdicts on the events of a window's session and purpose, by modality."""
    where = [
        *(same(name, window[name]) for name in WINDOW_KEY if name != "age_band"),
        *_within("event_time", window["window_start"], window["window_end"]),
    ]
    refused = Counter(
        (row["modality"], row["code"], row["article"], row["policy_version"])
        for row in rows.of("refusals", where)
    )
    seen = Counter(row["modality"] for row in observations)
    verdicts = []
    for name in (*MODALITIES, "context"):
        own = [
            {"code": code, "article": article, "policy_version": version, "events": count}
            for (modality, code, article, version), count in sorted(refused.items())
            if modality == name
        ]
        allowed = window.get(f"n_{name}") or seen[name]
        if allowed or own:
            verdicts.append({"modality": name, "allowed": allowed, "refused": own})
    return verdicts


def _consents(rows: _Rows, window: Row) -> list[Row]:
    """Return the newest word on each modality of a window by its end; none under other keys."""
    known_as = [window["subject_ref"], window.get("prior_subject_ref")]
    references = ", ".join(text(ref) for ref in known_as if ref is not None)
    where = [
        f"subject_ref IN ({references})",
        f"purpose IN ({text(window['purpose'] or '')}, '*')",
        f"event_time < {moment(window['window_end'])}",
    ]
    newest = {}
    for row in rows.of("consent_ledger", where, "ORDER BY event_time, recorded_at, ledger_id"):
        for name in MODALITIES if row["modality"] == "*" else (row["modality"],):
            newest[name] = {
                "modality": name,
                **{each: row.get(each) for each in ("action", "event_time", "notice_id")},
            }
    return [newest[name] for name in MODALITIES if name in newest and window.get(f"n_{name}")]


def _within(column: str, start: datetime, end: datetime) -> list[str]:
    span = f"{column} >= {moment(start)} AND {column} < {moment(end)}"
    return [span, _on_days(start, end)]


def _on_days(start: datetime, end: datetime) -> str:
    first, last = (time.astimezone(UTC).date() for time in (start, end))
    return f"{PARTITION} BETWEEN DATE '{first}' AND DATE '{last}'"
