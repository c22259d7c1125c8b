"""Who objected: whose past days may not be rebuilt any more."""

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.govern.ledger import read_landed
from schemas.table import Root
from schemas.tables import CONSENT_LEDGER

_COLUMNS = ["subject_ref", "person_fold", "action", "event_date"]

Objections = dict[str, dt.date]
"""By subject: the last day on which consent was withdrawn or erasure requested, UTC."""


def read_objections(root: Root) -> Objections:
    """Return the objections of the landed ledger.

    An objection counts for every subject of the same person in any spelling. A later grant does not
    lift it: consent is for what comes after it.
    """
    rows = pa.Table.from_batches(read_landed(root), CONSENT_LEDGER).select(_COLUMNS)
    objected = rows.filter(pc.not_equal(rows["action"], "granted"))
    by_person: Objections = {}
    found: Objections = {}
    for row in objected.to_pylist():
        for days, ref in ((by_person, row["person_fold"]), (found, row["subject_ref"])):
            if ref is not None:
                days[ref] = max(days.get(ref, dt.date.min), row["event_date"])
    subjects = rows.group_by(["subject_ref", "person_fold"]).aggregate([])
    for row in subjects.to_pylist():
        day = by_person.get(row["person_fold"])
        if day is not None and row["subject_ref"] is not None:
            found[row["subject_ref"]] = max(found.get(row["subject_ref"], dt.date.min), day)
    return found


def left_out(objections: Objections, day: dt.date) -> frozenset[str]:
    """Return the subjects who objected on this day or later: their rows of it stay as they are."""
    return frozenset(ref for ref, last in objections.items() if last >= day)
