"""Rows as a job lands them, commit by commit, for what reads the tables' change feeds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from schemas.arkit import BLENDSHAPES
from schemas.tables import TABLES, on_its_way
from tests.support.synthetic_tables import expression_columns
from transforms.landing.delta import TableWriter

BEGIN = datetime(2090, 11, 30, 10, tzinfo=UTC)
"""Start of window 0; to come, since redis drops by the clock on the wall what has expired."""
LENGTH = timedelta(seconds=5)
VALID = timedelta(seconds=30)


def subject(name: str) -> str:
    """Return a pseudonym that a test can read: the name, filled up to 32 characters."""
    return name.ljust(32, "0")


def feature(who: str, window: int, revision: int = 1, **more: Any) -> dict[str, Any]:
    """One row of emotion_features."""
    start = BEGIN + window * LENGTH
    return {
        "window_id": f"{who}-{window}-{more.get('purpose', 'recommendation')}",
        **_context(who),
        "window_start": start,
        "window_end": start + LENGTH,
        "revision": revision,
        "n_text": revision,
        "n_voice": 0,
        "n_face": 0,
        "n_motion": 0,
        **expression_columns("joy", 0.7, 0.4),
        "attention": [1.0, 0.0, 0.0, 0.0],
        "event_date": start.date(),
    } | more


def decision(who: str, window: int, **more: Any) -> dict[str, Any]:
    """One row of expression_decisions."""
    end = BEGIN + (window + 1) * LENGTH
    purpose = more.get("purpose", "recommendation")
    return {
        "decision_id": f"d-{who}-{window}-{purpose}",
        "window_id": f"{who}-{window}-{purpose}",
        **_context(who),
        "window_end": end,
        "expression": "joy",
        "confidence": 0.7,
        "valence_shift": 0.1,
        "arousal_shift": -0.1,
        "action": "mirror",
        "reason": "default",
        "intensity": 0.5,
        "avatar_weights": [0.0] * len(BLENDSHAPES),
        "policy_version": "scenarios-test",
        "expires_at": end + VALID,
        "event_date": end.date(),
    } | more


def review(who: str, window: int, **more: Any) -> dict[str, Any]:
    """One row of review_queue."""
    made = decision(who, window)
    return {
        "review_id": f"r-{who}-{window}",
        **{name: made[name] for name in ("decision_id", "window_id", "subject_ref", "scenario")},
        "reason": "high_stakes",
        "confidence": made["confidence"],
        "window_end": made["window_end"],
        "event_date": made["event_date"],
    } | more


def _context(who: str) -> dict[str, Any]:
    return {
        "subject_ref": subject(who),
        "session_ref": subject(f"{who}s"),
        "scene_id": "plaza",
        "scenario": "social",
        "purpose": "recommendation",
        "region": "EU",
        "age_band": "adult",
    }


def land(root: Path, name: str, *rows: dict[str, Any]) -> int:
    """Commit rows as a job does and return the version of the table then."""
    table = TABLES[name]
    schema = on_its_way(table.schema) if table.of_events else table.schema
    whole = [{column: row.get(column) for column in schema.names} for row in rows]
    TableWriter(root, name).commit([pa.RecordBatch.from_pylist(whole, schema=schema)])
    return DeltaTable(f"{root}/{name}").version()


def erase(root: Path, name: str, who: str) -> int:
    """Delete a subject's rows from a table and return the version of the table then."""
    table = DeltaTable(root / name)
    table.delete(f"subject_ref = '{subject(who)}'")
    return table.version()
