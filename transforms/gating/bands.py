"""The age bands that governance records tell of people: who was told to be a minor stays one."""

from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import as_of
from schemas.events import BEHIND_US

_BY_PROTECTION: Final = ("adult", "unknown", "teen", "child")
"""From the band that is protected least to the one that is protected most."""
MINORS: Final = pa.array(["teen", "child"])


class _Said(NamedTuple):
    """That a person is of a band from a time in µs on; a guardian's word may correct another's."""

    since: int
    corrects: bool
    band: int


class Bands:
    """The strictest age band ever told of each person, as of event time.

    Every process has the same, since all read the same ledger and topics to their end. A word of a
    guardian counts unless the age is unknown; any other only where it says that the person is a
    minor. What only suspends tells of no age: nobody has signed it, and a minor's band ends by a
    guardian alone.
    """

    def __init__(self) -> None:
        self._said: defaultdict[str | None, set[_Said]] = defaultdict(set)

    def add(self, rows: pa.RecordBatch) -> None:
        """Take what CONSENT_LEDGER rows tell of age."""
        guardian = pc.fill_null(pc.equal(rows["given_by"], "guardian"), False)
        band = pc.index_in(rows["age_band"], pa.array(_BY_PROTECTION))
        minor = pc.is_in(rows["age_band"], MINORS)
        sure = pc.and_(band.is_valid(), pc.not_equal(rows["age_band"], "unknown"))
        sure = pc.and_(sure, pc.not_equal(rows["action"], "suspended"))
        told = pc.fill_null(pc.and_(sure, pc.or_(guardian, minor)), False)
        if not pc.any(told).as_py():
            return
        micros = (rows[name].cast(pa.int64()) for name in ("event_time", "recorded_at"))
        columns = [rows["person_fold"], *micros, guardian, band]
        kept = [column.filter(told).to_pylist() for column in columns]
        for fold, since, recorded, corrects, number in zip(*kept, strict=True):
            late = corrects and recorded - since > BEHIND_US
            first = recorded if late else since if corrects else min(since, recorded)
            self._said[fold].add(_Said(first, corrects, number))

    def of(self, events: pa.RecordBatch) -> pa.Array:
        """Return the age band as which each event is judged: its own, or a stricter one told."""
        own = events["age_band"]
        if not self._said:
            return own
        people = events["person_fold"]
        names = people.dictionary.to_pylist()
        told = np.array([name in self._said for name in names], bool)
        rows = np.flatnonzero(told[people.indices.to_numpy()])
        if not len(rows):
            return own
        code, who = np.unique(people.indices.to_numpy()[rows], return_inverse=True)
        lines = [_strictest(self._said[names[number]]) for number in code.tolist()]
        micros = events["event_time"].cast(pa.int64()).to_numpy(zero_copy_only=False)[rows]
        known = pc.fill_null(own.take(pa.array(rows)), "unknown")
        strict = np.maximum(as_of(who, lines, micros, -1), _rank(known).to_numpy())
        judged = pa.array([*_BY_PROTECTION, None]).take(pa.array(strict))
        mask = np.zeros(len(own), bool)
        mask[rows] = True
        return pc.replace_with_mask(own, pa.array(mask), pc.coalesce(judged, known))


def stricter(one: pa.Array, other: pa.Array) -> pa.Array:
    """Return of each two bands the one that is protected more; what is no band stays."""
    strict = pc.greater(_rank(other), _rank(one))
    return pc.if_else(strict, other, one)


def _rank(bands: pa.Array) -> pa.Array:
    """Return places in _BY_PROTECTION: a null is unknown, and what is no band comes last."""
    known = pc.index_in(pc.fill_null(bands, "unknown"), pa.array(_BY_PROTECTION))
    return pc.fill_null(known, len(_BY_PROTECTION))


def _strictest(said: set[_Said]) -> tuple[list[int], list[int]]:
    """Return times in µs, ascending, and the band from each on."""
    times, bands, band = [], [], -1
    for word in sorted(said, key=lambda word: (word.since, not word.corrects)):
        band = word.band if word.corrects else max(band, word.band)
        times.append(word.since)
        bands.append(band)
    return times, bands
