"""What an avatar shows: weights on VRM presets and ARKit shapes that never jump or flicker.

There is a face for each history: of a person in a session, scenario and age band.

Pure and without a clock: it moves only with the event time of the windows it is given.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import equal_runs, vector_column, vectors
from schemas.avatar.vrm import (
    CALM,
    LIP_SYNC_MASK,
    LIVELY,
    LOOK_SHAPES,
    LOOK_WEIGHTS,
    LOOKS,
    MAIN_PRESET,
    MOUTH,
    OVERRIDE_RULES,
    OVERRIDES,
    PRESETS,
    RELAXED,
    REST,
    TARGETS,
)
from schemas.settings import Decisions
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.history import NOTHING, Step
from transforms.deciding.slots import NEVER, Slots
from transforms.gating.opt_ins import MIRRORING

AVATARS: Final = pa.schema(
    [
        ("avatar_id", pa.string()),
        ("subject_ref", pa.string()),
        ("since_us", pa.int64()),
        ("seen_us", pa.int64()),
        ("sure_us", pa.int64()),
        ("turned_us", pa.int64()),
        ("look", pa.int64()),
        ("blend", pa.list_(pa.float32(), len(LOOKS))),
    ]
)
"""One row for each face; ``avatar_id`` is the id of its history.

``blend`` are the weights of LOOKS that it shows, ``look`` the one that it moves towards, or REST,
and ``turned_us`` when that began. ``since_us``, ``seen_us`` and ``sure_us`` are the ends of its
first window, of its last one and of its last one that was sure, in µs. The subject is named so that
an erasure finds the row."""
_TIMES: Final = ("since_us", "seen_us", "sure_us", "turned_us")

_JOY: Final = EXPRESSIONS.index("joy")
_NEUTRAL: Final = EXPRESSIONS.index("neutral")
_IN_FULL: Final = np.vstack([np.eye(len(LOOKS)), np.zeros(len(LOOKS))]).astype(np.float32)
"""(8, 7): each look alone; the last row is REST."""
_EFFECTS: Final = np.unique(
    np.hstack([LOOK_WEIGHTS, -LOOK_WEIGHTS.sum(axis=1, keepdims=True), LOOK_SHAPES]), axis=1
)
"""(7, m): what a look moves, each distinct column once: presets, ``neutral`` and shapes."""
_SUMMARY: Final = np.column_stack(
    [
        LOOK_WEIGHTS,
        LOOK_WEIGHTS.sum(axis=1),
        LOOK_SHAPES[:, MOUTH].sum(axis=1),
        LOOK_SHAPES.sum(axis=1),
    ]
)
"""(7, 8): the presets of each look, their sum, the sum of its mouth's shapes and that of all."""
_STRICTNESS: Final = np.array(
    [[OVERRIDES.index(OVERRIDE_RULES[p][target]) for target in TARGETS] for p in PRESETS]
)
_PRESET_CODES: Final = pa.array(MAIN_PRESET)
_OVERRIDE_CODES: Final = pa.array(OVERRIDES)
_MASK: Final = pa.array([LIP_SYNC_MASK])


@dataclass(frozen=True, slots=True)
class Seen:
    """What some windows have for their avatars, one row for each.

    ``expression`` is an index into EXPRESSIONS or NOTHING; a window that is ``unsure`` holds the
    face, one that is ``hidden`` puts it to rest at once.
    """

    expression: np.ndarray
    arousal: np.ndarray
    intensity: np.ndarray
    unsure: np.ndarray
    hidden: np.ndarray

    def take(self, rows: slice) -> "Seen":
        """Return these rows."""
        return Seen(*(getattr(self, name)[rows] for name in self.__slots__))


