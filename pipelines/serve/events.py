"""Decisions as CloudEvents for those who act on them: compact JSON, one event for each decision."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from schemas.avatar.vrm import AT_REST, PRESETS, TARGETS

SOURCE = "/affectstream"
DECISION = "affectstream.decision.v1"
ERASURE = "affectstream.erasure.v1"
SCHEMA = "urn:affectstream:schema:decision:v1"
ABSTAINED = "abstained"
"""Reason of a decision on a window that abstained, as ``transforms.decide`` gives it.

Where the avatar may not move that is the reason, and this stands behind it in ``reasons``.
"""
MEDIA_TYPE = "application/cloudevents+json"
START_ANEW = (
    "start it once with `affectstream feed --from latest` (leaves out what came between) or "
    "`--from snapshot` (takes what has not expired)"
)
"""What to do where a feed cannot go on from its position."""
NOTICE = (
    "Estimated by a machine from what was shown, not what is felt; never the only reason for a "
    "decision that matters to a person."
)
"""What every event says of itself (EU AI Act Art. 50, GDPR Art. 22)."""

_ATTRIBUTES = ("decision_id", "subject_ref", "window_end", "expires_at")
_DATA = (
    "session_ref",
    "scene_id",
    "scenario",
    "purpose",
    "expression",
    "confidence",
    "valence_shift",
    "arousal_shift",
    "action",
    "reason",
    "reply_id",
    "rule_id",
    "needs_person",
    "intensity",
    "policy_version",
)
_AVATAR = (
    "avatar_preset",
    "preset_weights",
    *(f"override_{target}" for target in TARGETS),
    "lip_sync_mask",
    "mouth_share",
)
COLUMNS = (*_ATTRIBUTES, *_DATA, *_AVATAR, "reasons")
"""Columns of ``expression_decisions`` that an event is made of."""


class Event(NamedTuple):
    """One CloudEvent in structured mode: whom it is about, and its JSON."""

    subject_ref: str
    json: bytes


def lasting(rows: pa.Table, purposes: Sequence[str], now: datetime) -> pa.Table:
    """Return the decisions that have not expired and were made for one of these purposes."""
    fresh = pc.greater(rows["expires_at"], pa.scalar(now, rows["expires_at"].type))
    wanted = pc.is_in(rows["purpose"], pa.array(purposes, pa.string()))
    return rows.filter(pc.and_(fresh, wanted))


def decision_events(rows: pa.Table) -> Iterator[Event]:
    """Yield the events of these decisions, numbers to four digits.

    Where the window abstained, the expression that the avatar still holds is not handed on, nor the
    weights of it: nobody should act on what was not seen, and a client holds the face by itself.
    """
    columns = [_plain(rows[name]) for name in (*_ATTRIBUTES, *_DATA)]
    encode = msgspec.json.Encoder().encode
    faces = _avatars(rows)
    codes = rows["reasons"].to_pylist()
    for row_id, subject, time, expires, *data, said, face in zip(
        *columns, codes, faces, strict=True
    ):
        event: dict[str, Any] = {
            "specversion": "1.0",
            "type": DECISION,
            "source": SOURCE,
            "id": row_id,
            "subject": subject,
            "time": time,
            "expirytime": expires,
            "datacontenttype": "application/json",
            "dataschema": SCHEMA,
            "data": dict(zip(_DATA, data, strict=True)) | {"notice": NOTICE},
        }
        abstained = ABSTAINED in (event["data"]["reason"], *(said or "").split())
        if abstained:
            event["data"]["expression"] = None
        if face is not None and (not abstained or face["weights"] == AT_REST):
            event["data"]["avatar"] = face
        yield Event(subject, encode(event))


def erasure_event(subject_ref: str, event_id: str, time: datetime) -> Event:
    """Return the event that asks to forget a subject, for sinks that have no tombstones."""
    event = {
        "specversion": "1.0",
        "type": ERASURE,
        "source": SOURCE,
        "id": event_id,
        "subject": subject_ref,
        "time": time,
    }
    return Event(subject_ref, msgspec.json.encode(event))


def _avatars(rows: pa.Table) -> list[dict[str, Any] | None]:
    """Return what each row says of an avatar, None where it moves none."""
    columns = [_plain(rows[name]) for name in ("avatar_preset", *_AVATAR[2:])]
    weights = rows["preset_weights"].to_pylist()
    return [
        None
        if preset is None
        else {
            "preset": preset,
            "weights": dict(zip(PRESETS, (round(value, 4) for value in shown), strict=True)),
            **dict(zip(_AVATAR[2:], rest, strict=True)),
        }
        for preset, *rest, shown in zip(*columns, weights, strict=True)
    ]


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_floating(column.type):
        column = pc.round(column.cast(pa.float64()), 4)
    return column.to_pylist()
