"""The keys that standing tables were made under: noted by fingerprint, compared before a run.

A run under other keys would land each event once more, refer to everybody by another name, and
find neither consents nor the rows of who is to be erased.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from schemas.errors import AffectstreamError
from schemas.keys import Keys, comes_after, fingerprint
from schemas.table import Root
from schemas.tables import TABLES
from transforms.decoding.aliases import known_name
from transforms.landing.repair import unwritable_error
from transforms.landing.retry import retry_commit

MADE_UNDER: Final = "affectstream.keys"
"""Property of ``consent_ledger`` that says under which keys the tables of its root were made."""
_NOTED_AT: Final = "consent_ledger"
_KEYLESS: Final = "runs"
"""The table whose rows hold nothing that is made with a key."""

_Period = tuple[str, str | None, str]
"""Begin in ISO form, region, and fingerprint of the key."""


class _Noted(NamedTuple):
    periods: frozenset[_Period]
    persons: str
    tombstone: str

    @classmethod
    def of(cls, keys: Keys) -> "_Noted":
        periods = ((p.since.isoformat(), p.region, fingerprint(p.key)) for p in keys.periods)
        return cls(
            frozenset(periods),
            fingerprint(keys.person),
            fingerprint(keys.tombstone),
        )


def check_made_under(root: Root, keys: Keys) -> None:
    """Check that these keys are those of the tables under ``root``, or some more.

    And that each region with keys is one that events have once their spelling was read.

    Periods may have been added after the last, or shredded by the command that does so. Tables
    without a row, and those of which nothing was noted yet, go with any keys.

    Raises:
        AffectstreamError: a key is missing or another, or no event has a region of them.
    """
    for region in keys.regions:
        if (read_as := known_name("region", region)) not in (None, region):
            message = (
                f"the keys have a region {region}, whose events are read as {read_as}: name that "
                "one"
            )
            raise AffectstreamError(message)
    try:
        place = f"{root}/{_NOTED_AT}"
        if DeltaTable.is_deltatable(place):
            _check(root, DeltaTable(place), keys)
    except (DeltaError, OSError) as error:
        raise unwritable_error(root, _NOTED_AT, error) from error


def note_made_under(root: Root, keys: Keys) -> None:
    """Note under which keys the tables that stand under ``root`` are made from now on.

    Raises:
        AffectstreamError: they were made under others.
    """
    table = DeltaTable(f"{root}/{_NOTED_AT}")
    now = _Noted.of(keys)
    text = json.dumps([sorted(now.periods, key=str), now.persons, now.tombstone])

    def note() -> None:
        _check(root, table, keys)
        if table.metadata().configuration.get(MADE_UNDER) != text:
            table.alter.set_table_properties({MADE_UNDER: text}, raise_if_not_exists=False)

    retry_commit(note, str(root), "notes of its keys", table.update_incremental)


def _check(root: Root, table: DeltaTable, keys: Keys) -> None:
    before = _noted(root, table)
    if before is None:
        return
    problem = next(_differences(before, keys), None)
    if problem and has_rows(root):
        message = (
            f"the tables under {root} were made under other keys ({problem}): give the key file "
            "that they were made with, or new tables"
        )
        raise AffectstreamError(message)


def _noted(root: Root, table: DeltaTable) -> _Noted | None:
    text = table.metadata().configuration.get(MADE_UNDER)
    if text is None:
        return None
    try:
        periods, persons, tombstone = json.loads(text)
        return _Noted(frozenset(tuple(each) for each in periods), persons, tombstone)
    except (ValueError, TypeError) as error:
        message = (
            f"{_NOTED_AT} under {root} has a property {MADE_UNDER} that names no keys: restore it "
            "from an earlier version of the table"
        )
        raise AffectstreamError(message) from error


def _differences(before: _Noted, keys: Keys) -> Iterator[str]:
    now = _Noted.of(keys)
    if before.persons != now.persons:
        yield "that of persons is another"
    if before.tombstone != now.tombstone:
        yield "that of tombstones is another"
    shredded = {(each.since.isoformat(), each.region, each.check) for each in keys.shredded}
    for since, region, _ in sorted(before.periods - now.periods - shredded, key=str):
        yield f"that since {since}{_of(region)} is missing or another"
    begins = [(datetime.fromisoformat(since), region) for since, region, _ in before.periods]
    for since, region, _ in sorted(now.periods - before.periods, key=str):
        if not comes_after(datetime.fromisoformat(since), region, begins):
            yield f"that since {since}{_of(region)} was put between others"


def is_noted(root: Root) -> bool:
    """Tell whether the tables under ``root`` say under which keys they were made."""
    place = f"{root}/{_NOTED_AT}"
    return DeltaTable.is_deltatable(place) and _noted(root, DeltaTable(place)) is not None


def has_rows(root: Root) -> bool:
    """Tell whether a table under ``root`` holds a row that was made with a key."""
    places = [f"{root}/{name}" for name in TABLES if name != _KEYLESS]
    return any(DeltaTable(p).file_uris() for p in places if DeltaTable.is_deltatable(p))


def _of(region: str | None) -> str:
    return f" of region {region}" if region else ""