class Faces:
    """The faces of one shard; windows must come in the order of event time, each face once in one.

    A look changes at most once in ``hold_s``, and what is shown moves on a straight line towards
    the look, so far that no weight changes by more than ``max_change`` in a window. A face is held
    while windows are unsure, for as long as a decision is valid. After a longer silence it went to
    rest, since the last decision had expired.
    """

    def __init__(self, rules: Decisions, known: pa.RecordBatch, slots: Slots) -> None:
        new = len(slots.ids) - known.num_rows
        self._rules, self._slots = rules, slots
        self._rests_us = round((rules.valid_s + rules.hold_s) * 1e6)
        """After so long a silence a face is at rest, and free to take any look."""
        self.since, self.seen, self.sure, self.turned = (
            np.concatenate([known[name].to_numpy(), np.full(new, NEVER)]) for name in _TIMES
        )
        self.look = np.concatenate([known["look"].to_numpy(), np.full(new, REST)])
        blend = vectors(known["blend"], len(LOOKS))
        self.blend = np.concatenate([blend, np.zeros((new, len(LOOKS)), np.float32)])

    def advance(self, now: int, rows: slice, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """Take the windows that end at a time; return the blend and the look of their faces.

        ``rows`` are their places among those that have slots.
        """
        who, valid_us = self._go_on(now, rows), self._rules.valid_s * 1e6
        self._expire(now, who)
        stale = seen.unsure & (now - self.sure[who] > valid_us)
        look = self.look[who]
        wish = np.where(stale, REST, _wish(seen, look))
        free = now - self.turned[who] >= self._rules.hold_s * 1e6
        turn = (wish != look) & free & (stale | ~seen.unsure)
        turned = np.where(seen.hidden, REST, np.where(turn, wish, look))
        self.turned[who] = np.where(turned != look, now, self.turned[who])
        self.look[who] = turned
        self.seen[who] = now
        self.sure[who] = np.where(seen.unsure, self.sure[who], now)

        old = self.blend[who]
        wanted = _IN_FULL[turned] * seen.intensity[:, None].astype(np.float32)
        held = seen.unsure & (turned != REST)
        blend = _step(old, np.where(held[:, None], old, wanted), self._rules.max_change)
        blend[seen.hidden] = 0
        self.blend[who] = blend
        return blend, turned

    def _go_on(self, now: int, rows: slice) -> np.ndarray:
        """Return the slots of the rows' faces, which go on from where they were under a key before.

        A face that was not seen for so long that it rests begins anew.
        """
        who, source, known = self._slots.find(rows, self.seen, now - self._rests_us)
        for part in (self.since, self.seen, self.sure, self.turned, self.look, self.blend):
            part[who] = part[source]
        self.since[who] = np.where(known, self.since[who], now)
        return who

    def _expire(self, now: int, who: np.ndarray) -> None:
        """Put to rest whose last decision had expired; that was then, and a change of look."""
        expiry = self.seen[who] + int(self._rules.valid_s * 1e6)
        gone = expiry < now
        self.turned[who] = np.where(gone & (self.look[who] != REST), expiry, self.turned[who])
        self.look[who] = np.where(gone, REST, self.look[who])
        self.blend[who] = np.where(gone[:, None], 0, self.blend[who])

    def snapshot(self, subjects: pa.Array, now: int) -> pa.RecordBatch:
        """Return the AVATARS rows that rebuild this object; ``subjects`` are those of all slots."""
        at = np.flatnonzero(now - self.seen <= self._rests_us)
        place = pa.array(at)
        times = (self.since, self.seen, self.sure, self.turned)
        columns = [
            self._slots.ids.take(place),
            subjects.take(place),
            *(pa.array(each[at]) for each in (*times, self.look)),
            vector_column(self.blend[at]),
        ]
        return pa.record_batch(columns, schema=AVATARS)


def _wish(seen: Seen, look: np.ndarray) -> np.ndarray:
    """Return the look that each window calls for; joy is relaxed or happy by its arousal."""
    calm = seen.arousal < np.where(look == RELAXED, LIVELY, CALM)
    shown = np.where((seen.expression == _JOY) & calm, RELAXED, seen.expression)
    return np.where((seen.expression == NOTHING) | (seen.expression == _NEUTRAL), REST, shown)


def _step(old: np.ndarray, wanted: np.ndarray, most: float) -> np.ndarray:
    """Go from one blend towards another until the weight that moves most has moved so far."""
    move = wanted - old
    peak = np.abs(_mix(move, _EFFECTS)).max(axis=1)
    share = np.float32(most) / np.maximum(peak, np.float32(most))
    return old + move * share[:, None]


def _mix(blend: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Return the sum of the effects of looks, by their weights.

    It is taken in the order of the looks, not by a matrix product, whose last bit depends on the
    number of rows: a replay in other batches gives the same.
    """
    total = blend[:, :1] * effects[0]
    for look in range(1, len(effects)):
        if blend[:, look].any():
            total += blend[:, look, None] * effects[look]
    return total


def move_avatars(
    rules: Decisions,
    rows: pa.RecordBatch,
    step: Step,
    ids: pa.Array,
    prior: pa.Array,
    shown: np.ndarray,
    known: pa.RecordBatch,
) -> tuple[dict[str, pa.Array], pa.RecordBatch]:
    """Return the avatar's columns of EXPRESSION_DECISIONS, and the AVATARS rows from then on.

    ``rows`` are feature rows in the order of event time, none of which ends before one that
    ``known`` has seen. ``step``, ``ids`` and ``prior`` are what the history made of them and the
    ids that it knows them by; ``shown`` is a mask of those that others may see.
    """
    own = pc.equal(rows["purpose"], MIRRORING).to_numpy(zero_copy_only=False)
    ends = rows["window_end"].cast(pa.int64()).to_numpy()
    blend = np.zeros((rows.num_rows, len(LOOKS)), np.float32)
    look = np.full(rows.num_rows, REST)
    at = np.flatnonzero(own)
    mine = pa.array(at, pa.int64())
    slots = Slots.of(known["avatar_id"], ids.take(mine), prior.take(mine))
    faces = Faces(rules, known, slots)
    if len(at):
        abstained = rows["abstained"].to_numpy(zero_copy_only=False)
        seen = Seen(
            expression=step.held[at],
            arousal=rows["arousal"].to_numpy()[at],
            intensity=step.intensity[at],
            unsure=(abstained | (step.held == NOTHING))[at],
            hidden=~shown[at],
        )
        for start, stop in equal_runs(ends[at]):
            part = slice(start, stop)
            now = int(ends[at[start]])
            blend[at[part]], look[at[part]] = faces.advance(now, part, seen.take(part))
    subjects = slots.subjects(known["subject_ref"], rows["subject_ref"].take(mine))
    return _columns(blend, look, own), faces.snapshot(subjects, int(ends.max()))


def _columns(blend: np.ndarray, look: np.ndarray, own: np.ndarray) -> dict[str, pa.Array]:
    """Return the columns of these blends; those of VRM are null where a row moves no face."""
    shapes, mixed = _mix(blend, LOOK_SHAPES), _mix(blend, _SUMMARY)
    emotions, (shown, mouth, whole) = mixed[:, :-3], mixed[:, -3:].T
    presets = np.column_stack([emotions, np.clip(1 - shown, 0, 1)])
    strictest = ((presets > 0)[:, :, None] * _STRICTNESS).max(axis=1)
    share = mouth / np.where(whole > 0, whole, 1)

    def code(names: pa.Array, place: np.ndarray) -> pa.Array:
        return names.take(pa.array(place, mask=~own))

    return {
        "avatar_weights": vector_column(shapes),
        "avatar_preset": code(_PRESET_CODES, np.where(look == REST, len(LOOKS), look)),
        "preset_weights": vector_column(presets, null=~own),
        **{
            f"override_{target}": code(_OVERRIDE_CODES, strictest[:, place])
            for place, target in enumerate(TARGETS)
        },
        "lip_sync_mask": code(_MASK, np.zeros(len(own), np.int64)),
        "mouth_share": pa.array(share.astype(np.float32), mask=~own),
    }
