"""What the consent ledger's rows say, by person: found again without going through all of them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.events import AHEAD_S, BEHIND_US
from transforms.gating.governance import ANY
from transforms.gating.rules import NEEDS

_AHEAD_US: Final = int(AHEAD_S * 1e6)
_BULK: Final = 5_000
"""Rows from which on they are sorted by person and stay in Arrow: 0.1 µs a row instead of 0.8, and
as much again for those who are asked for."""
_COLUMNS: Final = ("since", "granted", "recorded", "person_ref", "purpose", "modality", "meets",
            "suspends")  # fmt: skip


class Word(NamedTuple):
    """One ledger row; ``since`` and ``recorded`` are times in µs, ``meets`` are bits of NEEDS.

    ``suspends`` marks a prohibition that closes the gate, and that nobody need have signed.
    """

    since: int
    granted: bool
    recorded: int
    person: str
    purpose: str
    modality: str
    meets: int
    suspends: bool = False

    @property
    def names(self) -> tuple[str, str, str]:
        """Who and what it is about."""
        return self.person, self.purpose, self.modality


class Words:
    """Ledger rows by folded person. Many rows at once stay in Arrow until a person is asked for."""

    def __init__(self) -> None:
        self._taken: defaultdict[str | None, set[Word]] = defaultdict(set)
        self._bulks: list[_Bulk] = []

    def add(self, rows: pa.RecordBatch) -> Iterable[str | None]:
        """Take CONSENT_LEDGER rows; return the people whom they are about."""
        columns = _read(rows)
        if rows.num_rows >= _BULK:
            bulk = _Bulk(columns)
            self._bulks.append(bulk)
            return bulk.places.keys()
        for fold, word in _words(columns):
            self._taken[fold].add(word)
        return columns["person_fold"].unique().to_pylist()

    def take(self, people: Iterable[str | None]) -> None:
        """Make the words of these people ready for ``of``."""
        wanted = set(people)
        for bulk in self._bulks:
            for fold, word in bulk.pop(wanted):
                self._taken[fold].add(word)

    def of(self, person: str | None) -> Iterable[Word]:
        """Return the words of a person who was taken."""
        return self._taken.get(person, ())


class _Bulk:
    """Many rows, sorted by person."""

    def __init__(self, columns: pa.RecordBatch) -> None:
        coded = columns["person_fold"].dictionary_encode(null_encoding="encode")
        codes = coded.indices.to_numpy()
        self._order = np.argsort(codes, kind="stable")
        self._starts = np.r_[0, np.cumsum(np.bincount(codes, minlength=len(coded.dictionary)))]
        self._columns = columns
        self.places = {fold: code for code, fold in enumerate(coded.dictionary.to_pylist())}
        """Person who was not taken yet → number."""

    def pop(self, people: set[str | None]) -> Iterator[tuple[str | None, Word]]:
        """Yield the words of those of these people who are here, and forget the people."""
        codes = [self.places.pop(fold) for fold in people & self.places.keys()]
        if not codes:
            return
        spans = [self._order[self._starts[code] : self._starts[code + 1]] for code in codes]
        yield from _words(self._columns.take(pa.array(np.concatenate(spans))))


def _read(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return what counts of ledger rows, without what counts for nothing: a child's own grant.

    A grant that was recorded long after the time from which it says to hold holds from its record
    on: it does not open the past.
    """
    granted = pc.equal(rows["action"], "granted")
    guardian = pc.fill_null(pc.equal(rows["given_by"], "guardian"), False)
    since, recorded = (rows[name].cast(pa.int64()) for name in ("event_time", "recorded_at"))
    backdated = pc.and_(granted, pc.greater(pc.subtract(recorded, since), BEHIND_US))
    named = pc.and_(pc.not_equal(rows["purpose"], ANY), pc.not_equal(rows["modality"], ANY))
    noticed = pc.not_equal(pc.utf8_trim_whitespace(rows["notice_id"]), "")
    met = {"guardian": guardian, "release": pc.fill_null(noticed, False), "separate": named}
    meets = np.zeros(rows.num_rows, np.int8)
    for need, flags in met.items():
        meets += flags.to_numpy(zero_copy_only=False) * np.int8(NEEDS[need])
    columns = {
        "person_fold": rows["person_fold"],
        "since": pc.if_else(backdated, recorded, since),
        "granted": granted,
        "recorded": recorded,
        **{name: rows[name] for name in ("person_ref", "purpose", "modality")},
        "meets": pa.array(meets),
        "suspends": pc.equal(rows["action"], "suspended"),
    }
    childs_own = pc.and_(granted, are_a_childs_own(rows))
    return pa.record_batch(columns).filter(pc.invert(childs_own))


def are_a_childs_own(rows: pa.RecordBatch) -> pa.Array:
    """Return which consents come from a child itself: to give one is its guardian's."""
    guardian = pc.fill_null(pc.equal(rows["given_by"], "guardian"), False)
    child = pc.fill_null(pc.equal(rows["age_band"], "child"), False)
    return pc.and_(child, pc.invert(guardian))


def without_repeats(words: Sequence[Word]) -> list[Word]:
    """Return words without the suspensions by signed prohibitions that were sent again.

    A signed prohibition suspends, too, from its signed time on or from its record on where that is
    up to 60 s earlier. Of several such suspensions the first that was recorded counts: to send the
    record again does not close the gate to a grant that came between.
    """
    signed = {(word.names, word.since) for word in words if not (word.granted or word.suspends)}
    suspending: defaultdict[tuple[str, str, str], list[Word]] = defaultdict(list)
    for word in words:
        if word.suspends:
            suspending[word.names].append(word)
    repeated: set[Word] = set()
    for names, since in signed:
        beside = [word for word in suspending[names] if since - _AHEAD_US <= word.since <= since]
        repeated.update(sorted(beside, key=lambda word: word.recorded)[1:])
    return [word for word in words if word not in repeated]


def _words(columns: pa.RecordBatch) -> Iterator[tuple[str | None, Word]]:
    folds = columns["person_fold"].to_pylist()
    return zip(folds, map(Word, *(columns[name].to_pylist() for name in _COLUMNS)), strict=True)
