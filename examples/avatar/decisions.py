"""The decisions that the page plays: events of the feed, with the ARKit weights of the table."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.serve.events import COLUMNS, NOTICE, decision_events
from schemas.arkit import BLENDSHAPES
from schemas.avatar.vrm import LOOK_PRESETS, LOOK_SHAPES, LOOKS, PRESETS

PURPOSE = "avatar_mirroring"


def page_data(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the page reads: the events, and what the weights' names and presets mean."""
    shapes = {look: _named(row) for look, row in zip(LOOKS, LOOK_SHAPES.tolist(), strict=True)}
    presets = {
        preset: next(shapes[look] for look in LOOKS if LOOK_PRESETS[look] == {preset: 1.0})
        for preset in PRESETS[:-1]
    }
    return {"shapes": BLENDSHAPES, "presets": presets, "notice": NOTICE, "events": events}


def read_decisions(tables: str, subject_ref: str | None = None) -> list[dict[str, Any]]:
    """Return the decisions on a subject's own avatar, by time.

    Without a subject, those of the one whose avatar moves in most of them.

    Raises:
        SystemExit: there are none.
    """
    table = DeltaTable(f"{tables}/expression_decisions").to_pyarrow_dataset()
    rows = table.to_table(
        columns=[*COLUMNS, "avatar_weights"], filter=pc.field("purpose") == PURPOSE
    )
    rows = rows.filter(pc.is_valid(rows["avatar_preset"]))
    if subject_ref is None:
        moving = rows.filter(pc.greater(rows["mouth_share"], 0))["subject_ref"]
        counts = sorted(
            moving.value_counts().to_pylist(), key=lambda each: (-each["counts"], each["values"])
        )
        subject_ref = counts[0]["values"] if counts else None
    rows = rows.filter(pc.equal(rows["subject_ref"], pa.scalar(subject_ref, pa.string())))
    rows = rows.sort_by([("window_end", "ascending"), ("decision_id", "ascending")])
    if not len(rows):
        message = f"{tables} has no decision for an avatar: see docs/how-to/avatars.md"
        raise SystemExit(message)
    events = [json.loads(event.json) for event in decision_events(rows)]
    for event, weights in zip(events, rows["avatar_weights"].to_pylist(), strict=True):
        event["shapes"] = _named(weights)
    return events


def _named(weights: list[float]) -> dict[str, float]:
    """Return the shapes that move, by name."""
    return {
        name: round(weight, 4) for name, weight in zip(BLENDSHAPES, weights, strict=True) if weight
    }
