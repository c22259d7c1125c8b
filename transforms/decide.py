"""DecideExpressions: features, history and scenario policy → what happens next."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.coders import TupleCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import (
    BagStateSpec,
    ReadModifyWriteStateSpec,
    TimerSpec,
    on_timer,
)
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.timestamp import Timestamp

from schemas.arrow import fill_schema
from schemas.decisions.settings import Baselines
from schemas.events import CONTEXT_FIELDS, TIME, WINDOW_KEY
from schemas.ids import stable_ids
from schemas.settings import Decisions, Windows
from schemas.stages import MAIN, REVIEWS, Stage
from schemas.tables import EXPRESSION_DECISIONS
from schemas.vocabularies import EXPRESSIONS
from transforms.arrow_coder import ArrowBatchCoder
from transforms.deciding.avatar import AVATARS, move_avatars
from transforms.deciding.baseline import BASELINE, Baseline, coarse_columns, forget
from transforms.deciding.choosing import Choice, Visibility, choose, remind
from transforms.deciding.history import (
    HISTORY,
    NOTHING,
    History,
    abstain_where_not_finite,
    history_ids,
    prior_history_ids,
)
from transforms.deciding.matching import Matching, Shown, text
from transforms.deciding.reminders import USE, find_due
from transforms.deciding.reviews import find_reviews
from transforms.deciding.runs import RUNS, Runs
from transforms.deciding.scenarios import ScenarioPolicy, read_scenarios
from transforms.gating.opt_ins import MIRRORING, KnowsOptIns, NoOptIns, nobody_opted_in
from transforms.stage import Outputs, count_time, stage_counters
from transforms.window import Keyed

Landed = Callable[[datetime], pa.Table]
MayShow = Callable[[pa.Array, pa.Array, pa.Array], np.ndarray]
"""Subjects, times and prior references → a mask of those who may be shown to others."""


class Before(NamedTuple):
    """What a shard knows of the windows before, each as rows of the schema of that name."""

    history: pa.RecordBatch
    use: pa.RecordBatch
    runs: pa.RecordBatch
    baseline: pa.RecordBatch
    avatars: pa.RecordBatch


_NAMING = ("history", "use", "baseline", "avatars")
"""Those of which each row names its subject."""
_SWEEP_S = 5
"""Event time after which a shard without windows looks for people who were erased."""
_AHEAD_S = 120
"""As far as the watermark of a job may be ahead of its clock: events may be 60 s."""
_UNDER_WAY_US = 60_000_000
"""What began so soon after an erasure may be of events that the gate let pass before it knew."""
_USUAL = Baselines()
_WINDOWS = Windows()
_NOTHING_BEFORE = Before(
    *(pa.RecordBatch.from_pylist([], schema) for schema in (HISTORY, USE, RUNS, BASELINE, AVATARS))
)


def _restore(known: Iterable[pa.RecordBatch]) -> Before:
    """Return what a shard kept, also in a state of before some columns came.

    Of a time that is missing the last window's end stands, of anything else nothing. Rows that do
    not name their subject, as they have to by now, are let go: no erasure would find them.
    """
    whole = []
    for rows, start in zip(known, _NOTHING_BEFORE, strict=True):
        if "subject_ref" in set(start.schema.names) - set(rows.schema.names):
            whole.append(start)
            continue
        columns = [
            rows[field.name]
            if field.name in rows.schema.names
            else rows["seen_us"]
            if field.name.endswith("_us")
            else pa.array(np.zeros(rows.num_rows)).cast(field.type)
            for field in start.schema
        ]
        whole.append(pa.record_batch(columns, schema=start.schema))
    return Before(*whole)


@dataclass(frozen=True, slots=True)
class Decider:
    """Turns the drained windows of one shard into decisions and reviews.

    An avatar moves only where its person may be shown to others, and nobody's does where
    ``rules.avatar`` is off: such a decision has no weights, and its action is not to mirror.
    ``length_s`` is that of a window.
    """

    policy: ScenarioPolicy
    rules: Decisions
    may_show: MayShow = nobody_opted_in
    baselines: Baselines = _USUAL
    length_s: float = _WINDOWS.length_s

    def drain(
        self, pending: list[pa.RecordBatch], before: Before | None
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, Before]:
        """Decide on these feature rows in the order of event time, and within it of WINDOW_KEY.

        Returns EXPRESSION_DECISIONS rows, REVIEW_QUEUE rows and what the next windows go on from.
        """
        order = ("window_end", *WINDOW_KEY, "window_id")
        table = pa.Table.from_batches(pending).sort_by([(name, "ascending") for name in order])
        rows = abstain_where_not_finite(table.combine_chunks().to_batches()[0])
        known = before or _NOTHING_BEFORE
        own = text(rows["purpose"]) == MIRRORING
        shown = self._shown(rows, own)
        unseen = "not_opted_in" if self.rules.avatar else "avatar_off"
        visible = Visibility(shown, own & ~shown, unseen)
        history = History(self.rules, known.history, self.length_s)
        ids, prior = history_ids(rows), prior_history_ids(rows)
        step = history.advance(rows, ids, prior, visible.hidden)
        baseline = Baseline(self.baselines, known.baseline)
        usual = baseline.advance(rows, step.affect)
        abstained = rows["abstained"].to_numpy(zero_copy_only=False)
        runs = Runs(step, abstained, known.runs, known.history["history_id"])
        seen = Shown(rows, step, usual)
        choice = choose(self.policy, seen, Matching(self.policy, seen, runs).match(), visible)
        due, use = find_due(self.policy.reminders, rows, known.use, choice.busy)
        choice = remind(choice, self.policy.reminders, due, visible, seen.weak)
        faces, avatars = move_avatars(self.rules, rows, step, ids, prior, shown, known.avatars)
        decisions = self._decisions(seen, choice, faces)
        alive = history.snapshot()["history_id"]
        counted = runs.snapshot(ids, tuple(self.policy.states), alive)
        after = Before(history.snapshot(), use, counted, baseline.snapshot(), avatars)
        stakes, most = self.policy.of_high_stakes, self.rules.most_disagreement
        return decisions, find_reviews(rows, decisions, stakes, most), after

    def _shown(self, rows: pa.RecordBatch, own: np.ndarray) -> np.ndarray:
        """Return a mask of the rows by which the person's own avatar may move."""
        shown = np.zeros(rows.num_rows, bool)
        if self.rules.avatar and own.any():
            at = pa.array(np.flatnonzero(own))
            names = ("subject_ref", "window_end", "prior_subject_ref")
            shown[own] = self.may_show(*(rows[name].take(at) for name in names))
        return shown

    def _decisions(self, seen: Shown, choice: Choice, faces: dict[str, pa.Array]) -> pa.RecordBatch:
        rows, step = seen.rows, seen.step
        version = pa.repeat(self.policy.version, rows.num_rows)
        expires = rows["window_end"].cast(pa.int64()).to_numpy() + int(self.rules.valid_s * 1e6)
        columns = {
            "decision_id": stable_ids(rows["window_id"], self.policy.version),
            "expression": pa.array(EXPRESSIONS).take(
                pa.array(step.held, pa.int64(), mask=step.held == NOTHING)
            ),
            "confidence": pa.array(step.confidence.astype(np.float32)),
            "valence_shift": pa.array(step.shift[:, 0].astype(np.float32)),
            "arousal_shift": pa.array(step.shift[:, 1].astype(np.float32)),
            "action": pa.array(choice.action, pa.string()),
            "reason": pa.array(choice.reason, pa.string()),
            "reply_id": pa.array(choice.reply, pa.string()),
            "rule_id": pa.array(choice.rule_id, pa.string()),
            "reasons": choice.reasons,
            "needs_person": pa.array(choice.needs_person),
            "intensity": pa.array(step.intensity.astype(np.float32)),
            **faces,
            "policy_version": version,
            "expires_at": pa.array(expires).cast(TIME),
            "event_date": rows["window_end"].cast(pa.date32()),
            **coarse_columns(seen.usual),
        }
        return fill_schema(EXPRESSION_DECISIONS, columns, rows)


