"""What is usual for a person: mean, spread and trend of what they showed, over days of event time.

A baseline is of a person in one scenario, for one purpose and age band: what was shown in a game
says nothing at work, and what was shown for research steers nothing else. It goes on over sessions.

Pure and without a clock. Sums are kept, in which a window counts half after a half-life, so that
the same windows give the same baseline however they come: windows that end at once are added
together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import equal_runs, take_rows, vectors
from schemas.decisions.columns import STEP
from schemas.decisions.settings import Baselines
from schemas.events import DAY_US, WINDOW_KEY
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.history import hash_distinct
from transforms.deciding.slots import NEVER, Slots

USUAL: Final[Mapping[str, tuple[float, float]]] = {
    "usual_valence": (-1, 1),
    "usual_arousal": (-1, 1),
    "valence_spread": (0, 1),
    "arousal_spread": (0, 1),
    "valence_trend": (-2, 2),
    "arousal_trend": (-2, 2),
    "valence_deviation": (-20, 20),
    "arousal_deviation": (-20, 20),
    "days_seen": (0, 7),
    "low_days": (0, 7),
    **{f"share_{name}": (0, 1) for name in EXPRESSIONS},
}
"""What is known of a person's usual state → its least and largest value.

A deviation is the smoothed value minus the usual one, in spreads; ``days_seen`` are the days of the
last seven on which a window did not abstain, and ``low_days`` those on which such windows were low
in the mean; shares are those of the windows that show an expression.
"""

BASELINE_KEY: Final = tuple(name for name in WINDOW_KEY if name != "session_ref")
REACH: Final = 10
"""Half-lives after which a window counts no more, less than 0.1 %: so long a baseline rests."""
_WEEK: Final = 7
_LOW: Final = -0.2
"""Mean valence up to which a day is low."""
_LEAST_OF_DAY: Final = 12
"""Windows by which a day can be low, a minute of 5 s each: no day is by a moment."""
_LEAST_SPREAD: Final = 0.1
"""Half a step of the scores: whoever always shows the same is not far from it at once."""
_ROUNDING: Final = 1e-6
"""A value between two steps goes up, also where it is a little less by its rounding."""
_LEAST_RECENT: Final = 3.0
"""Windows that make a recent mean."""

_SLOW: Final = 1 + 2 + 2 + len(EXPRESSIONS)
"""Sums over windows: their number, valence and arousal, the squares of both, each expression."""
_SUMS: Final = _SLOW + 3
"""And those of the recent mean: the number, valence and arousal."""

BASELINE = pa.schema(
    [
        ("baseline_id", pa.string()),
        ("subject_ref", pa.string()),
        ("since_us", pa.int64()),
        ("seen_us", pa.int64()),
        ("days", pa.int64()),
        ("low_days", pa.int64()),
        ("today", pa.int64()),
        ("today_valence", pa.float64()),
        ("sums", pa.list_(pa.float64(), _SUMS)),
    ]
)
"""One row for each BASELINE_KEY, whose hash is ``baseline_id``, in the order of these.

It is of windows that did not abstain and ended from ``since_us`` to ``seen_us``; bit n of ``days``
says that there was one n days before the last, and of ``low_days`` that that day was low. ``today``
counts the windows of the last day, of which ``today_valence`` is the sum. About 250 bytes.
"""
_NUMBERS: Final = ("since_us", "days", "low_days", "today", "today_valence")
"""Columns of BASELINE with one number for each slot, beside ``seen_us``."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What was usual before each row: the quantities of USUAL, NaN where too little is known."""

    values: Mapping[str, np.ndarray]
    expression: np.ndarray
    """Index into EXPRESSIONS of the one that was shown most, -1 where too little is known."""


