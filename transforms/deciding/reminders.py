"""Reminders of use: a person who has been there for long is told to take a break."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from schemas.arrow import number_distinct, take_rows
from schemas.events import DAY_US
from schemas.strict import Day, Frozen, PlacedError
from transforms.deciding.actions import Code
from transforms.deciding.slots import NEVER
from transforms.decoding.aliases import known_name
from transforms.gating.legible import explain_illegible

PAUSE_S: Final = 15 * 60
"""Silence after which use begins anew."""
_MINUTE_US: Final = 60_000_000

USE = pa.schema(
    [
        ("subject_ref", pa.string()),
        ("since_us", pa.int64()),
        ("seen_us", pa.int64()),
        ("free_us", pa.int64()),
    ]
)
"""Since when a person has been there without a pause, the end of their last window, and that of the
last in which a reminder could stand, in µs: what was due after that one waits."""


class Reminder(Frozen):
    """After each so many minutes of unbroken use in these regions, the action to take.

    ``article`` is the law that asks for it, ``since`` the first day of event time on which it does.
    """

    regions: frozenset[str] = Field(min_length=1)
    after_minutes: int = Field(ge=1, le=1440)
    action: Code
    reply: Code | None = None
    article: str
    since: Day = date.min

    @field_validator("article")
    @classmethod
    def _names_a_law(cls, given: str) -> str:
        if problem := explain_illegible(given):
            message = f"{problem}: write which law asks for the reminder"
            raise ValueError(message)
        return given

    @model_validator(mode="after")
    def _regions_are_read(self) -> "Reminder":
        for region in sorted(self.regions):
            if known_name("region", region) != region:
                message = f"regions lists {region!r}, which no event is read as: write it as CN"
                raise PlacedError(message, "regions")
        return self


def find_due(
    reminders: Sequence[Reminder], rows: pa.RecordBatch, use: pa.RecordBatch, busy: np.ndarray
) -> tuple[np.ndarray, pa.RecordBatch]:
    """Return the reminder that is due in each window (-1: none), and the USE rows from then on.

    ``rows`` are feature rows, none of which ends before one that ``use`` has seen. Use is
    counted by person, over scenes, sessions and purposes; all of their windows that end at once
    are reminded alike. While one of them is ``busy`` (n,), since a person is wanted or the stakes
    are high, a reminder waits for the next that are not.
    """
    due = np.full(rows.num_rows, -1)
    regions = pa.array(sorted({region for each in reminders for region in each.regions}))
    mine = pc.is_in(rows["region"], regions.cast(pa.string())).to_numpy(zero_copy_only=False)
    if not mine.any():
        return due, use
    whose = take_rows(rows, mine)
    end_of, name = whose["window_end"].cast(pa.int64()), _names(whose, use)
    window, first = number_distinct(name, end_of)
    is_free = np.bincount(window, busy[mine], len(first)) == 0
    person, _ = number_distinct(name.take(pa.array(first)))
    ends = end_of.to_numpy()[first]
    order = np.lexsort((ends, person))
    person, ends, first = person[order], ends[order], first[order]
    name, whose = name.take(pa.array(first)), take_rows(whose, first)
    since, free, before = _unbroken(person, ends, is_free[order], name, use)
    region, days = whose["region"], ends // DAY_US
    found = np.full(len(ends), -1)
    for number, each in enumerate(reminders):
        period = each.after_minutes * _MINUTE_US
        ripe = is_free[order] & ((ends - since) // period > (before - since) // period)
        ripe &= pc.is_in(region, pa.array(sorted(each.regions))).to_numpy(zero_copy_only=False)
        found[ripe & (days >= (each.since - date(1970, 1, 1)).days)] = number
    in_order = np.empty(len(order), np.int64)
    in_order[order] = np.arange(len(order))
    due[mine] = found[in_order[window]]
    last = np.flatnonzero(np.r_[person[1:] != person[:-1], True])
    columns = [
        whose["subject_ref"].take(pa.array(last)),
        *(pa.array(times[last]) for times in (since, ends, free)),
    ]
    fresh = pa.record_batch(columns, schema=USE)
    silent = use["seen_us"].to_numpy() < ends.max() - PAUSE_S * 1_000_000
    gone = pc.is_in(use["subject_ref"], name).to_numpy(zero_copy_only=False) | silent
    return due, pa.concat_batches([take_rows(use, ~gone), fresh])


def _names(rows: pa.RecordBatch, use: pa.RecordBatch) -> pa.Array:
    """Return by which reference each row's person is counted: that of before a rotation, if met."""
    own, prior = rows["subject_ref"], rows["prior_subject_ref"]
    met = pc.or_(pc.is_in(prior, own), pc.is_in(prior, use["subject_ref"]))
    return pc.if_else(pc.and_(prior.is_valid(), met), prior, own)


def _unbroken(
    person: np.ndarray, ends: np.ndarray, is_free: np.ndarray, name: pa.Array, use: pa.RecordBatch
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return since when each window's use is unbroken, and the end of the last free window in it.

    The last array is the end of the last free window before each. Where a use has none yet, it is
    its beginning: the end of its first window.
    """
    place = pc.index_in(name, use["subject_ref"])
    seen, begun, waited = (
        pc.fill_null(use[name].take(place), NEVER).to_numpy()
        for name in ("seen_us", "since_us", "free_us")
    )
    starts = np.r_[True, person[1:] != person[:-1]]
    before = np.where(starts, seen, np.r_[NEVER, ends[:-1]])
    fresh = ends - before > PAUSE_S * 1_000_000
    begins = np.where(fresh, ends, begun)
    latest = np.maximum.accumulate(np.where(starts | fresh, np.arange(len(ends)), 0))
    since = begins[latest]
    known = np.where(fresh, ends, np.where(starts, waited, since))
    marks = np.where(is_free | starts | fresh, np.arange(len(ends)), 0)
    at = np.maximum.accumulate(marks)
    free = np.where(is_free[at], ends[at], known[at])
    earlier = np.where(starts | fresh, known, np.r_[NEVER, free[:-1]])
    return since, free, earlier