NEEDED = [
    "window_id", "subject_ref", "session_ref", "scene_id", "scenario", "purpose", "region",
    "age_band", "window_end", "scores", "abstained", "valence", "arousal", *CONTEXT_FIELDS,
    "prior_subject_ref", "prior_session_ref",
]  # fmt: skip
"""What decisions and history look at of a landed feature row."""
IN_FLIGHT = ("details", "disagreement")
"""What decisions and reviews look at beside it, which does not land."""
_COLUMNS = [*NEEDED, *IN_FLIGHT]


class _Decide(beam.DoFn):
    """Holds the pending windows of a shard until the watermark has passed the last of them.

    One timer a shard stands at the largest pending window end. An on-time pane arrives only once
    the watermark has passed its window, so that timer is due at once in a live job, and when it
    fires nothing earlier can follow: all pending windows are drained in order. A timer a window
    costs a cycle of the runner each, 5,760 of them for 30 minutes and 16 shards.
    """

    PENDING = BagStateSpec("pending", ArrowBatchCoder())
    BEFORE = ReadModifyWriteStateSpec(
        "before", TupleCoder(tuple(ArrowBatchCoder() for _ in Before._fields))
    )
    LATEST = ReadModifyWriteStateSpec("latest", VarIntCoder())
    DUE = TimerSpec("due", TimeDomain.WATERMARK)
    SWEEP = TimerSpec("sweep", TimeDomain.WATERMARK)

    def __init__(
        self,
        make: Callable[[MayShow], Decider],
        landed: Landed | None,
        opt_ins: Callable[[], KnowsOptIns],
        clock: Callable[[], float] | None,
        length_s: float,
    ) -> None:
        self._make, self._landed, self._read_opt_ins = make, landed, opt_ins
        self._clock, self._length_us = clock, round(length_s * 1e6)

    def setup(self) -> None:
        # They are read once somebody's own avatar may move, or something usual is known.
        self._opt_ins = functools.cache(self._read_opt_ins)
        self._decider = self._make(self._may_show)
        counters = stage_counters(Stage.DECIDE)
        self._rows_in, self._rows_out, self._busy_us, self._batches = counters

    def _may_show(self, subjects: pa.Array, times: pa.Array, prior: pa.Array) -> np.ndarray:
        return self._opt_ins().may_show(subjects, times, prior)

    def process(
        self,
        element: Keyed,
        pending: Any = beam.DoFn.StateParam(PENDING),
        latest: Any = beam.DoFn.StateParam(LATEST),
        due: Any = beam.DoFn.TimerParam(DUE),
        sweep: Any = beam.DoFn.TimerParam(SWEEP),
    ) -> None:
        batch = element[1]
        pending.add(batch)
        end = max(pc.max(batch["window_end"]).value, latest.read() or 0)
        latest.write(end)
        due.set(Timestamp(micros=end))
        if self._clock is not None:
            sweep.set(Timestamp(micros=end + _SWEEP_S * 1_000_000))

    @on_timer(SWEEP)
    def sweep(
        self,
        kept: Any = beam.DoFn.StateParam(BEFORE),
        sweep: Any = beam.DoFn.TimerParam(SWEEP),
        fired: Any = beam.DoFn.TimestampParam,
    ) -> None:
        """Drop what is known of who was erased, also where no window comes that would do so."""
        if self._opt_ins().erased_subjects() and (known := kept.read()):
            before = _restore(known)
            left = self._without_erased(before)
            if left is not before:
                kept.write(tuple(left))
        at, now = fired.micros / 1e6, self._clock() if self._clock is not None else 0.0
        if at <= now + _AHEAD_S:  # a job that is drained fires whatever is set, without end
            sweep.set(Timestamp(max(at, now) + _SWEEP_S))

    @on_timer(DUE)
    def drain(
        self,
        pending: Any = beam.DoFn.StateParam(PENDING),
        kept: Any = beam.DoFn.StateParam(BEFORE),
    ) -> Iterator[Any]:
        batches = list(pending.read())
        if not batches:
            return
        with count_time(self._busy_us):
            known = kept.read()
            before = self._without_erased(_restore(known)) if known else self._before(batches)
            decisions, reviews, after = self._decider.drain(batches, before)
        pending.clear()
        kept.write(tuple(after))
        self._rows_in.inc(decisions.num_rows)
        self._batches.inc()
        self._rows_out.inc(decisions.num_rows)
        yield decisions
        if reviews.num_rows:
            yield beam.pvalue.TaggedOutput(REVIEWS, reviews)

    def _without_erased(self, before: Before) -> Before:
        """Drop all that is known of people who were erased; the same object where nothing is."""
        named = {name: rows for name in _NAMING if (rows := getattr(before, name)).num_rows}
        if not named:
            return before
        erased, length = self._opt_ins().erased_subjects(), self._length_us + _UNDER_WAY_US
        left = {name: forget(rows, erased, length) for name, rows in named.items()}
        if all(left[name] is named[name] for name in named):
            return before
        after = before._replace(**left)
        alive = pc.is_in(after.runs["history_id"], after.history["history_id"])
        return after._replace(runs=after.runs.filter(alive))

    def _before(self, batches: list[pa.RecordBatch]) -> Before | None:
        """Return what follows from what landed before this job's first windows."""
        if self._landed is None:
            return None
        first = min(pc.min(batch["window_end"]).as_py() for batch in batches)
        known = self._landed(first).select(NEEDED)
        known = known.append_column("details", pa.nulls(len(known), pa.string()))
        return self._decider.drain(known.to_batches(), None)[2] if len(known) else None