class _Known:
    """What is known in each slot, of which the first are those of the state.

    A day is low by ``least`` windows or more.
    """

    def __init__(self, state: pa.RecordBatch, size: int, least: int) -> None:
        count = state.num_rows
        self._state, self._least = state, least
        self.seen = np.full(size, NEVER)
        self.seen[:count] = state["seen_us"].to_numpy()
        self.sums = np.zeros((size, _SUMS))
        self.sums[:count] = state["sums"].flatten().to_numpy().reshape(count, _SUMS)
        self._numbers = {
            name: np.zeros(size, BASELINE.field(name).type.to_pandas_dtype()) for name in _NUMBERS
        }
        for name, values in self._numbers.items():
            values[:count] = state[name].to_numpy()

    def week(self, source: np.ndarray, known: np.ndarray, now_us: int) -> np.ndarray:
        """Return the days of the last seven that were seen, and those that were low, as bits."""
        later = np.minimum(now_us // DAY_US - self.seen[source] // DAY_US, _WEEK)
        bits = np.stack([self._numbers[name][source] for name in ("days", "low_days")], axis=1)
        return np.where(known[:, None], bits << later[:, None], 0) & ((1 << _WEEK) - 1)

    def begin(self, own: np.ndarray, source: np.ndarray, known: np.ndarray, now_us: int) -> None:
        """Let slots go on from what is known of their sources; another day is counted anew."""
        same_day = known & (self.seen[source] // DAY_US == now_us // DAY_US)
        for name, go_on, anew in (
            ("since_us", known, now_us),
            ("today", same_day, 0),
            ("today_valence", same_day, 0.0),
        ):
            values = self._numbers[name]
            values[own] = np.where(go_on, values[source], anew)
        self.seen[own] = now_us

    def add(self, own: np.ndarray, sums: np.ndarray, week: np.ndarray, shown: np.ndarray) -> None:
        """Add what windows show to sums that have faded, and to those of their day."""
        self.sums[own] = sums
        np.add.at(self.sums, own, shown)
        today, valence = self._numbers["today"], self._numbers["today_valence"]
        np.add.at(today, own, 1)
        np.add.at(valence, own, shown[:, 1])
        is_low = (today[own] >= self._least) & (valence[own] <= (_LOW + _ROUNDING) * today[own])
        self._numbers["days"][own] = week[:, 0] | 1
        self._numbers["low_days"][own] = week[:, 1] & ~1 | is_low

    def snapshot(self, slots: Slots, rows: pa.RecordBatch, earliest: int) -> pa.RecordBatch:
        """Return BASELINE rows of the slots that were seen since then."""
        subjects = slots.subjects(self._state["subject_ref"], rows["subject_ref"])
        alive = np.flatnonzero(self.seen >= earliest)
        order = pc.sort_indices(slots.ids.take(pa.array(alive)))
        at = alive[order.to_numpy()]
        flat = pa.array(np.ascontiguousarray(self.sums[at]).reshape(-1))
        columns = {name: pa.array(values[at]) for name, values in self._numbers.items()} | {
            "baseline_id": slots.ids.take(pa.array(at)),
            "subject_ref": subjects.take(pa.array(at)),
            "seen_us": pa.array(self.seen[at]),
            "sums": pa.FixedSizeListArray.from_arrays(flat, _SUMS),
        }
        return pa.record_batch([columns[name] for name in BASELINE.names], schema=BASELINE)


class Baseline:
    """The baselines of one shard; windows must come in the order of event time."""

    def __init__(self, rules: Baselines, state: pa.RecordBatch | None = None) -> None:
        self._rules = rules
        self._state = pa.RecordBatch.from_pylist([], BASELINE) if state is None else state

    def snapshot(self) -> pa.RecordBatch:
        """Return the BASELINE rows that rebuild this object."""
        return self._state

    def advance(self, rows: pa.RecordBatch, affect: np.ndarray) -> Usual:
        """Take feature rows by their end, and return what was usual before each.

        ``affect`` (n, 2) is what the person shows by now, of which deviations are told. Windows
        that abstained say nothing of a person.
        """
        ends = rows["window_end"].cast(pa.int64()).to_numpy()
        sure = ~rows["abstained"].to_numpy(zero_copy_only=False)
        shown = _summands(rows)
        ids, prior = _ids(rows)
        slots = Slots.of(self._state["baseline_id"], ids, prior)
        known = _Known(self._state, len(slots.ids), min(self._rules.least_windows, _LEAST_OF_DAY))
        before, days = np.zeros((len(ends), _SUMS)), np.zeros((len(ends), 2), np.int64)
        for start, stop in equal_runs(ends):
            at, now = slice(start, stop), int(ends[start])
            own, source, is_known = slots.find(at, known.seen, self._earliest(now))
            fade = self._fade(now - known.seen[source])
            before[at] = np.where(is_known[:, None], known.sums[source], 0.0) * fade
            week = known.week(source, is_known, now)
            days[at] = week
            mine = sure[at]
            known.begin(own[mine], source[mine], is_known[mine], now)
            known.add(own[mine], before[at][mine], week[mine], shown[at][mine])
        days[:, 0] |= sure  # a window that does not abstain is seen itself
        self._state = known.snapshot(slots, rows, self._earliest(int(ends[-1])))
        return self._usual(before, days, affect)

    def _earliest(self, now_us: int) -> int:
        return now_us - round(REACH * self._rules.half_life_s * 1e6)

    def _fade(self, age_us: np.ndarray) -> np.ndarray:
        """Return what remains of sums (n, _SUMS) that are so old."""
        age = np.minimum(age_us, DAY_US * 10_000)[:, None] / 1e6  # of no slot it is without end
        lives = np.where(
            np.arange(_SUMS) < _SLOW, self._rules.half_life_s, self._rules.trend_half_life_s
        )
        return np.exp2(-age / lives)

    def _usual(self, sums: np.ndarray, days: np.ndarray, affect: np.ndarray) -> Usual:
        count, recent = sums[:, 0], sums[:, _SLOW]
        enough = count >= self._rules.least_windows
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(enough[:, None], sums[:, 1:3] / count[:, None], np.nan)
            spread = np.sqrt(np.maximum(sums[:, 3:5] / count[:, None] - mean**2, 0.0))
            lately = np.where(
                (recent >= _LEAST_RECENT)[:, None], sums[:, _SLOW + 1 :] / recent[:, None], np.nan
            )
            share = np.where(enough[:, None], sums[:, 5:_SLOW] / count[:, None], np.nan)
        trend, deviation = lately - mean, (affect - mean) / np.maximum(spread, _LEAST_SPREAD)
        figures = (mean, spread, trend, deviation)
        columns = [figure[:, side] for figure in figures for side in (0, 1)]
        columns += [*np.bitwise_count(days).astype(np.float64).T, *share.T]
        expression = np.where(enough, sums[:, 5:_SLOW].argmax(axis=1), -1)
        return Usual(dict(zip(USUAL, columns, strict=True)), expression)


def coarse_columns(usual: Usual) -> dict[str, pa.Array]:
    """Return the columns of decisions that tell what is usual, in steps too coarse to know anybody.

    They are BASELINE_COLUMNS of ``schemas.decisions``, null where too little is known.
    """
    columns = {}
    for name in list(USUAL)[:8]:
        value, step = usual.values[name], STEP
        if name.endswith("_deviation"):
            value, step = np.clip(value, -3, 3), 1.0
        unknown = np.isnan(value)
        steps = np.floor(np.where(unknown, 0.0, value) / step + 0.5 + _ROUNDING)
        columns[name] = pa.array((steps * step).astype(np.float32), mask=unknown)
    shown = pa.array(usual.expression, pa.int64(), mask=usual.expression < 0)
    return columns | {"usual_expression": pa.array(EXPRESSIONS).take(shown)}


def forget(state: pa.RecordBatch, erased: Mapping[str, int], length_us: int = 0) -> pa.RecordBatch:
    """Return rows of a state without those of who was erased since the row began.

    The rows have ``subject_ref`` and ``since_us``, the end of their first window. It is the same
    batch where nobody was erased. ``erased`` is subject_ref → until when they were erased,
    in µs since 1970. A row begins with the end of a window of ``length_us``, some of whose events
    may be of before the erasure.
    """
    if not erased or not state.num_rows:
        return state
    subjects = pa.array(list(erased), pa.string())
    place = pc.index_in(state["subject_ref"], subjects)
    until = pa.array(list(erased.values()), pa.int64()).take(place).fill_null(NEVER)
    return take_rows(state, state["since_us"].to_numpy() - length_us > until.to_numpy())


def _summands(rows: pa.RecordBatch) -> np.ndarray:
    """Return what each row adds to the sums (n, _SUMS)."""
    affect = np.stack(
        [rows[name].to_numpy().astype(np.float64) for name in ("valence", "arousal")], axis=1
    )
    scores = vectors(rows["scores"], len(EXPRESSIONS))
    shown = scores.argmax(axis=1)[:, None] == np.arange(len(EXPRESSIONS))
    one = np.ones((len(affect), 1))
    whole = np.concatenate([one, affect, affect**2, shown, one, affect], axis=1)
    whole[rows["abstained"].to_numpy(zero_copy_only=False)] = 0.0
    return whole


def _ids(rows: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Return the id of each row's baseline, and the one under the key before, null where none."""
    rest = [rows[name] for name in BASELINE_KEY[1:]]
    prior = rows["prior_subject_ref"]
    own = hash_distinct([rows["subject_ref"], *rest])
    if prior.null_count == len(prior):
        return own, pa.nulls(len(own), pa.string())
    return own, pc.if_else(prior.is_valid(), hash_distinct([prior, *rest]), None)
