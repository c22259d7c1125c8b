"""The decisions that the page plays: events of the feed, with the ARKit weights of the table."""

import json
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from pipelines.serve.events import COLUMNS, NOTICE, decision_events
from schemas.arkit import BLENDSHAPES
from schemas.avatar.vrm import LOOK_PRESETS, LOOK_SHAPES, LOOKS, PRESETS

PURPOSE = "avatar_mirroring"
_UNMOVED = {"mouth_share": 0.0}


def page_data(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the page reads: faces, and what the weights' names and presets mean.

    A face is of one session and scenario, as a history is: decisions of two that go on at once
    would have it flicker between them. The face that moves in most of its decisions comes first.
    """
    shapes = {look: _named(row) for look, row in zip(LOOKS, LOOK_SHAPES.tolist(), strict=True)}
    presets = {
        preset: next(shapes[look] for look in LOOKS if LOOK_PRESETS[look] == {preset: 1.0})
        for preset in PRESETS[:-1]
    }
    return {
        "shapes": BLENDSHAPES,
        "presets": presets,
        "notice": NOTICE,
        "faces": _by_face(events),
    }


def read_decisions(tables: str, subject_ref: str | None = None) -> list[dict[str, Any]]:
    """Return the decisions on a subject's own avatar, of all sessions and scenarios, by time.

    Without a subject, those of the one whose avatar moves in most of them.

    Raises:
        SystemExit: there are none.
    """
    try:
        table = DeltaTable(f"{tables}/expression_decisions").to_pyarrow_dataset()
    except TableNotFoundError:
        message = f"{tables} holds no expression_decisions: name the tables of a run"
        raise SystemExit(message) from None
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


def _by_face(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    faces: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        faces[event["data"]["session_ref"], event["data"]["scenario"]].append(event)
    moving = {
        key: sum(bool(event["data"].get("avatar", _UNMOVED)["mouth_share"]) for event in own)
        for key, own in faces.items()
    }
    return [
        {"session_ref": key[0], "scenario": key[1], "events": faces[key]}
        for key in sorted(faces, key=lambda key: (-moving[key], key))
    ]


def _named(weights: list[float]) -> dict[str, float]:
    """Return the shapes that move, by name."""
    return {
        name: round(weight, 4) for name, weight in zip(BLENDSHAPES, weights, strict=True) if weight
    }
