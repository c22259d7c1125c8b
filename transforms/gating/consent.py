"""Consent as of event time: the ledger's rows, and the vectorised question to them."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import Line, as_of, fill_schema, number_distinct
from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode, RefusalCode
from schemas.events import PERSON_COLUMNS
from schemas.ids import stable_ids
from schemas.modalities import MODALITIES
from schemas.stages import Stage, kind_of
from schemas.tables import CONSENT_LEDGER
from transforms.decoding.aliases import aliases, fold_spelling
from transforms.gating.bands import MINORS, Bands
from transforms.gating.governance import ANY, END, FIRST
from transforms.gating.statements import LISTS
from transforms.gating.tombstones import Tombstones
from transforms.gating.unlisted import UNLISTED
from transforms.gating.words import Word, Words, are_a_childs_own, without_repeats

UNKNOWN, WITHDRAWN, GRANTED = 0, 1, 2
_BEFORE_ALL = -1
_KEPT = 500_000
"""Answers that a process holds: about 250 MB."""
_DETAIL = {
    DeadLetterCode.GRANT_UNKNOWN_NAME: "a grant names a purpose or a modality that nobody knows: "
    "it holds for the others alone",
    DeadLetterCode.GRANT_NEEDS_GUARDIAN: "a grant by a child itself: it counts for nothing",
}


def ledger_rows(
    events: pa.RecordBatch, purposes: frozenset[str]
) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
    """Return CONSENT_LEDGER rows of a governance batch, and dead letters of what does not count.

    ``events`` is a pseudonymous batch of kind consent or erasure, ``purposes`` are those that the
    policy knows. A consent is a row for each purpose and modality, 10 times 5 at most: a grant
    counts only for names that are known, exactly as they are written, and a name that nobody knows
    makes a withdrawal one of all. An erasure request is one row for every purpose and modality. A
    prohibition that ``suspends`` is a row of its own kind: it closes the gate, and nothing is
    deleted for it. A child's own grant has its rows, since they tell of its age, and opens nothing;
    and so has a minor's grant of names that nobody knows: one row of purpose UNLISTED.
    """
    kind = kind_of(events)
    rows, named, modalities, problems = _expand(events, kind, purposes)
    at = events.select([name for name in events.schema.names if name not in LISTS]).take(rows)
    if kind == "erasure":
        actions = pa.repeat("erasure_requested", at.num_rows)
        given_by = pa.nulls(at.num_rows, pa.string())
    else:
        prohibited = pc.if_else(at["suspends"].fill_null(False), "suspended", "withdrawn")
        actions = pc.if_else(at["granted"], "granted", prohibited)
        given_by = pc.if_else(at["granted"], at["given_by"], None)
    recorded = _recorded_times(at["recorded_at"], at["event_time"])
    times = [_micros(at["event_time"]), _micros(recorded)]
    people = {name: at[name].dictionary_decode() for name, _ in PERSON_COLUMNS}
    said = _said(actions, given_by, at["age_band"])
    columns = people | {
        # Without the event's own id: of two records with one id the second may be the withdrawal.
        "ledger_id": stable_ids(people["person_ref"], *times, named, modalities, said),
        "purpose": named,
        "modality": modalities,
        "action": actions,
        "given_by": given_by,
        "recorded_at": recorded,
        "event_date": at["event_time"].cast(pa.date32()),
    }
    return fill_schema(CONSENT_LEDGER, columns, at), _letters(events, problems)


def _said(actions: pa.Array, given_by: pa.Array, age_band: pa.Array) -> pa.Array:
    """Return the part of a row's id that says what was said.

    A grant by a guardian or of a minor is another word than one of neither, whose id is that of
    0.1.0.
    """
    guardian = pc.fill_null(pc.equal(given_by, "guardian"), False)
    minor = pc.and_(pc.equal(actions, "granted"), pc.is_in(age_band, MINORS))
    by = pc.if_else(guardian, " by a guardian", "")
    of = pc.if_else(minor, pc.fill_null(age_band, ""), "")
    return pc.binary_join_element_wise(actions, by, of, "")


def _letters(
    events: pa.RecordBatch, problems: Mapping[int, DeadLetterCode]
) -> pa.RecordBatch | None:
    if not problems:
        return None
    return dead_letters(
        events.take(pa.array(list(problems))),
        stage=Stage.GATE,
        code=pa.array([str(code) for code in problems.values()]),
        detail=pa.array([_DETAIL[code] for code in problems.values()]),
    )


def _expand(
    events: pa.RecordBatch, kind: str, known: frozenset[str]
) -> tuple[pa.Array, pa.Array, pa.Array, dict[int, DeadLetterCode]]:
    """Return row, purpose and modality of each ledger row, and what is wrong with which grants."""
    if kind == "erasure":
        every = pa.repeat(ANY, events.num_rows)
        return pa.array(np.arange(events.num_rows)), every, every, {}
    purpose_of = {fold_spelling(name): name for name in known} | {**aliases("purpose")}
    read = functools.cache(functools.partial(_read_names, known, purpose_of))  # words repeat
    minor = pc.is_in(events["age_band"], MINORS).to_pylist()
    childs_own = are_a_childs_own(events).to_numpy(zero_copy_only=False)
    grants = events["granted"].fill_null(False).to_numpy(zero_copy_only=False)
    given = (events[name].to_pylist() for name in LISTS)
    found = [
        read(granted, tuple(purposes), tuple(modalities), granted and young)
        for granted, young, purposes, modalities in zip(grants.tolist(), minor, *given, strict=True)
    ]
    problems = {
        row: DeadLetterCode.GRANT_UNKNOWN_NAME for row, names in enumerate(found) if names.unknown
    }
    own = np.flatnonzero(childs_own & grants).tolist()
    problems |= dict.fromkeys(own, DeadLetterCode.GRANT_NEEDS_GUARDIAN)
    rows = np.repeat(np.arange(len(found)), [len(names.purposes) for names in found])
    columns = (
        pa.array([*itertools.chain.from_iterable(each)], pa.string())
        for each in ((n.purposes for n in found), (n.modalities for n in found))
    )
    return pa.array(rows, pa.int64()), *columns, problems


class _Names(NamedTuple):
    """Purpose and modality of each row of one word; ``unknown``: it grants what nobody knows."""

    purposes: tuple[str, ...]
    modalities: tuple[str, ...]
    unknown: bool


def _read_names(
    known: frozenset[str],
    purpose_of: Mapping[str, str],
    granted: bool,
    purposes: tuple[str, ...],
    modalities: tuple[str, ...],
    minor: bool,
) -> _Names:
    """Return what the lists of one word name, each purpose with each modality."""
    ways = frozenset(MODALITIES)
    if granted:
        found = _granted_names(purposes, known), _granted_names(modalities, ways)
    else:
        way_of = {fold_spelling(name): name for name in ways}
        found = (
            _withdrawn_names(purposes, known, purpose_of),
            _withdrawn_names(modalities, ways, way_of),
        )
    unknown = granted and not ({*purposes} <= {*found[0]} and {*modalities} <= {*found[1]})
    if minor and not all(found):
        found = [UNLISTED], [ANY]
    pairs = [*itertools.product(*found)]
    return _Names(tuple(p for p, _ in pairs), tuple(m for _, m in pairs), unknown)


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


_Question = tuple[str | None, str | None, str, int]
"""Person, purpose, modality, and what a grant must meet: bits of NEEDS."""


class Verdicts(NamedTuple):
    """The code and the article of each row's refusal, both None where it may go on.

    ``bands`` are the age bands as which the rows were judged.
    """

    codes: np.ndarray
    articles: np.ndarray
    bands: pa.Array

    @property
    def unheard(self) -> bool:
        """Whether somebody is refused only because no word of theirs is known."""
        return bool((self.codes == RefusalCode.CONSENT_UNKNOWN).any())


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
        self._tombstones = tombstones or Tombstones()
        self._words = Words()
        self._bands = Bands()
        self._answers: dict[_Question, Line] = {}
        self._asked: defaultdict[str | None, list[_Question]] = defaultdict(list)
        self.add(*ledger)

    def add(self, *ledger: pa.RecordBatch) -> None:
        """Take CONSENT_LEDGER rows, in any order, repeated ones included."""
        if not ledger:
            return
        rows = pa.concat_batches(ledger)
        self._bands.add(rows)
        for person in self._words.add(rows) & self._asked.keys():
            for question in self._asked.pop(person):
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

    def consult(self, judge: "Callable[[Consents], Verdicts]") -> Verdicts:
        """Return what ``judge`` makes of these consents."""
        return judge(self)

    def bands(self, events: pa.RecordBatch) -> pa.Array:
        """Return the age band as which each row of a pseudonymous batch is judged."""
        return self._bands.of(events)

    def ask(
        self, events: pa.RecordBatch, modality: str, needs: np.ndarray | None = None
    ) -> np.ndarray:
        """Return UNKNOWN, WITHDRAWN or GRANTED a row of a pseudonymous batch, at its event time.

        ``needs`` (n,) are the bits of NEEDS that a grant has to meet to count.
        """
        columns = [events[name] for name in ("person_ref", "purpose", "person_fold")]
        asked = [columns[0].indices, columns[1]]
        if needs is None:
            needs = np.zeros(events.num_rows, np.int64)
        elif needs.any():
            asked.append(pa.array(needs))
        number, first = number_distinct(*asked)
        people, purposes, folds = (_texts(c.take(pa.array(first))) for c in columns)
        bits = needs[first].tolist()
        questions = list(zip(people, purposes, itertools.repeat(modality), bits))
        lines = self._lines(questions, folds)
        micros = events["event_time"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        return as_of(number, lines, micros, UNKNOWN)

    def _lines(self, questions: Sequence[_Question], folds: Sequence[str | None]) -> list[Line]:
        known = [self._answers.get(question) for question in questions]
        pairs = list(zip(known, folds, strict=True))
        self._words.take(fold for line, fold in pairs if line is None)
        return [
            line or self._answer(question, fold)
            for question, (line, fold) in zip(questions, pairs, strict=True)
        ]

    def _answer(self, question: _Question, fold: str | None) -> Line:
        if len(self._answers) >= _KEPT:
            self._answers.clear()
            self._asked.clear()
        person, purpose, modality, needs = question
        words = [
            word
            for word in self._words.of(fold)
            if word.purpose in (purpose, ANY)
            and word.modality in (modality, ANY)
            and (not word.granted or (word.person == person and word.meets & needs == needs))
        ]
        if (until := self._tombstones.erased_until(fold)) is not None:
            words.append(Word(_BEFORE_ALL, False, until, "", ANY, ANY, 0))
        made = self._answers[question] = _verdicts(without_repeats(words))
        self._asked[fold].append(question)
        return made


def _texts(column: pa.Array) -> list[str | None]:
    coded = pa.types.is_dictionary(column.type)  # whose values Arrow would make one by one
    return (column.dictionary_decode() if coded else column).to_pylist()


def _verdicts(words: list[Word]) -> Line:
    """Go through words in the order in which they begin to hold; at once, a grant comes first."""
    times, verdicts = [], []
    granted = prohibited = -1  # when the latest grant since the last prohibition was recorded
    for word in sorted(words, key=lambda word: (word.since, not word.granted)):
        if word.granted:
            granted = max(granted, word.recorded)
        else:
            granted, prohibited = -1, max(prohibited, word.recorded)
        times.append(word.since)
        verdicts.append(GRANTED if granted >= prohibited else WITHDRAWN)
    return times, verdicts
