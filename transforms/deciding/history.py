"""What a session has shown so far for one purpose: baseline, smoothed scores, held expression.

Purpose, scenario and age band are of a history's key as of a window's (WINDOW_KEY): what was shown
for research moves no avatar.

Pure and without a clock: it moves only with the event time of the windows it is given.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import number_distinct, take_rows, vector_column, vectors
from schemas.events import PRIOR_COLUMNS, WINDOW_KEY
from schemas.ids import stable_ids
from schemas.settings import Decisions
from schemas.vocabularies import EXPRESSIONS

HISTORY = pa.schema(
    [
        ("history_id", pa.string()),
        ("seen_us", pa.int64()),
        ("smoothed", pa.list_(pa.float32(), len(EXPRESSIONS))),
        ("baseline", pa.list_(pa.float32(), 2)),
        ("held", pa.int64()),
        ("held_for", pa.int64()),
        ("intensity", pa.float32()),
    ]
)
"""One row for each WINDOW_KEY, whose hash is ``history_id``.

``held`` is an index into EXPRESSIONS or NOTHING, ``baseline`` the running valence and arousal,
``seen_us`` the end of its last window in µs."""

NOTHING: Final = -1
_NEUTRAL = EXPRESSIONS.index("neutral")


@dataclass(frozen=True, slots=True)
class Step:
    """What one window did, one row for each history: ``shift`` is (n, 2), valence and arousal."""

    held: np.ndarray
    held_for: np.ndarray
    confidence: np.ndarray
    shift: np.ndarray
    intensity: np.ndarray


def history_ids(features: pa.RecordBatch) -> pa.Array:
    """Return the id of each row's history; each distinct key is hashed once."""
    return _ids([features[name] for name in WINDOW_KEY])


def prior_history_ids(features: pa.RecordBatch) -> pa.Array:
    """Return the id that each row's history had under the key before, null where there was none."""
    refs = [features[name] for name, _ in PRIOR_COLUMNS]
    if refs[0].null_count == len(refs[0]):
        return pa.nulls(features.num_rows, pa.string())
    ids = _ids([*refs, *(features[name] for name in WINDOW_KEY[len(refs) :])])
    return pc.if_else(refs[0].is_valid(), ids, None)


def _ids(columns: list[pa.Array]) -> pa.Array:
    number, first = number_distinct(*columns)
    ids = stable_ids(*(column.take(pa.array(first)) for column in columns))
    return ids.take(pa.array(number))


class History:
    """The histories of one shard; windows must come in the order of event time."""

    def __init__(self, rules: Decisions, state: pa.RecordBatch | None = None) -> None:
        self._rules = rules
        self._state = pa.RecordBatch.from_pylist([], HISTORY) if state is None else state

    def snapshot(self) -> pa.RecordBatch:
        """Return the HISTORY rows that rebuild this object."""
        return self._state

    def advance(
        self,
        features: pa.RecordBatch,
        ids: pa.Array,
        prior: pa.Array,
        hidden: np.ndarray | None = None,
    ) -> Step:
        """Take the feature rows of one window, one a history, and return what they did.

        A row whose id has no history goes on from that of its ``prior`` id: keys were rotated. Rows
        that are ``hidden`` have no intensity at once; what is shown again begins from there.
        """
        rules = self._rules
        now = features["window_end"].cast(pa.int64()).to_numpy()
        kept = self._keep(int(now.max()))
        place = pc.index_in(ids, kept["history_id"])
        if prior.null_count < len(prior):
            place = pc.coalesce(place, pc.index_in(prior, kept["history_id"]))
        known = place.is_valid().to_numpy(zero_copy_only=False)
        before = kept.take(place)
        scores = vectors(features["scores"], len(EXPRESSIONS))
        weak = features["abstained"].to_numpy(zero_copy_only=False)
        affect = np.stack([features["valence"].to_numpy(), features["arousal"].to_numpy()], axis=1)

        old = np.where(known[:, None], vectors(before["smoothed"], len(EXPRESSIONS)), scores)
        follow = np.where(weak, 0.0, rules.follow)[:, None]
        smoothed = (1 - follow) * old + follow * scores
        held, held_for = self._hold(smoothed, weak, before)
        confidence = np.where(held == NOTHING, smoothed.max(axis=1), _take_columns(smoothed, held))
        baseline = np.where(known[:, None], vectors(before["baseline"], 2), affect)
        target = np.where((held == NOTHING) | (held == _NEUTRAL), 0.0, confidence)
        last = before["intensity"].fill_null(0).to_numpy(zero_copy_only=False)
        intensity = last + np.clip(target - last, -rules.max_change, rules.max_change)
        if hidden is not None:
            intensity = np.where(hidden, 0.0, intensity)

        drifted = baseline + rules.drift * (affect - baseline)
        columns = [
            ids,
            pa.array(now),
            vector_column(smoothed),
            vector_column(drifted),
            pa.array(held),
            pa.array(held_for),
            pa.array(intensity.astype(np.float32)),
        ]
        absent = ~pc.is_in(kept["history_id"], ids).to_numpy(zero_copy_only=False)
        fresh = pa.record_batch(columns, schema=HISTORY)
        self._state = pa.concat_batches([take_rows(kept, absent), fresh])
        return Step(held, held_for, confidence, affect - baseline, intensity)

    def _keep(self, now_us: int) -> pa.RecordBatch:
        silent = now_us - self._state["seen_us"].to_numpy() > self._rules.forget_s * 1e6
        return take_rows(self._state, ~silent)

    def _hold(
        self, smoothed: np.ndarray, weak: np.ndarray, before: pa.RecordBatch
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keep the held expression until another beats it by the margin."""
        held = before["held"].fill_null(NOTHING).to_numpy(zero_copy_only=False)
        held_for = before["held_for"].fill_null(0).to_numpy(zero_copy_only=False)
        best = smoothed.argmax(axis=1)
        lead = smoothed.max(axis=1) - _take_columns(smoothed, held)
        change = ~weak & (best != held) & ((held == NOTHING) | (lead > self._rules.margin))
        return np.where(change, best, held), np.where(change, 1, held_for + 1)


def _take_columns(scores: np.ndarray, column: np.ndarray) -> np.ndarray:
    return scores[np.arange(len(scores)), np.maximum(column, 0)]
