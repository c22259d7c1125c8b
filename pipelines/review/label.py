"""What a reviewer says of a decision, stored beside it in ``review_queue``."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.serve.literals import text
from pipelines.tables.query import query, standing
from schemas.errors import AffectstreamError
from schemas.table import PARTITION, Root
from schemas.tables import REVIEW_QUEUE, TABLES
from schemas.vocabularies import CONFIRMED, EXPRESSIONS, REVIEWER_DECISIONS
from transforms.landing.layout import file_properties
from transforms.landing.prepare import prepare_table
from transforms.landing.retry import retry_commit
from transforms.landing.writing import writing

_KEY = ("review_id", PARTITION)
_SAID = ("reviewer_decision", "reviewed_by", "reviewed_at", "reviewed_expression")
_KNOWN = ("reviewer_decision", "reviewed_by", "reviewed_expression")
_REVIEWER = re.compile(r"[\w.@+-]{1,64}")
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Queued(NamedTuple):
    """A review that stands in the queue, and what was said of it so far.

    ``label`` is one of REVIEWER_DECISIONS, ``expression`` the one that it stands for.
    """

    day: date
    subject_ref: str
    window_id: str
    label: str | None
    reviewer: str | None
    expression: str | None


def is_reviewer(name: str) -> bool:
    """Tell whether this can stand as a reviewer: 1 to 64 letters, digits and ``. @ + - _``."""
    return _REVIEWER.fullmatch(name) is not None


def find_review(root: Root, review_id: str) -> Queued:
    """Return the review of this id.

    Raises:
        AffectstreamError: there is none, or no queue that can be read.
    """
    found = _read(root, review_id)
    if found is None:
        message = (
            f"there is no review {review_id[:64]!r}: `affectstream review list` prints the ids of "
            "those that stand"
        )
        raise AffectstreamError(message)
    return found


def store_review(
    root: Root,
    review_id: str,
    day: date,
    decision: str,
    reviewer: str,
    now: datetime | None = None,
) -> str | None:
    """Store a reviewer's decision, with who decided and when, and return its expression.

    That is what they say was shown: whoever confirms says that of the window as it is now, and if
    the window is revised later their label stays. It is None where nobody can tell, where the
    window names no expression or is not there any more.

    ``day`` is the row's ``event_date``. What another reviewer decided stays; one's own decision
    may be changed, and the time of one that is said again is that of the first. A table that lacks
    the columns, since an earlier version made it, gets them. An erasure that begins meanwhile waits
    until the decision is stored.

    Raises:
        AffectstreamError: the decision or the reviewer is no such thing, no ``review_queue`` stands
            under ``root`` (none is made), the row is not there any more, another reviewer was
            first, or the table cannot be written to.
    """
    check_said(decision, reviewer)
    found = _read(root, review_id)
    expression = _expression(root, found, decision)
    if _is_said(found, decision, reviewer, expression):
        return found.expression if found else None
    place = f"{root}/review_queue"
    at = (now or datetime.now(UTC)).astimezone(UTC)
    names = (*_KEY, *_SAID)
    row = dict(zip(names, (review_id, day, decision, reviewer, at, expression), strict=True))
    schema = pa.schema([REVIEW_QUEUE.field(name).remove_metadata() for name in names])
    try:
        with writing(root):
            prepare_table(root, TABLES["review_queue"])
            stored = _merge(DeltaTable(place), pa.Table.from_pylist([row], schema=schema), day)
    except (DeltaError, OSError) as error:
        reason = " ".join(str(error).split())
        message = f"{place} does not take the decision, try again: {reason}"
        raise AffectstreamError(message) from error
    if not stored and not _is_said(_read(root, review_id), decision, reviewer, expression):
        message = "the review is decided by somebody else or was erased: load the queue again"
        raise AffectstreamError(message)
    return expression


def check_said(decision: str, reviewer: str) -> None:
    """Raise AffectstreamError where this is no decision, or nobody who could make it."""
    if decision not in REVIEWER_DECISIONS:
        message = f"{decision!r} is no decision: give one of {', '.join(REVIEWER_DECISIONS)}"
        raise AffectstreamError(message)
    if not is_reviewer(reviewer):
        message = f"{reviewer!r} is no reviewer: give 1 to 64 letters, digits or any of . @ + - _"
        raise AffectstreamError(message)


def _read(root: Root, review_id: str) -> Queued | None:
    """Return the review of this id, None where there is none."""
    known = {field.name for field in _open(root).schema().fields}
    if not _ID.fullmatch(review_id):
        return None
    own = (PARTITION, "subject_ref", "window_id")
    names = [*own, *(name for name in _KNOWN if name in known)]
    where = f"review_id = {text(review_id)}"
    rows = query(root, f"SELECT {', '.join(names)} FROM review_queue WHERE {where}").to_pylist()
    if not rows:
        return None
    row: dict[str, Any] = {**dict.fromkeys(_KNOWN), **rows[0]}
    return Queued(*(row[name] for name in (*own, *_KNOWN)))


def _expression(root: Root, found: Queued | None, decision: str) -> str | None:
    """Return the expression that a reviewer's decision on a review stands for, None for none."""
    if decision != CONFIRMED:
        return decision if decision in EXPRESSIONS else None
    if found is None or "emotion_features" not in standing(root):
        return None
    rows = query(
        root,
        f"SELECT expression FROM emotion_features WHERE window_id = {text(found.window_id)} AND "
        f"{PARTITION} BETWEEN DATE '{found.day - timedelta(days=1)}' AND DATE '{found.day}'",
    )
    return str(said) if rows.num_rows and (said := rows["expression"][0].as_py()) else None


def _is_said(found: Queued | None, decision: str, reviewer: str, expression: str | None) -> bool:
    """Tell whether this reviewer has said just that, and of which expression it is known."""
    if found is None or (found.label, found.reviewer) != (decision, reviewer):
        return False
    return expression is None or found.expression is not None


def _open(root: Root) -> DeltaTable:
    place = f"{root}/review_queue"
    try:
        if DeltaTable.is_deltatable(place):
            return DeltaTable(place)
    except (DeltaError, OSError) as error:
        reason = " ".join(str(error).split())
        message = f"{place} cannot be read: {reason}; name tables that can be"
        raise AffectstreamError(message) from error
    message = f"there is no review_queue under {root}: name the folder of a job's tables"
    raise AffectstreamError(message)


def _merge(table: DeltaTable, row: pa.Table, day: date) -> int:
    """Update the row with this key, and return how many rows that was: one or none.

    A row of which the same was said already is left as it is.
    """

    def commit() -> int:
        matched = " AND ".join(f"t.{name} = s.{name}" for name in _KEY)
        done: dict[str, Any] = (
            table.merge(
                row,
                predicate=f"t.{PARTITION} IN ('{day}') AND {matched}",
                source_alias="s",
                target_alias="t",
                writer_properties=file_properties(TABLES["review_queue"]),
            )
            .when_matched_update(
                {name: f"s.{name}" for name in _SAID},
                predicate="t.reviewer_decision IS NULL OR (t.reviewed_by = s.reviewed_by AND "
                "(t.reviewer_decision <> s.reviewer_decision OR (t.reviewed_expression IS NULL "
                "AND s.reviewed_expression IS NOT NULL)))",
            )
            .execute()
        )
        return int(done["num_target_rows_updated"])

    return retry_commit(commit, str(table.table_uri), "reviews", table.update_incremental)
