"""DecideExpressions: features, history and scenario policy → what happens next."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
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

from schemas.arkit import EXPRESSION_WEIGHTS
from schemas.arrow import equal_runs, fill_schema, vector_column
from schemas.events import CONTEXT_FIELDS, TIME, WINDOW_KEY
from schemas.ids import stable_ids
from schemas.settings import Decisions
from schemas.stages import MAIN, REVIEWS, Stage
from schemas.tables import EXPRESSION_DECISIONS
from schemas.vocabularies import EXPRESSIONS
from transforms.arrow_coder import ArrowBatchCoder
from transforms.deciding.history import (
    HISTORY,
    NOTHING,
    History,
    Step,
    history_ids,
    prior_history_ids,
)
from transforms.deciding.reminders import USE, find_due
from transforms.deciding.reviews import find_reviews
from transforms.deciding.scenarios import ScenarioPolicy, read_scenarios
from transforms.gating.opt_ins import MIRRORING, KnowsOptIns, nobody_opted_in
from transforms.stage import Outputs, count_time, stage_counters
from transforms.window import Keyed

Landed = Callable[[datetime], pa.Table]
MayShow = Callable[[pa.Array, pa.Array, pa.Array], np.ndarray]
"""Subjects, times and prior references → a mask of those who may be shown to others."""


class Before(NamedTuple):
    """What a shard knows of the windows before: HISTORY rows and USE rows."""

    history: pa.RecordBatch
    use: pa.RecordBatch


_NOTHING_BEFORE = Before(*(pa.RecordBatch.from_pylist([], schema) for schema in (HISTORY, USE)))


@dataclass(frozen=True, slots=True)
class Decider:
    """Turns the drained windows of one shard into decisions and reviews.

    An avatar moves only where its person may be shown to others, and nobody's does where
    ``rules.avatar`` is off: such a decision has no weights, and its action is not to mirror.
    """

    policy: ScenarioPolicy
    rules: Decisions
    may_show: MayShow = nobody_opted_in

    def drain(
        self, pending: list[pa.RecordBatch], before: Before | None
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, Before]:
        """Decide on these feature rows in the order of event time, and within it of WINDOW_KEY.

        Returns EXPRESSION_DECISIONS rows, REVIEW_QUEUE rows and what the next windows go on from.
        """
        order = ("window_end", *WINDOW_KEY, "window_id")
        table = pa.Table.from_batches(pending).sort_by([(name, "ascending") for name in order])
        rows = table.combine_chunks().to_batches()[0]
        ends = rows["window_end"].cast(pa.int64()).to_numpy()
        kept, use = before or _NOTHING_BEFORE
        history, ids, prior = History(self.rules, kept), history_ids(rows), prior_history_ids(rows)
        own = _text(rows["purpose"]) == MIRRORING
        shown = self._shown(rows, own)
        hidden = own & ~shown
        steps = [
            history.advance(
                rows.slice(start, stop - start),
                ids.slice(start, stop - start),
                prior.slice(start, stop - start),
                hidden[start:stop],
            )
            for start, stop in equal_runs(ends)
        ]
        step = Step(*(np.concatenate([getattr(s, n) for s in steps]) for n in Step.__slots__))
        due, use = find_due(self.policy.reminders, rows, use)
        decisions = self._decisions(rows, step, shown, hidden, due)
        after = Before(history.snapshot(), use)
        stakes, most = self.policy.high_stakes, self.rules.most_disagreement
        return decisions, find_reviews(rows, decisions, stakes, most), after

    def _shown(self, rows: pa.RecordBatch, own: np.ndarray) -> np.ndarray:
        """Return a mask of the rows by which the person's own avatar may move."""
        shown = np.zeros(rows.num_rows, bool)
        if self.rules.avatar and own.any():
            at = pa.array(np.flatnonzero(own))
            names = ("subject_ref", "window_end", "prior_subject_ref")
            shown[own] = self.may_show(*(rows[name].take(at) for name in names))
        return shown

    def _decisions(
        self,
        rows: pa.RecordBatch,
        step: Step,
        shown: np.ndarray,
        hidden: np.ndarray,
        due: np.ndarray,
    ) -> pa.RecordBatch:
        count = rows.num_rows
        action, reason, reply = self._apply(rows, step, shown, hidden)
        mirrored = (action != "hold") & shown
        for number, reminder in enumerate(self.policy.reminders):  # before all else: a law asks
            now = due == number
            action[now], reason[now], reply[now] = reminder.action, "usage_reminder", reminder.reply
        version = pa.repeat(self.policy.version, count)
        weights = EXPRESSION_WEIGHTS[np.maximum(step.held, 0)] * step.intensity[:, None]
        expires = rows["window_end"].cast(pa.int64()).to_numpy() + int(self.rules.valid_s * 1e6)
        columns = {
            "decision_id": stable_ids(rows["window_id"], self.policy.version),
            "expression": pa.array(EXPRESSIONS).take(
                pa.array(step.held, pa.int64(), mask=step.held == NOTHING)
            ),
            "confidence": pa.array(step.confidence.astype(np.float32)),
            "valence_shift": pa.array(step.shift[:, 0].astype(np.float32)),
            "arousal_shift": pa.array(step.shift[:, 1].astype(np.float32)),
            "action": pa.array(action, pa.string()),
            "reason": pa.array(reason, pa.string()),
            "reply_id": pa.array(reply, pa.string()),
            "intensity": pa.array(step.intensity.astype(np.float32)),
            "avatar_weights": vector_column(np.where(mirrored[:, None], weights, 0.0)),
            "policy_version": version,
            "expires_at": pa.array(expires).cast(TIME),
            "event_date": rows["window_end"].cast(pa.date32()),
        }
        return fill_schema(EXPRESSION_DECISIONS, columns, rows)

    def _apply(
        self, rows: pa.RecordBatch, step: Step, shown: np.ndarray, hidden: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return action, reason code and reply id a row."""
        action = np.where(shown, "mirror", "observe").astype(object)
        unseen = "not_opted_in" if self.rules.avatar else "avatar_off"
        reason = np.where(hidden, unseen, "default").astype(object)
        reply = np.full(rows.num_rows, None, object)
        scenario = _text(rows["scenario"])
        for name, rules in self.policy.scenarios.items():
            for expression, rule in rules.items():
                held = (scenario == name) & (step.held == EXPRESSIONS.index(expression))
                ripe = held & ((step.held_for >= rule.after) | _meets_context(rows, rule.at_once))
                reason[held & ~ripe] = "settling"
                action[ripe], reason[ripe], reply[ripe] = rule.action, "scenario_rule", rule.reply
        weak = rows["abstained"].to_numpy(zero_copy_only=False) | (step.held == NOTHING)
        action[hidden & (action == "mirror")] = "observe"  # a rule may say so too
        action[weak], reason[weak], reply[weak] = "hold", "abstained", None
        return action, reason, reply


def _meets_context(rows: pa.RecordBatch, wanted: Mapping[str, str]) -> np.ndarray:
    """Return the rows whose context has all of these values, none where nothing is wanted."""
    met = np.full(rows.num_rows, bool(wanted))
    for field, value in wanted.items():
        met &= _context(rows, field) == value
    return met


def _context(rows: pa.RecordBatch, field: str) -> np.ndarray:
    """Return what the context told last of a field, None where nothing."""
    if field in CONTEXT_FIELDS:
        return _text(rows[field])
    coded = rows["details"].dictionary_encode()
    known = [json.loads(details).get(field) for details in coded.dictionary.to_pylist()]
    return _text(pa.array(known, pa.string()).take(coded.indices))


def _text(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)


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
    BEFORE = ReadModifyWriteStateSpec("before", TupleCoder((ArrowBatchCoder(), ArrowBatchCoder())))
    LATEST = ReadModifyWriteStateSpec("latest", VarIntCoder())
    DUE = TimerSpec("due", TimeDomain.WATERMARK)

    def __init__(
        self,
        policy: Path,
        rules: Decisions,
        landed: Landed | None,
        opt_ins: Callable[[], KnowsOptIns] | None,
    ) -> None:
        self._make = functools.partial(_decider, policy, rules, opt_ins)
        self._landed = landed

    def setup(self) -> None:
        self._decider = self._make()
        counters = stage_counters(Stage.DECIDE)
        self._rows_in, self._rows_out, self._busy_us, self._batches = counters

    def process(
        self,
        element: Keyed,
        pending: Any = beam.DoFn.StateParam(PENDING),
        latest: Any = beam.DoFn.StateParam(LATEST),
        due: Any = beam.DoFn.TimerParam(DUE),
    ) -> None:
        batch = element[1]
        pending.add(batch)
        end = max(pc.max(batch["window_end"]).value, latest.read() or 0)
        latest.write(end)
        due.set(Timestamp(micros=end))

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
            before = Before(*known) if known else self._before(batches)
            decisions, reviews, after = self._decider.drain(batches, before)
        pending.clear()
        kept.write(tuple(after))
        self._rows_in.inc(decisions.num_rows)
        self._batches.inc()
        self._rows_out.inc(decisions.num_rows)
        yield decisions
        if reviews.num_rows:
            yield beam.pvalue.TaggedOutput(REVIEWS, reviews)

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
    policy: Path, rules: Decisions, opt_ins: Callable[[], KnowsOptIns] | None = None
) -> Decider:
    """Make what decides; the opt-ins are read once somebody's own avatar may move."""
    if opt_ins is None:
        return Decider(read_scenarios(policy), rules)
    read = functools.cache(opt_ins)

    def may_show(subjects: pa.Array, times: pa.Array, prior: pa.Array) -> np.ndarray:
        return read().may_show(subjects, times, prior)

    return Decider(read_scenarios(policy), rules, may_show)


class DecideExpressions(beam.PTransform):
    """Feature batches of on-time panes → decision batches, and reviews under REVIEWS.

    ``landed`` gives histories to a job that has none: a time → the landed feature rows that those
    which go on at that time follow from, of all shards. ``opt_ins`` is called once a worker, before
    the first avatar moves; without it none does.
    """

    def __init__(
        self,
        *,
        policy: Path,
        rules: Decisions,
        landed: Landed | None = None,
        opt_ins: Callable[[], KnowsOptIns] | None = None,
    ) -> None:
        super().__init__()
        self._policy, self._rules = policy, rules
        self._landed, self._opt_ins = landed, opt_ins

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        decide = _Decide(self._policy, self._rules, self._landed, self._opt_ins)
        types = {REVIEWS: pa.RecordBatch}
        return (
            pcoll
            | "ByShard"
            >> beam.Map(_by_shard).with_output_types(Keyed)  # (shard, feature rows of one window)
            | "Global" >> beam.WindowInto(GlobalWindows())
            | "Decide"
            >> beam.ParDo(decide)
            .with_output_types(pa.RecordBatch, **types)
            .with_outputs(REVIEWS, main=MAIN)
        )
