"""Opt-in to be shown: whether what is estimated of a person may be shown to others.

A purpose of its own, ``show_to_others``, which no event is processed for: a person grants it beside
``avatar_mirroring``, for all modalities that they let mirror or for some. A grant of every purpose
(``*``) is no opt-in, since it does not name what it permits; a withdrawal of every purpose is one
of this too.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.modalities import MODALITIES
from transforms.gating.consent import GRANTED, Consents
from transforms.gating.tombstones import Tombstones

MIRRORING: Final = "avatar_mirroring"
SHOW: Final = "show_to_others"

_GRANT: Final = "granted"
_Person = tuple[str, str]
"""References of a person and of all that are spelt alike: ``person_ref`` and ``person_fold``."""


class KnowsOptIns(Protocol):
    """What can be asked whether people may be shown: a ledger that was read, or a live one."""

    def may_show(
        self, subjects: pa.Array, times: pa.Array, prior: pa.Array | None = None
    ) -> np.ndarray:
        """Return a mask of the subjects who may be shown at these times.

        ``prior`` are the references that the subjects had before a rotation, null where none.
        """

    def erased_subjects(self) -> Mapping[str, int]:
        """Return the references of who was erased, and until when in µs since 1970."""


class OptIns:
    """Who opted in, by pseudonym and as of event time.

    ``consents`` are those of the gate, which are asked whether mirroring is still permitted. A
    pseudonym is known by the grants that were given under it, and under those that it followed when
    keys were rotated: in another region a person opts in again. A withdrawal counts from wherever
    it comes.
    """

    def __init__(
        self,
        consents: Consents,
        ledger: Iterable[pa.RecordBatch] = (),
        tombstones: Tombstones | None = None,
    ) -> None:
        self._mirrored, self._shown = consents, Consents((), tombstones)
        self._people: defaultdict[str, set[_Person]] = defaultdict(set)
        self._tombstones = tombstones or Tombstones()
        self._folds: list[pa.RecordBatch] = []
        self._links: dict[str, str] = {}
        self._erased: tuple[tuple[Tombstones, int, int], dict[str, int]] | None = None
        for rows in ledger:
            self.add(rows)

    def add(self, rows: pa.RecordBatch) -> None:
        """Take CONSENT_LEDGER rows, in any order; the gate's consents are given theirs apart."""
        self._folds.append(rows.select(["subject_ref", "person_fold"]))
        grants = pc.equal(rows["action"], _GRANT)
        opting_in = pc.and_(grants, pc.equal(rows["purpose"], SHOW))
        self._shown.add(rows.filter(pc.or_(opting_in, pc.invert(grants))))
        opted = rows.filter(opting_in)
        names = (opted[name].to_pylist() for name in ("subject_ref", "person_ref", "person_fold"))
        for subject, person, fold in zip(*names, strict=True):
            self._people[subject].add((person, fold))

    def link(self, subjects: pa.Array, prior: pa.Array) -> None:
        """Take references that came after others, in the order in which keys were rotated."""
        for subject, before in zip(subjects.to_pylist(), prior.to_pylist(), strict=True):
            if before is not None:
                self._links[subject] = before
            if before in self._people:
                self._people[subject] |= self._people[before]

    def bury(self, tombstones: Tombstones) -> None:
        """Take these tombstones in place of those before; the gate's consents take theirs apart."""
        self._shown.bury(tombstones)
        self._tombstones = tombstones

    def erased_subjects(self) -> Mapping[str, int]:
        """Return the references of who was erased, and until when in µs since 1970.

        Of those references that a row of the ledger names, or that followed such a one when keys
        were rotated.
        """
        if not self._tombstones:
            return {}
        known = (self._tombstones, len(self._folds), len(self._links))
        if self._erased is None or self._erased[0] != known:
            self._erased = known, self._find_erased()
        return self._erased[1]

    def _find_erased(self) -> dict[str, int]:
        until: dict[str, int] = {}
        for fold, subjects in self._subjects_by_fold().items():
            if (time := self._tombstones.erased_until(fold)) is not None:
                until |= dict.fromkeys(subjects, time)
        for subject, before in self._links.items():  # the oldest first
            if before in until:
                until.setdefault(subject, until[before])
        return until

    def _subjects_by_fold(self) -> dict[str, list[str]]:
        pairs = pa.Table.from_batches(self._folds).group_by(["subject_ref", "person_fold"])
        found: defaultdict[str, list[str]] = defaultdict(list)
        for row in pairs.aggregate([]).to_pylist():
            if row["subject_ref"] is not None and row["person_fold"] is not None:
                found[row["person_fold"]].append(row["subject_ref"])
        return found

    def may_show(
        self, subjects: pa.Array, times: pa.Array, prior: pa.Array | None = None
    ) -> np.ndarray:
        """Return a mask of the subjects who may be shown at these times.

        They may where mirroring is permitted for some modality, and being shown for each modality
        for which mirroring is.
        """
        if prior is not None:
            self.link(subjects, prior)
        who = [self._people.get(subject, set()) for subject in subjects.to_pylist()]
        rows = np.repeat(np.arange(len(who)), [len(people) for people in who])
        if not len(rows):
            return np.zeros(len(who), bool)
        people = [person for found in who for person in sorted(found)]
        asked = {
            name: _questions(people, times.take(pa.array(rows)), name) for name in (MIRRORING, SHOW)
        }
        some, all_shown = np.zeros(len(rows), bool), np.ones(len(rows), bool)
        for modality in MODALITIES:
            mirrored = self._mirrored.ask(asked[MIRRORING], modality) == GRANTED
            shown = self._shown.ask(asked[SHOW], modality) == GRANTED
            some |= mirrored
            all_shown &= shown | ~mirrored
        refused = np.bincount(rows, weights=~(some & all_shown), minlength=len(who))
        return (refused == 0) & (np.bincount(rows, minlength=len(who)) > 0)


def nobody_opted_in(
    subjects: pa.Array, times: pa.Array, prior: pa.Array | None = None
) -> np.ndarray:
    """Return what is known of opt-ins where no ledger is at hand: nobody may be shown."""
    del times, prior
    return np.zeros(len(subjects), bool)


class NoOptIns:
    """What is known where no ledger is at hand: nobody opted in, and nobody was erased."""

    may_show = staticmethod(nobody_opted_in)

    @staticmethod
    def erased_subjects() -> Mapping[str, int]:
        """Return nobody."""
        return {}


def _questions(people: list[_Person], times: pa.Array, purpose: str) -> pa.RecordBatch:
    """Return what ``Consents.ask`` looks at, a row for each person and time."""
    names, folds = zip(*people, strict=True)
    return pa.RecordBatch.from_pydict(
        {
            "person_ref": pa.array(names, pa.string()).dictionary_encode(),
            "person_fold": pa.array(folds, pa.string()).dictionary_encode(),
            "purpose": pa.repeat(purpose, len(people)),
            "event_time": times,
        }
    )
