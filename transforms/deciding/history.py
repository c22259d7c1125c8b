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

from schemas.arrow import equal_runs, fill_schema, number_distinct, vector_column, vectors
from schemas.events import PRIOR_COLUMNS, WINDOW_KEY
from schemas.ids import stable_ids
from schemas.settings import Decisions, Windows
from schemas.vocabularies import EXPRESSIONS, affect_of
from transforms.deciding.slots import NEVER, Slots

HISTORY = pa.schema(
    [
        ("history_id", pa.string()),
        ("subject_ref", pa.string()),
        ("since_us", pa.int64()),
        ("seen_us", pa.int64()),
        ("sure_us", pa.int64()),
        ("smoothed", pa.list_(pa.float32(), len(EXPRESSIONS))),
        ("baseline", pa.list_(pa.float32(), 2)),
        ("held", pa.int64()),
        ("held_for", pa.int64()),
        ("intensity", pa.float32()),
    ]
)
"""One row for each WINDOW_KEY, whose hash is ``history_id``, in the order of these.

``held`` is an index into EXPRESSIONS or NOTHING, ``baseline`` the running valence and arousal.
``since_us``, ``seen_us`` and ``sure_us`` are the ends of its first window, of its last one and of
the last that did not abstain, in µs. It was held for ``held_for`` windows in a row that did not
abstain. The subject is named so that an erasure finds the row."""

NOTHING: Final = -1
_NEUTRAL = EXPRESSIONS.index("neutral")
_LENGTH_S: Final = Windows().length_s
MOST_APART: Final = 4
"""Lengths of a window between the ends of two that are in a row: three may be missing or unsure."""


@dataclass(frozen=True, slots=True)
class Step:
    """What windows did, one row for each: ``shift`` and ``affect`` are (n, 2), valence and arousal.

    ``affect`` is that of the smoothed scores. ``chain`` numbers histories that go on unbroken:
    those under the length of the state go on from its row of that number. ``after_gap`` says that
    nothing was seen for sure for so long before that nothing is in a row with it.
    """

    held: np.ndarray
    held_for: np.ndarray
    confidence: np.ndarray
    affect: np.ndarray
    shift: np.ndarray
    intensity: np.ndarray
    chain: np.ndarray
    after_gap: np.ndarray


def history_ids(features: pa.RecordBatch) -> pa.Array:
    """Return the id of each row's history; each distinct key is hashed once."""
    return hash_distinct([features[name] for name in WINDOW_KEY])


def prior_history_ids(features: pa.RecordBatch) -> pa.Array:
    """Return the id that each row's history had under the key before, null where there was none."""
    refs = [features[name] for name, _ in PRIOR_COLUMNS]
    if refs[0].null_count == len(refs[0]):
        return pa.nulls(features.num_rows, pa.string())
    ids = hash_distinct([*refs, *(features[name] for name in WINDOW_KEY[len(refs) :])])
    return pc.if_else(refs[0].is_valid(), ids, None)


def abstain_where_not_finite(features: pa.RecordBatch) -> pa.RecordBatch:
    """Return feature rows of which those without numbers say what a window without events does.

    Rows whose scores, valence or arousal are not finite abstain between uniform scores: one NaN in
    a history would stay in all its windows to come.
    """
    affect = [features[name].to_numpy(zero_copy_only=False) for name in ("valence", "arousal")]
    scores = vectors(features["scores"], len(EXPRESSIONS))
    broken = ~np.isfinite(np.column_stack([scores, *affect])).all(axis=1)
    if not broken.any():
        return features
    uniform = np.full((1, len(EXPRESSIONS)), 1 / len(EXPRESSIONS), np.float32)
    weak = features["abstained"].to_numpy(zero_copy_only=False) | broken
    columns = {
        "scores": vector_column(np.where(broken[:, None], uniform, scores)),
        "abstained": pa.array(weak),
    }
    for name, given, mean in zip(
        ("valence", "arousal"), affect, affect_of(uniform)[0], strict=True
    ):
        columns[name] = pa.array(np.where(broken, mean, given), features[name].type)
    return fill_schema(features.schema, columns, features)


