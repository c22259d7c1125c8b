"""LimitEvents: so many events of one subject in a window go on, and the others are dead letters.

A client that makes up a session for each event would be a row of each window and a history for
each: 200,000 of one subject within 5 s took 3.2 GB. After the gate, so that refusals stay refusals,
and before the recognisers, so that nothing is inferred for nothing.
"""

import functools
from collections.abc import Callable
from typing import Final

import apache_beam as beam
import numpy as np
import pyarrow as pa

from schemas.arrow import number_distinct, take_rows
from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode
from schemas.settings import Windows
from schemas.stages import DEAD, MAIN, Stage, Tagged
from transforms.gating.limits import Limits
from transforms.stage import Outputs, run_stage

MOST_COUNTED: Final = 200_000
"""Subjects and windows that a worker counts, about 25 MB; after that many it goes on with those
that are near their limit."""


class EventLimit:
    """Counts the events of each subject and window over all batches of a worker, as they come.

    An event that comes again counts again. Of several workers each counts its own: a subject's
    events of one topic are in one partition, and so with one worker.
    """

    def __init__(self, most: int, length_us: int) -> None:
        self._most, self._length_us = most, length_us
        self._counts: dict[int, int] = {}

    def batch(self, events: pa.RecordBatch) -> Tagged:
        """Split a pseudonymous batch into what goes on, and dead letters of what is too many."""
        micros = events["event_time"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        window = micros // self._length_us
        number, first = number_distinct(events["subject_ref"], pa.array(window))
        subjects = events["subject_ref"].take(pa.array(first)).to_pylist()
        keys = list(map(hash, zip(subjects, window[first].tolist(), strict=True)))
        before = np.array([self._counts.get(key, 0) for key in keys], np.int64)
        sizes = np.bincount(number)
        self._counts.update(zip(keys, (before + sizes).tolist(), strict=True))
        self._forget()
        if (before + sizes <= self._most).all():
            return [(MAIN, events)]
        surplus = before[number] + _places(number, sizes) >= self._most
        letters = dead_letters(
            take_rows(events, surplus),
            stage=Stage.LIMIT,
            code=DeadLetterCode.TOO_MANY_EVENTS,
            detail=f"more than {self._most:,} events of one subject in a window",
        )
        return [(MAIN, take_rows(events, ~surplus)), (DEAD, letters)]

    def _forget(self) -> None:
        if len(self._counts) > MOST_COUNTED:
            near = {key: count for key, count in self._counts.items() if 2 * count > self._most}
            self._counts = near if 2 * len(near) < MOST_COUNTED else {}


def _places(number: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return how many rows with its number stand before each row."""
    order = np.argsort(number, kind="stable")
    places = np.empty(len(number), np.int64)
    places[order] = np.arange(len(number)) - (np.cumsum(sizes) - sizes)[number[order]]
    return places


class LimitEvents(beam.PTransform):
    """Pseudonymous EVENT batches → the same up to the limit of each subject, and dead letters."""

    def __init__(self, *, limits: Limits, windows: Windows) -> None:
        super().__init__()
        self._make = functools.partial(_make, limits.events(windows), windows.length_s)

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        return run_stage(pcoll, Stage.LIMIT, self._make)


def _make(most: int, length_s: float) -> Callable[[pa.RecordBatch], Tagged]:
    return EventLimit(most, int(length_s * 1_000_000)).batch
