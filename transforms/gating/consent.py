"""Consent as of event time: the ledger's rows, and the vectorised question to them."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import fill_schema, number_distinct
from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode
from schemas.events import PERSON_COLUMNS
from schemas.ids import stable_ids
from schemas.modalities import MODALITIES
from schemas.stages import Stage, kind_of
from schemas.tables import CONSENT_LEDGER
from transforms.decoding.aliases import aliases, fold_spelling
from transforms.gating.governance import ANY, END, FIRST, LISTS
from transforms.gating.tombstones import Tombstones

UNKNOWN, WITHDRAWN, GRANTED = 0, 1, 2
_BEFORE_ALL = -1
_KEPT = 500_000
"""Answers that a process holds: about 250 MB."""
_IGNORED = "a grant names a purpose or a modality that nobody knows: it holds for the others alone"


def ledger_rows(
    events: pa.RecordBatch, purposes: frozenset[str]
) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
    """Return CONSENT_LEDGER rows of a governance batch, and dead letters of what was left out.

    ``events`` is a pseudonymous batch of kind consent or erasure, ``purposes`` are those that the
    policy knows. A consent is a row for each purpose and modality, at most 6 times 5: a grant
    counts only for names that are known, exactly as they are written, and a name that nobody knows
    makes a withdrawal one of all. An erasure request is one row for every purpose and modality.
    """
    kind = kind_of(events)
    rows, named, modalities, ignored = _expand(events, kind, purposes)
    at = events.select([name for name in events.schema.names if name not in LISTS]).take(rows)
    if kind == "erasure":
        actions = pa.repeat("erasure_requested", at.num_rows)
    else:
        actions = pc.if_else(at["granted"], "granted", "withdrawn")
    recorded = _recorded_times(at["recorded_at"], at["event_time"])
    times = [_micros(at["event_time"]), _micros(recorded)]
    people = {name: at[name].dictionary_decode() for name, _ in PERSON_COLUMNS}
    columns = people | {
        # Without the event's own id: of two records with one id the second may be the withdrawal.
        "ledger_id": stable_ids(people["person_ref"], *times, named, modalities, actions),
        "purpose": named,
        "modality": modalities,
        "action": actions,
        "recorded_at": recorded,
        "event_date": at["event_time"].cast(pa.date32()),
    }
    left_out = None
    if ignored:
        left_out = dead_letters(
            events.take(pa.array(ignored)),
            stage=Stage.GATE,
            code=DeadLetterCode.GRANT_UNKNOWN_NAME,
            detail=_IGNORED,
        )
    return fill_schema(CONSENT_LEDGER, columns, at), left_out


def _expand(
    events: pa.RecordBatch, kind: str, known: frozenset[str]
) -> tuple[pa.Array, pa.Array, pa.Array, list[int]]:
    """Return row, purpose and modality of each ledger row, and the grants with unknown names."""
    if kind == "erasure":
        every = pa.repeat(ANY, events.num_rows)
        return pa.array(np.arange(events.num_rows)), every, every, []
    ways = frozenset(MODALITIES)
    purpose_of = {fold_spelling(name): name for name in known} | {**aliases("purpose")}
    way_of = {fold_spelling(name): name for name in ways}
    pairs: list[tuple[int, str, str]] = []
    ignored = []
    lists = (events[name].to_pylist() for name in ("granted", *LISTS))
    for row, (granted, purposes, modalities) in enumerate(zip(*lists, strict=True)):
        if granted:
            found = _granted_names(purposes, known), _granted_names(modalities, ways)
            if not {*purposes, *modalities} <= {*found[0], *found[1]}:
                ignored.append(row)
        else:
            found = (
                _withdrawn_names(purposes, known, purpose_of),
                _withdrawn_names(modalities, ways, way_of),
            )
        pairs += [(row, purpose, modality) for purpose in found[0] for modality in found[1]]
    columns = zip(*pairs, strict=True) if pairs else ((), (), ())
    types = (pa.int64(), pa.string(), pa.string())
    rows, named, modes = (pa.array(c, t) for c, t in zip(columns, types, strict=True))
    return rows, named, modes, ignored


def _granted_names(names: Iterable[str | None], known: frozenset[str]) -> list[str]:
    return sorted({name for name in names if name is not None and name in {ANY, *known}})


def _withdrawn_names(
    names: Iterable[str], known: frozenset[str], spelt: Mapping[str, str]
) -> list[str]:
    meant = {spelt.get(fold_spelling(name), ANY) for name in names}
    return sorted(meant) if meant <= known else [ANY]


def _recorded_times(times: pa.Array, instead: pa.Array) -> pa.Array:
    """Return record times, or event times where no clock of this century can have told them."""
    usable = pc.and_(pc.greater_equal(times, FIRST), pc.less_equal(times, END))
    return pc.if_else(pc.fill_null(usable, False), times, instead)


def _micros(times: pa.Array) -> pa.Array:
    return times.cast(pa.int64()).cast(pa.string())


_Question = tuple[str | None, str | None, str]
"""Person, purpose and modality."""

_Answer = tuple[list[int], list[int]]
"""Times in µs, ascending, and the verdict from each on."""


class _Word(NamedTuple):
    """One ledger row; ``since`` and ``recorded`` are times in µs."""

    since: int
    granted: bool
    recorded: int
    person: str
    purpose: str
    modality: str


class Consents:
    """The verdict for any person, purpose, modality and time.

    A grant counts for the person who is spelt exactly so, a prohibition for whoever folds to the
    same. The gate is open from a grant on that both holds since after, and was not recorded before,
    each prohibition that holds by then. It is enough to look at the times at which a word begins to
    hold; between them nothing changes. An erasure prohibits for all time before and after it.
    """

    def __init__(
        self, ledger: Iterable[pa.RecordBatch] = (), tombstones: Tombstones | None = None
    ) -> None:
        self._tombstones = tombstones or Tombstones(b"")
        self._words: defaultdict[str | None, set[_Word]] = defaultdict(set)
        self._answers: dict[_Question, _Answer] = {}
        self._asked: defaultdict[str | None, list[_Question]] = defaultdict(list)
        for rows in ledger:
            self.add(rows)

    def add(self, rows: pa.RecordBatch) -> None:
        """Take CONSENT_LEDGER rows, in any order, repeated ones included."""
        granted = pc.equal(rows["action"], "granted").to_pylist()
        times = (rows[name].cast(pa.int64()).to_pylist() for name in ("event_time", "recorded_at"))
        since, recorded = times
        names = (rows[n].to_pylist() for n in ("person_ref", "purpose", "modality"))
        words = map(_Word, since, granted, recorded, *names)
        for fold, word in zip(rows["person_fold"].to_pylist(), words, strict=True):
            self._words[fold].add(word)
            for question in self._asked.pop(fold, ()):
                del self._answers[question]

    def bury(self, tombstones: Tombstones) -> None:
        """Take these tombstones in place of those before."""
        if tombstones != self._tombstones:
            self._tombstones = tombstones
            self._answers.clear()
            self._asked.clear()

    def erased_until(self, events: pa.RecordBatch) -> np.ndarray:
        """Return a row until when its person is erased, in µs since 1970; -1: not at all."""
        if not self._tombstones:
            return np.full(events.num_rows, -1)
        folds = events["person_fold"].dictionary_encode()
        until = [self._tombstones.erased_until(fold) for fold in folds.dictionary.to_pylist()]
        found = np.array([-1 if time is None else time for time in (*until, None)])
        return found[folds.indices.fill_null(len(until)).to_numpy(zero_copy_only=False)]

    def ask(self, events: pa.RecordBatch, modality: str) -> np.ndarray:
        """Return UNKNOWN, WITHDRAWN or GRANTED a row of a pseudonymous batch, at its event time."""
        columns = [events[name] for name in ("person_ref", "purpose", "person_fold")]
        number, first = number_distinct(columns[0].indices, columns[1])
        people, purposes, folds = (_texts(c.take(pa.array(first))) for c in columns)
        questions = list(zip(people, purposes, itertools.repeat(modality)))
        known = [self._answers.get(question) for question in questions]
        answers = [
            answer or self._answer(question, fold)
            for answer, question, fold in zip(known, questions, folds, strict=True)
        ]
        owner = np.repeat(np.arange(len(answers)), [len(times) for times, _ in answers])
        times = np.array([time for times, _ in answers for time in times])
        said = np.array([verdict for _, verdicts in answers for verdict in verdicts])
        # One number stands for question and time: the time by its rank among all that are told.
        ranked = np.unique(times)
        at = owner * len(ranked) + np.searchsorted(ranked, times)
        micros = events["event_time"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        rank = np.searchsorted(ranked, micros, side="right") - 1
        place = np.searchsorted(at, number * len(ranked) + rank, side="right") - 1
        told = place >= 0
        told[told] = owner[place[told]] == number[told]
        return np.where(told, said[place], UNKNOWN)

    def _answer(self, question: _Question, fold: str | None) -> _Answer:
        if len(self._answers) >= _KEPT:
            self._answers.clear()
            self._asked.clear()
        person, purpose, modality = question
        words = [
            word
            for word in self._words.get(fold, ())
            if word.purpose in (purpose, ANY)
            and word.modality in (modality, ANY)
            and (word.person == person or not word.granted)
        ]
        if (until := self._tombstones.erased_until(fold)) is not None:
            words.append(_Word(_BEFORE_ALL, False, until, "", ANY, ANY))
        made = self._answers[question] = _verdicts(words)
        self._asked[fold].append(question)
        return made


def _texts(column: pa.Array) -> list[str | None]:
    coded = pa.types.is_dictionary(column.type)  # whose values Arrow would make one by one
    return (column.dictionary_decode() if coded else column).to_pylist()


def _verdicts(words: list[_Word]) -> _Answer:
    """Go through words in the order in which they begin to hold; at once, a grant comes first."""
    times, verdicts = [_BEFORE_ALL], [UNKNOWN]
    granted = prohibited = -1  # when the latest grant since the last prohibition was recorded
    for word in sorted(words, key=lambda word: (word.since, not word.granted)):
        if word.granted:
            granted = max(granted, word.recorded)
        else:
            granted, prohibited = -1, max(prohibited, word.recorded)
        times.append(word.since)
        verdicts.append(GRANTED if granted >= prohibited else WITHDRAWN)
    return times, verdicts
