"""Whom an erasure is about: everything in the tables that stands for one subject id."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.config import Config
from pipelines.govern.erasure.spellings import landed_references
from pipelines.tables.query import standing
from schemas.keys import Keys
from schemas.tables import TABLES
from transforms.gating.policy import read_policy
from transforms.gating.tombstones import tombstone_of
from transforms.pseudonymise import Pseudonyms


@dataclass(frozen=True, slots=True)
class Person:
    """One person: the tombstone, the references of subjects, and those of the ledger.

    ``exact`` are of the ids as they are spelt. ``fold`` is that of all spellings, or None where the
    ledger knows spellings that are not meant: it stays in the rows of those.
    """

    tombstone: str
    fold: str | None
    exact: frozenset[str]
    references: frozenset[str]

    @property
    def marks(self) -> frozenset[str]:
        """All that stands for the person."""
        return self.references | self.exact | ({self.fold} if self.fold else set())


def find_people(config: Config, keys: Keys, subjects: Sequence[str]) -> dict[str, Person]:
    """Return whom each of these raw subject ids names; spellings of one id give the same person.

    A person's references are those of the ids under every key and in every region that the policy
    or a table knows, and those that the ledger has for them, whose keys may be gone.
    """
    pseudonyms = Pseudonyms(keys)
    regions = known_regions(config)
    landed: defaultdict[str, set[str]] = defaultdict(set)
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for row in landed_references(config.tables).to_pylist():
        spellings[row["person_fold"]].add(row["person_ref"])
        if row["subject_ref"] is not None:
            landed[row["person_ref"]].add(row["subject_ref"])
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for subject in subjects:
        ids[pseudonyms.person(subject)[1]].add(subject)
    people = {}
    for fold, spelt in ids.items():
        exact = frozenset(pseudonyms.person(subject)[0] for subject in spelt)
        found = (pseudonyms.references(subject, regions) for subject in spelt)
        people[fold] = Person(
            tombstone_of(keys.tombstone, fold),
            None if spellings[fold] - exact else fold,
            exact,
            frozenset().union(*found, *(landed[each] for each in exact)),
        )
    return {subject: people[pseudonyms.person(subject)[1]] for subject in subjects}


def known_regions(config: Config) -> set[str]:
    """Return the regions of the policy and of any row.

    Rows that were refused for a region which nobody lists do not say whose they are.
    """
    found = set(read_policy(config.policy).regions)
    for name, place in standing(config.tables).items():
        if "region" in TABLES[name].schema.names:
            rows = DeltaTable(place).to_pyarrow_dataset().to_table(columns=["region"])
            found.update(pc.unique(rows["region"]).drop_null().to_pylist())
    return found


def all_references(people: Iterable[Person]) -> frozenset[str]:
    """Return every reference of these persons."""
    return frozenset(ref for person in people for ref in person.references)
