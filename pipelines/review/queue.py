"""The review queue in the order in which it is worth looking at.

Uncertainty sampling (Lewis and Gale, 1994) puts first what the model is least sure of; where
reviewers have little time, many of those are alike. The farthest-first order (the core set of Sener
and Savarese, 2018) puts first what differs most from all that stand before it.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.access.logged_query import query_as
from pipelines.access.roles import Role, read_roles
from pipelines.access.settings import Access
from pipelines.serve.literals import text
from pipelines.tables.query import query, standing
from schemas.errors import AffectstreamError
from schemas.strict import suggest
from schemas.table import PARTITION, Root
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.reviews import REASONS

Order = Literal["uncertainty", "diversity", "time"]


class Asked(NamedTuple):
    """Which reviews: those that are open, or ``decided``, of a scenario and a reason, or of any."""

    decided: bool = False
    scenario: str | None = None
    reason: str | None = None


ALL_OPEN: Final = Asked()

_SHOWN: Final = (
    *("review_id", "reason", "scenario", "window_end", "confidence", "decision_id"),
    *("reviewer_decision", "reviewed_by", "reviewed_expression"),
)
_OF_WINDOW: Final = ("window_id", "expression", "confidence", PARTITION)
_OF_DECISION: Final = ("decision_id", "expression", PARTITION)
_HELD: Final = "CASE WHEN d.expression IS DISTINCT FROM f.expression THEN d.expression END"
_MOST: Final = np.log(len(EXPRESSIONS))


def list_reviews(
    root: Root,
    asked: Asked = ALL_OPEN,
    *,
    order: Order = "time",
    limit: int = 20,
    role: str | None = None,
    access: Access | None = None,
) -> pa.Table:
    """Return the reviews that are asked for, at most ``limit`` of them.

    ``window_expression`` is what the window shows by its fused scores, null where it abstained, and
    what a reviewer confirms; ``window_confidence`` is its probability. ``held`` is the expression
    that the decision holds where that is another one. They are null where their tables are not
    there or the role does not see them.

    ``time`` is the newest first. ``uncertainty`` is the entropy of the fused scores over its
    maximum, 0 to 1, null where the window's features are no longer there; the largest comes first.
    ``diversity`` begins with that one, and goes on with whichever scores are farthest (Hellinger
    distance) from all before it. Equal ones are in the order of their ids. With a ``role`` it is
    read as that role, and logged.

    Raises:
        AffectstreamError: there is no such reason or role, no queue stands under ``root``, or the
            role may not read it.
    """
    if asked.reason is not None and asked.reason not in REASONS:
        message = f"{asked.reason!r} is no reason of a review: {suggest(asked.reason, REASONS)}"
        raise AffectstreamError(message)
    reads = access or Access()
    seen = None if role is None else read_roles(reads.roles).named(role)
    sql = _statement(root, order, asked, seen)
    found = query(root, sql) if role is None else query_as(reads, role, root, sql)
    rows = found.sort_by("review_id").combine_chunks()
    if order == "time":
        return rows.sort_by([("window_end", "descending"), ("review_id", "ascending")])[:limit]
    scores, known = _scores(rows["scores"])
    uncertainty = np.where(known, _entropy(scores), -1.0)
    first = np.argsort(-uncertainty, kind="stable")
    chosen = first[:limit] if order == "uncertainty" else _farthest_first(scores, first, limit)
    told = pa.array(uncertainty, mask=~known)
    shown = rows.drop_columns(["scores"]).append_column("uncertainty", told)
    return shown.take(pa.array(chosen))


def _statement(root: Root, order: Order, asked: Asked, role: Role | None) -> str:
    """Return the SQL of the rows; columns that tables of an earlier version lack are null."""
    if "review_queue" not in standing(root):
        message = f"there is no review_queue under {root}: name the folder of a job's tables"
        raise AffectstreamError(message)
    known = query(root, "SELECT * FROM review_queue LIMIT 0").column_names
    columns = [
        f"q.{name}" if name in known else f"CAST(NULL AS STRING) AS {name}" for name in _SHOWN
    ]
    where = [f"q.reviewer_decision IS {'NOT ' if asked.decided else ''}NULL"]
    where += [f"q.scenario = {text(asked.scenario)}"] if asked.scenario is not None else []
    where += [f"q.reason = {text(asked.reason)}"] if asked.reason is not None else []
    source = "review_queue q"
    windows = _sees(root, role, "emotion_features", _OF_WINDOW)
    decisions = windows and _sees(root, role, "expression_decisions", _OF_DECISION)
    if windows or order != "time":
        source += (
            f" LEFT JOIN emotion_features f ON f.window_id = q.window_id AND f.{PARTITION} "
            f"BETWEEN q.{PARTITION} - INTERVAL '1 day' AND q.{PARTITION}"
        )
    if decisions:
        source += (
            " LEFT JOIN expression_decisions d ON d.decision_id = q.decision_id "
            f"AND d.{PARTITION} = q.{PARTITION}"
        )
    columns += [
        f"{'f.expression' if windows else 'CAST(NULL AS STRING)'} AS window_expression",
        f"{'f.confidence' if windows else 'CAST(NULL AS FLOAT)'} AS window_confidence",
        f"{_HELD if decisions else 'CAST(NULL AS STRING)'} AS held",
    ]
    if order != "time":
        columns.append("f.scores")
    return f"SELECT {', '.join(columns)} FROM {source} WHERE {' AND '.join(where)}"


def _sees(root: Root, role: Role | None, table: str, columns: Sequence[str]) -> bool:
    """Tell whether a table stands and these columns of it may be read."""
    if table not in standing(root):
        return False
    if role is None:
        return True
    grant = role.tables.get(table)
    return grant is not None and all(map(grant.shows, columns))


def _scores(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 7) scores, flat where there are none, and a mask of where there are."""
    known = column.is_valid().to_numpy()
    scores = np.full((len(column), len(EXPRESSIONS)), 1 / len(EXPRESSIONS))
    told = pc.list_flatten(column.drop_null()).to_numpy()
    scores[known] = told.reshape(-1, len(EXPRESSIONS))
    return scores, known


def _entropy(scores: np.ndarray) -> np.ndarray:
    terms = scores * np.log(np.where(scores > 0, scores, 1.0))
    return np.asarray(-terms.sum(axis=1) / _MOST)


def _farthest_first(scores: np.ndarray, first: np.ndarray, limit: int) -> np.ndarray:
    """Return the rows in farthest-first order; of equals the one that ``first`` has earlier."""
    points = np.sqrt(scores[first])  # their Euclidean distance is Hellinger's, but for a factor
    away = np.full(len(first), np.inf)
    chosen: list[int] = []
    for _ in range(min(limit, len(first))):
        place = int(np.argmax(away))
        chosen.append(place)
        away = np.minimum(away, np.linalg.norm(points - points[place], axis=1))
        away[chosen] = -1.0
    return np.asarray(first[chosen])