def hash_distinct(columns: list[pa.Array]) -> pa.Array:
    """Return the hash of what these columns hold in each row; each distinct row is hashed once."""
    number, first = number_distinct(*columns)
    ids = stable_ids(*(column.take(pa.array(first)) for column in columns))
    return ids.take(pa.array(number))


class _Known:
    """What is known in each slot, of which the first are those of the state."""

    def __init__(self, state: pa.RecordBatch, size: int) -> None:
        count = state.num_rows
        self.since, self.seen, self.sure = (np.full(size, NEVER) for _ in range(3))
        self.since[:count] = state["since_us"].to_numpy()
        self.seen[:count] = state["seen_us"].to_numpy()
        self.sure[:count] = state["sure_us"].to_numpy()
        self.smoothed = np.zeros((size, len(EXPRESSIONS)), np.float32)
        self.smoothed[:count] = vectors(state["smoothed"], len(EXPRESSIONS))
        self.baseline = np.zeros((size, 2), np.float32)
        self.baseline[:count] = vectors(state["baseline"], 2)
        self.held = np.full(size, NOTHING)
        self.held[:count] = state["held"].to_numpy()
        self.held_for = np.zeros(size, np.int64)
        self.held_for[:count] = state["held_for"].to_numpy()
        self.intensity = np.zeros(size, np.float32)
        self.intensity[:count] = state["intensity"].to_numpy()
        self.chain = np.arange(size)
        self.chains = count

    def snapshot(self, ids: pa.Array, subjects: pa.Array, earliest: int) -> pa.RecordBatch:
        """Return HISTORY rows of the slots that were seen since then."""
        alive = np.flatnonzero(self.seen >= earliest)
        names = ids.take(pa.array(alive))
        order = pc.sort_indices(names)
        at = alive[order.to_numpy()]
        columns = [
            names.take(order),
            subjects.take(pa.array(at)),
            pa.array(self.since[at]),
            pa.array(self.seen[at]),
            pa.array(self.sure[at]),
            vector_column(self.smoothed[at]),
            vector_column(self.baseline[at]),
            pa.array(self.held[at]),
            pa.array(self.held_for[at]),
            pa.array(self.intensity[at]),
        ]
        return pa.record_batch(columns, schema=HISTORY)