def _by_shard(features: pa.RecordBatch) -> Keyed:
    return features["shard"][0].as_py(), features.select(_COLUMNS)


def _decider(
    policy: Path, rules: Decisions, baselines: Baselines, length_s: float, may_show: MayShow
) -> Decider:
    return Decider(read_scenarios(policy), rules, may_show, baselines, length_s)


class DecideExpressions(beam.PTransform):
    """Feature batches of on-time panes → decision batches, and reviews under REVIEWS.

    ``landed`` gives histories to a job that has none: a time → the landed feature rows that those
    which go on at that time follow from, of all shards. ``opt_ins`` is called once a worker, before
    the first avatar moves; without it none does. ``clock`` tells a job that runs on the event time
    by now, in seconds: what it knows of people who are erased goes although no window comes.
    ``length_s`` is that of a window.
    """

    def __init__(
        self,
        *,
        policy: Path,
        rules: Decisions,
        baselines: Baselines = _USUAL,
        landed: Landed | None = None,
        opt_ins: Callable[[], KnowsOptIns] = NoOptIns,
        clock: Callable[[], float] | None = None,
        length_s: float = _WINDOWS.length_s,
    ) -> None:
        super().__init__()
        make = functools.partial(_decider, policy, rules, baselines, length_s)
        self._decide = _Decide(make, landed, opt_ins, clock, length_s)

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        types = {REVIEWS: pa.RecordBatch}
        return (
            pcoll
            | "ByShard"
            >> beam.Map(_by_shard).with_output_types(Keyed)  # (shard, feature rows of one window)
            | "Global" >> beam.WindowInto(GlobalWindows())
            | "Decide"
            >> beam.ParDo(self._decide)
            .with_output_types(pa.RecordBatch, **types)
            .with_outputs(REVIEWS, main=MAIN)
        )
