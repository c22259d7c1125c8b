"""For how many windows in a row each state was shown: windows in which something was seen."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.deciding.history import Step

RUNS = pa.schema([("history_id", pa.string()), ("state", pa.string()), ("windows", pa.int64())])
"""One row for each history and state that its last window met: for so many windows in a row.

By name, so that a policy that changes some states goes on with the others.
"""

_ABSENT = -1


class Runs:
    """Counts windows in a row along histories that go on.

    ``step`` is what ``History.advance`` returns of rows by time, ``abstained`` (n,) says which of
    them count not, and ``known`` are the ids of the history's state, by which chains of lower
    numbers than it has rows go on; ``before`` are RUNS rows.
    """

    def __init__(
        self, step: Step, abstained: np.ndarray, before: pa.RecordBatch, known: pa.Array
    ) -> None:
        self._order = np.argsort(step.chain, kind="stable")
        chains = step.chain[self._order]
        self._sure, self._after_gap = ~abstained[self._order], step.after_gap[self._order]
        place = np.arange(len(chains))
        begins = np.r_[True, chains[1:] != chains[:-1]][: len(chains)]
        self._before_chain = np.maximum.accumulate(np.where(begins, place, 0)) - 1
        self._place, self._chains = place, chains
        self._states = before["state"].to_numpy(zero_copy_only=False)
        self._windows = before["windows"].to_numpy()
        self._histories, self._known = before["history_id"], len(known)
        self._placed = _place(self._histories, known)
        self._counted: dict[str, np.ndarray] = {}

    def count(self, state: str, met: np.ndarray) -> np.ndarray:
        """Return for how many windows in a row, up to each row, the conditions were met (n,).

        A window that abstained counts not, and leaves the run as it is. After a gap a run begins
        anew.
        """
        met = met[self._order] & self._sure
        counted = np.cumsum(met)
        breaks = self._after_gap | (self._sure & ~met)
        last_break = np.maximum.accumulate(np.where(breaks, self._place, _ABSENT))
        unbroken = last_break <= self._before_chain
        begin = np.where(unbroken, self._before_chain + 1, last_break)
        run = counted - (counted - met)[begin] if len(met) else counted
        run += np.where(unbroken, self._carried(state), 0)
        found = np.empty(len(run), np.int64)
        found[self._order] = run
        self._counted[state] = found
        return found

    def _carried(self, state: str) -> np.ndarray:
        """Return the run with which each row's chain began."""
        carried = self._runs_of(state, self._placed, self._known + 1)
        return carried[np.minimum(self._chains, self._known)]

    def _runs_of(self, state: str, placed: np.ndarray, count: int) -> np.ndarray:
        """Return the run of a state before, by the place of its history; 0 where there is none."""
        found = np.zeros(count, np.int64)
        own = (self._states == state) & (placed != _ABSENT)
        found[placed[own]] = self._windows[own]
        return found

    def snapshot(self, ids: pa.Array, states: Sequence[str], alive: pa.Array) -> pa.RecordBatch:
        """Return RUNS rows for these states of the histories that are ``alive``.

        ``ids`` (n,) are the histories of the rows; those without a row keep their runs. A state
        that was not counted, since no rule of these rows asks for it, is not shown in them.
        """
        place = _place(ids, alive)
        last = np.full(len(alive), _ABSENT)
        rows = np.flatnonzero(place != _ABSENT)
        last[place[rows]] = rows  # in order of time: the last assignment stays
        placed, standing = _place(self._histories, alive), set(self._states)
        parts = [pa.RecordBatch.from_pylist([], RUNS)]
        for state in (name for name in states if name in self._counted or name in standing):
            run = self._runs_of(state, placed, len(alive))
            counted = self._counted.get(state, np.zeros(len(ids), np.int64))
            run = np.where(last == _ABSENT, run, counted[last])
            some = pa.array(np.flatnonzero(run))
            columns = [alive.take(some), pa.repeat(state, len(some)), pa.array(run).take(some)]
            parts.append(pa.record_batch(columns, schema=RUNS))
        return pa.concat_batches(parts)


def _place(ids: pa.Array, among: pa.Array) -> np.ndarray:
    """Return where each id stands among others, _ABSENT where it does not."""
    return pc.fill_null(pc.index_in(ids, among), _ABSENT).to_numpy()
