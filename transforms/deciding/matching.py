"""Which rule of a scenario policy follows in each window, and why."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from schemas.arrow import number_distinct
from schemas.events import CONTEXT_FIELDS, DAY_US
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.baseline import Usual
from transforms.deciding.envelopes import ROUNDING
from transforms.deciding.history import NOTHING, Step
from transforms.deciding.rules import Rule
from transforms.deciding.runs import Runs
from transforms.deciding.scenarios import ScenarioPolicy
from transforms.deciding.states import State, fields_of_state

NO_RULE: Final = -1
_BITS: Final = 62  # codes that one whole number holds


@dataclass(frozen=True, slots=True)
class Matched:
    """What the rules say of each row.

    ``rule`` (n,) are indices into the policy's ``all_rules``, or NO_RULE; ``settling`` says that a
    rule's state is shown and was not for long enough; ``marks`` (n, len(codes)) why.
    """

    rule: np.ndarray
    settling: np.ndarray
    codes: tuple[str, ...]
    marks: np.ndarray


@dataclass(frozen=True, slots=True)
class Shown:
    """What rules look at: feature rows by time, what they did to histories, what is usual."""

    rows: pa.RecordBatch
    step: Step
    usual: Usual
    _coded: dict[str, tuple[np.ndarray, list[str | None]]] = field(default_factory=dict)

    def quantity(self, name: str) -> np.ndarray:
        """Return one of QUANTITIES (n,), NaN where it is not known."""
        if name in self.usual.values:
            return self.usual.values[name]
        if name == "confidence":
            return self.step.confidence
        side = 0 if name.startswith("valence") else 1
        return (self.step.shift if name.endswith("_shift") else self.step.affect)[:, side]

    def context(self, wanted: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
        """Return where the context has all of these values, and where it only lacks some.

        Where a field has another value it lacks nothing: it was told.
        """
        met = np.ones(self.rows.num_rows, bool)
        possible = met.copy()
        for name, value in wanted.items():
            number, values = self._field(name)
            same = _look_up([each == value for each in values], number)
            met &= same
            possible &= same | self.lacks(name)
        return met, possible & ~met

    @property
    def weak(self) -> np.ndarray:
        """Where too little was shown to say anything (n,)."""
        abstained = self.rows["abstained"].to_numpy(zero_copy_only=False)
        return np.asarray(abstained | (self.step.held == NOTHING))

    def lacks(self, name: str) -> np.ndarray:
        """Return where the context told nothing of a field."""
        number, values = self._field(name)
        return _look_up([value is None for value in values], number)

    def is_one_of(self, column: str, wanted: Collection[str]) -> np.ndarray:
        """Return where a column has one of these values."""
        number, values = self._codes(column)
        return _look_up([value in wanted for value in values], number)

    def _field(self, name: str) -> tuple[np.ndarray, list[str | None]]:
        if name in CONTEXT_FIELDS:
            return self._codes(name)
        number, details = self._codes("details")
        return number, [None if each is None else json.loads(each).get(name) for each in details]

    def _codes(self, column: str) -> tuple[np.ndarray, list[str | None]]:
        """Return each row's value as its place among the distinct ones, and these."""
        if column not in self._coded:
            coded = self.rows[column].dictionary_encode("encode")
            self._coded[column] = coded.indices.to_numpy(), coded.dictionary.to_pylist()
        return self._coded[column]


def _look_up(answers: list[bool], number: np.ndarray) -> np.ndarray:
    if not any(answers):
        return np.zeros(len(number), bool)
    return np.array(answers)[number]


def text(column: pa.Array) -> np.ndarray:
    """Return a column of strings as an array of objects, None for a null."""
    return column.to_numpy(zero_copy_only=False)


