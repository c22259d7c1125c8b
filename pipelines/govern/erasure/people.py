"""Whom an erasure is about: everything in the tables that stands for one subject id."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.config import Config
from pipelines.govern.ledger import read_landed
from pipelines.tables.query import standing
from schemas.keys import Keys
from schemas.table import Root
from schemas.tables import TABLES
from transforms.gating.policy import read_policy
from transforms.gating.tombstones import tombstone_of
from transforms.pseudonymise import Pseudonyms


@dataclass(frozen=True, slots=True)
class Person:
    """One person: the tombstone, the reference of all spellings, and those of subjects."""

    tombstone: str
    fold: str
    references: frozenset[str]


def find_people(config: Config, keys: Keys, subjects: Sequence[str]) -> dict[str, Person]:
    """Return whom each of these raw subject ids names; ids of one person give the same one.

    A person's references are those of the id under every key and in every region that the policy
    or a table knows, and those of other spellings of the id that the consent ledger knows.
    """
    pseudonyms = Pseudonyms(keys)
    regions = read_policy(config.policy).regions | _regions(config.tables)
    spelt = _references_by_fold(config.tables)
    folds = {subject: pseudonyms.person(subject)[1] for subject in subjects}
    references: defaultdict[str, set[str]] = defaultdict(set)
    for subject, fold in folds.items():
        references[fold] |= pseudonyms.references(subject, regions) | spelt.get(fold, set())
    people = {
        fold: Person(tombstone_of(keys.tombstone, fold), fold, frozenset(refs))
        for fold, refs in references.items()
    }
    return {subject: people[fold] for subject, fold in folds.items()}


def _regions(root: Root) -> set[str]:
    """Return the regions that any row names: a refused event may have told any."""
    found: set[str] = set()
    for name, place in standing(root).items():
        if "region" in TABLES[name].schema.names:
            rows = DeltaTable(place).to_pyarrow_dataset().to_table(columns=["region"])
            found.update(pc.unique(rows["region"]).drop_null().to_pylist())
    return found


def _references_by_fold(root: Root) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for rows in read_landed(root):
        pairs = pa.table(rows.select(["person_fold", "subject_ref"])).group_by(
            ["person_fold", "subject_ref"]
        )
        for row in pairs.aggregate([]).to_pylist():
            if row["subject_ref"] is not None:
                found[row["person_fold"]].add(row["subject_ref"])
    return found


def all_references(people: Iterable[Person]) -> frozenset[str]:
    """Return every reference of these persons."""
    return frozenset(ref for person in people for ref in person.references)
