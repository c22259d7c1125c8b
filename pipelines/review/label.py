"""What a reviewer says of a decision, stored beside it in ``review_queue``."""

import re
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from schemas.errors import AffectstreamError
from schemas.table import PARTITION, Root
from schemas.tables import REVIEW_QUEUE, TABLES
from schemas.vocabularies import REVIEWER_DECISIONS
from transforms.landing.layout import file_properties
from transforms.landing.prepare import prepare_table
from transforms.landing.retry import retry_commit

_KEY = ("review_id", PARTITION)
_SAID = ("reviewer_decision", "reviewed_by", "reviewed_at")
_REVIEWER = re.compile(r"[\w.@+-]{1,64}")


def is_reviewer(name: str) -> bool:
    """Tell whether this can stand as a reviewer: 1 to 64 letters, digits and ``. @ + - _``."""
    return _REVIEWER.fullmatch(name) is not None


def store_review(
    root: Root,
    review_id: str,
    day: date,
    decision: str,
    reviewer: str,
    now: datetime | None = None,
) -> None:
    """Store a reviewer's decision, with who decided and when.

    ``day`` is the row's ``event_date``. What another reviewer decided stays; one's own decision
    may be changed. A table that lacks the columns, since an earlier version made it, gets them.

    Raises:
        AffectstreamError: the decision or the reviewer is no such thing, no ``review_queue`` stands
            under ``root`` (none is made), the row is not there any more, another reviewer was
            first, or the table cannot be written to.
    """
    if decision not in REVIEWER_DECISIONS:
        message = f"{decision!r} is no decision: give one of {', '.join(REVIEWER_DECISIONS)}"
        raise AffectstreamError(message)
    if not is_reviewer(reviewer):
        message = f"{reviewer!r} is no reviewer: give 1 to 64 letters, digits or any of . @ + - _"
        raise AffectstreamError(message)
    place = f"{root}/review_queue"
    _check_stands(root, place)
    prepare_table(root, TABLES["review_queue"])
    at = (now or datetime.now(UTC)).astimezone(UTC)
    names = (*_KEY, *_SAID)
    row = dict(zip(names, (review_id, day, decision, reviewer, at), strict=True))
    schema = pa.schema([REVIEW_QUEUE.field(name).remove_metadata() for name in names])
    try:
        stored = _merge(DeltaTable(place), pa.Table.from_pylist([row], schema=schema), day)
    except (DeltaError, OSError) as error:
        reason = " ".join(str(error).split())
        message = f"{place} does not take the decision, try again: {reason}"
        raise AffectstreamError(message) from error
    if not stored:
        message = "the review is decided by somebody else or was erased: load the queue again"
        raise AffectstreamError(message)


def _check_stands(root: Root, place: str) -> None:
    try:
        stands = DeltaTable.is_deltatable(place)
    except (DeltaError, OSError) as error:
        reason = " ".join(str(error).split())
        message = f"{place} cannot be read: {reason}; name tables that can be"
        raise AffectstreamError(message) from error
    if not stands:
        message = f"there is no review_queue under {root}: name the folder of a job's tables"
        raise AffectstreamError(message)


def _merge(table: DeltaTable, row: pa.Table, day: date) -> int:
    """Update the row with this key and return how many rows that was: one or none."""

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
                predicate="t.reviewer_decision IS NULL OR t.reviewed_by = s.reviewed_by",
            )
            .execute()
        )
        return int(done["num_target_rows_updated"])

    return retry_commit(commit, str(table.table_uri), "reviews", table.update_incremental)
