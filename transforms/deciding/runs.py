"""For how many windows in a row each state was shown."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RUNS = pa.schema([("history_id", pa.string()), ("state", pa.string()), ("windows", pa.int64())])
"""One row for each history and state that its last window met: for so many windows in a row.

By name, so that a policy that changes some states goes on with the others.
"""

_ABSENT = -1


class Runs:
    """Counts windows in a row along histories that go on.

    ``chain`` (n,) numbers the history of each row, as ``History.advance`` does, rows by time;
    ``before`` are RUNS rows, and ``known`` the ids of the history's state, by which chains of lower
    numbers than it has rows go on.
    """

    def __init__(self, chain: np.ndarray, before: pa.RecordBatch, known: pa.Array) -> None:
        self._order = np.argsort(chain, kind="stable")
        chains = chain[self._order]
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
        """Return for how many windows in a row, up to each row, the conditions were met (n,)."""
        met = met[self._order]
        last_unmet = np.maximum.accumulate(np.where(met, _ABSENT, self._place))
        unbroken = last_unmet <= self._before_chain
        run = self._place - np.maximum(last_unmet, self._before_chain)
        run += np.where(unbroken, self._carried(state), 0)
        found = np.empty(len(run), np.int64)
        found[self._order] = np.where(met, run, 0)
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