class Matching:
    """Matches the rules of a policy with the windows of a drain; ``runs`` takes what it counts."""

    def __init__(self, policy: ScenarioPolicy, shown: Shown, runs: Runs) -> None:
        self._policy, self._shown, self._runs = policy, shown, runs
        self._size = shown.rows.num_rows
        self._days = shown.rows["window_end"].cast(pa.int64()).to_numpy() // DAY_US
        self._states: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._marks: dict[str, np.ndarray] = {}

    def match(self) -> Matched:
        """Return what the rules say; of several that may follow, the first in their order does."""
        chosen = np.full(self._size, NO_RULE)
        unripe: list[tuple[str, np.ndarray]] = []
        for number, rule in enumerate(self._policy.all_rules):
            if not self._shown.is_one_of("scenario", rule.scenarios).any():
                continue
            follows, waits = self._consider(rule)
            first = follows & (chosen == NO_RULE)
            self._mark(f"state.{rule.state}", first)
            self._mark(f"also.{rule.id}", follows & ~first)
            chosen[first] = number
            unripe.append((f"settling.{rule.id}", waits))
        settling = np.zeros(self._size, bool)
        for code, waits in unripe:
            settling |= waits & (chosen == NO_RULE)
            self._mark(code, waits & (chosen == NO_RULE))
        codes = tuple(self._marks)
        marks = (
            np.stack([*self._marks.values()], axis=1) if codes else np.zeros((self._size, 0), bool)
        )
        return Matched(chosen, settling, codes, marks)

    def _consider(self, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
        """Return where a rule may follow, and where its state was not shown for long enough."""
        run, lacking = self._shown_for(rule.state)  # also on other days: a run begins before
        mine = self._in_scope(rule)
        is_shown = mine & (run > 0)
        ripe = is_shown & (run >= rule.after)
        if rule.at_once:
            early = is_shown & ~ripe & self._shown.context(rule.at_once)[0]
            self._mark("at_once", early)
            ripe |= early
        met, lacks = self._shown.context(rule.context)
        lacks = ripe & lacks | mine & lacking
        if lacks.any():
            for name in sorted(fields_of_state(self._policy.states, rule.state) | {*rule.context}):
                self._mark(f"missing.{name}", lacks & self._shown.lacks(name))
        return ripe & met, is_shown & ~ripe

    def _in_scope(self, rule: Rule) -> np.ndarray:
        mine = self._shown.is_one_of("scenario", rule.scenarios)
        for name, wanted in (("purpose", rule.purposes), ("age_band", rule.age_bands)):
            if wanted is not None:
                mine &= self._shown.is_one_of(name, wanted)
        first, last = rule.days
        return mine & (self._days >= first) & (self._days <= last)

    def _shown_for(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return for how many windows in a row a state is shown, and where it lacks context."""
        if name not in self._states:
            if name in EXPRESSIONS:
                held = self._shown.step.held == EXPRESSIONS.index(name)
                run = np.where(held, self._shown.step.held_for, 0)
                self._states[name] = run, np.zeros(self._size, bool)
            else:
                self._states[name] = self._evaluate(name, self._policy.states[name])
        return self._states[name]

    def _evaluate(self, name: str, state: State) -> tuple[np.ndarray, np.ndarray]:
        estimated = self._shown.is_one_of("scenario", self._policy.scenarios_of[name])
        if state.expressions:
            wanted = [name in state.expressions for name in EXPRESSIONS]
            estimated &= np.array([*wanted, False])[self._shown.step.held]  # -1 is none of them
        for quantity, bounds in state.where.items():
            value = self._shown.quantity(quantity)
            estimated &= (value >= bounds.low - ROUNDING) & (value <= bounds.high + ROUNDING)
        met, lacking = self._shown.context(state.context)
        for part in state.all_of:
            is_shown, lacks = self._part(part)
            met, lacking = met & is_shown, (met | lacking) & (is_shown | lacks)
        if state.any_of:
            parts = [self._part(part) for part in state.any_of]
            some = np.any([is_shown for is_shown, _ in parts], axis=0)
            perhaps = np.any([lacks for _, lacks in parts], axis=0)
            met, lacking = met & some, (met | lacking) & (some | perhaps)
        run = self._runs.count(name, estimated & met)
        return np.maximum(run - state.windows + 1, 0), estimated & lacking & ~met

    def _part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        run, lacking = self._shown_for(name)
        return run > 0, lacking

    def _mark(self, code: str, where: np.ndarray) -> None:
        if where.any():
            self._marks[code] = self._marks.get(code, np.zeros(self._size, bool)) | where


def join_codes(first: np.ndarray, codes: tuple[str, ...], marks: np.ndarray) -> pa.Array:
    """Return the text of each row's codes, ``first`` (n,) before those that are marked.

    Each distinct combination is written once: there are few.
    """
    columns = [pa.array(first, pa.string())]
    for start in range(0, len(codes), _BITS):
        some = marks[:, start : start + _BITS]
        columns.append(pa.array(some @ (1 << np.arange(some.shape[1]))))
    number, rows = number_distinct(*columns)
    names, heads = np.array(codes, object), first[rows]
    written = [
        " ".join([head, *names[marks[row]]]) for head, row in zip(heads, rows.tolist(), strict=True)
    ]
    return pa.array(written, pa.string()).take(pa.array(number))