class History:
    """The histories of one shard; windows must come in the order of event time."""

    def __init__(
        self,
        rules: Decisions,
        state: pa.RecordBatch | None = None,
        length_s: float = _LENGTH_S,
    ) -> None:
        self._rules, self._gap_us = rules, round(MOST_APART * length_s * 1e6)
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
        """Take the feature rows of some windows, by their end, and return what each did.

        A history has one row in a window. A row whose id has no history goes on from that of its
        ``prior`` id: keys were rotated. Rows that are ``hidden`` have no intensity at once; what is
        shown again begins from there.
        """
        ends = features["window_end"].cast(pa.int64()).to_numpy()
        given = _Given(
            ends,
            vectors(features["scores"], len(EXPRESSIONS)),
            features["abstained"].to_numpy(zero_copy_only=False),
            np.stack([features["valence"].to_numpy(), features["arousal"].to_numpy()], axis=1),
            np.zeros(len(ends), bool) if hidden is None else hidden,
        )
        slots = Slots.of(self._state["history_id"], ids, prior)
        store = _Known(self._state, len(slots.ids))
        steps = [
            self._step(given, slice(start, stop), slots, store) for start, stop in equal_runs(ends)
        ]
        subjects = slots.subjects(self._state["subject_ref"], features["subject_ref"])
        self._state = store.snapshot(slots.ids, subjects, self._earliest(int(ends[-1])))
        return Step(*(np.concatenate([getattr(s, n) for s in steps]) for n in Step.__slots__))

    def _earliest(self, now_us: int) -> int:
        return now_us - int(self._rules.forget_s * 1e6)

    def _step(self, given: "_Given", rows: slice, slots: Slots, store: _Known) -> Step:
        """Take the rows of one window's end."""
        rules, now = self._rules, int(given.ends[rows.start])
        own, source, known = slots.find(rows, store.seen, self._earliest(now))
        scores, weak, affect = given.scores[rows], given.weak[rows], given.affect[rows]

        old = np.where(known[:, None], store.smoothed[source], scores)
        follow = np.where(weak, 0.0, rules.follow)[:, None]
        smoothed = (1 - follow) * old + follow * scores
        sure = np.where(known, store.sure[source], NEVER)
        after_gap = now - sure > self._gap_us
        held, held_for = self._hold(
            smoothed,
            weak,
            np.where(known, store.held[source], NOTHING),
            np.where(known & ~after_gap, store.held_for[source], 0),
        )
        confidence = np.where(held == NOTHING, smoothed.max(axis=1), _take_columns(smoothed, held))
        baseline = np.where(known[:, None], store.baseline[source], affect)
        target = np.where((held == NOTHING) | (held == _NEUTRAL), 0.0, confidence)
        sure = np.where(weak, sure, now)
        last = np.where(known, store.intensity[source], np.float32(0))
        intensity = self._move(last, target, now - store.seen[source], now - sure)
        intensity = np.where(given.hidden[rows], 0.0, intensity)
        chain = np.where(known, store.chain[source], 0)
        chain[~known] = np.arange(store.chains, store.chains + np.count_nonzero(~known))
        store.chains += np.count_nonzero(~known)

        store.since[own] = np.where(known, store.since[source], now)
        store.seen[own], store.sure[own] = now, sure
        store.smoothed[own], store.baseline[own] = (
            smoothed,
            baseline + rules.drift * (affect - baseline),
        )
        store.held[own], store.held_for[own] = held, held_for
        store.intensity[own], store.chain[own] = intensity, chain
        shift = affect - baseline
        shown = affect_of(smoothed)
        return Step(held, held_for, confidence, shown, shift, intensity, chain, after_gap)

    def _move(
        self, last: np.ndarray, target: np.ndarray, silent_us: np.ndarray, unsure_us: np.ndarray
    ) -> np.ndarray:
        """Return the intensity after the last one, as an avatar's weights move.

        It is 0 once the last decision has expired; windows that abstain leave it as it is for as
        long as a decision is valid, and let it sink from then on.
        """
        valid_us, most = int(self._rules.valid_s * 1e6), self._rules.max_change
        last = np.where(silent_us > valid_us, np.float32(0), last)
        wanted = np.where(unsure_us > valid_us, 0.0, np.where(unsure_us > 0, last, target))
        return np.asarray(last + np.clip(wanted - last, -most, most))

    def _hold(
        self, smoothed: np.ndarray, weak: np.ndarray, held: np.ndarray, held_for: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keep the held expression until another beats it by the margin; weak windows count not."""
        best = smoothed.argmax(axis=1)
        lead = smoothed.max(axis=1) - _take_columns(smoothed, held)
        change = ~weak & (best != held) & ((held == NOTHING) | (lead > self._rules.margin))
        return np.where(change, best, held), np.where(change, 1, held_for + ~weak)


@dataclass(frozen=True, slots=True)
class _Given:
    """The columns of feature rows that a history looks at, as arrays; ``ends`` in µs."""

    ends: np.ndarray
    scores: np.ndarray
    weak: np.ndarray
    affect: np.ndarray
    hidden: np.ndarray


def _take_columns(scores: np.ndarray, column: np.ndarray) -> np.ndarray:
    return scores[np.arange(len(scores)), np.maximum(column, 0)]
