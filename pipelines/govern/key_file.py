"""Changes of a key file: periods are added and shredded, by one writer at a time, as a whole."""

import datetime as dt
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow.compute as pc
import yaml
from deltalake import DeltaTable

from schemas.errors import AffectstreamError
from schemas.keys import (
    KeyPeriod,
    Keys,
    ShreddedPeriod,
    fingerprint,
    provider_of,
    read_keys,
)
from schemas.table import PARTITION, Root, Table
from schemas.tables import TABLES
from transforms.landing.made_under import (
    check_made_under,
    has_rows,
    is_noted,
    note_made_under,
)

_DAY: Final = dt.timedelta(days=1)
_HOUR: Final = dt.timedelta(hours=1)
_NOTICE: Final = dt.timedelta(minutes=1)
"""How long before they hold new keys must stand in the file, so that all workers have them."""
_PATIENCE_S: Final = 10.0
"""How long another command that changes the file is waited for: one takes milliseconds."""


def rotate(path: Path, root: Root | None, since: dt.datetime | None = None) -> dt.datetime:
    """Add a period to a key file, and return from when it holds: by default a UTC midnight.

    It is the next that is an hour away. Each region with keys of its own gets a fresh one, and so
    do all others together. The keys of persons and tombstones are written down as they are, so that
    they stay. ``root`` is where the tables stand that were made under these keys, None where nobody
    said.

    Raises:
        AffectstreamError: the time is not after the last period's begin, or past or less than a
            minute ahead for tables that may have rows; the file cannot be changed, or the tables
            were made under other keys.
    """
    now = dt.datetime.now(dt.UTC)
    since = since or dt.datetime.combine((now + _HOUR).date() + _DAY, dt.time(0), dt.UTC)
    with _change(path) as file:
        keys = file.keys
        last = max(each.since for each in (*keys.periods, *keys.shredded))
        if since <= last:
            message = f"{path} has a period since {last.isoformat()}: give a later --since"
            raise AffectstreamError(message)
        if root is not None:
            check_made_under(root, keys)
        if since <= now + _NOTICE and (root is None or has_rows(root)):
            message = (
                f"{since.isoformat()} is past, or too soon for workers to see: events since then "
                "would land once more, under the new key; give a later --since, or name new tables "
                "that have no rows by --tables"
            )
            raise AffectstreamError(message)
        fresh = [
            KeyPeriod(since=since, key=secrets.token_bytes(32), region=region)
            for region in (None, *keys.regions)
        ]
        changed = file.replace([*keys.periods, *fresh], keys.shredded)
    if root is not None and has_rows(root):
        note_made_under(root, changed)
    return since


class Shredding(NamedTuple):
    """What a shredding removes, and what it has to leave though it is as old."""

    removed: tuple[KeyPeriod, ...]
    left: tuple[KeyPeriod, ...]
    end: dt.datetime
    """When the last of the removed periods ended."""


def plan_shredding(
    keys: Keys, root: Root | None, until: dt.datetime, *, lose_links: bool = False
) -> Shredding:
    """Return which periods had ended by a time.

    A period whose key is that of persons, too, is left: consents would be lost with it.

    Raises:
        AffectstreamError: there is none to remove, the time is not past, or tables under ``root``
            hold, or might hold, rows of these periods and ``lose_links`` is not said.
    """
    if until > dt.datetime.now(dt.UTC):
        message = f"{until.isoformat()} is not past: keys that are still needed stay"
        raise AffectstreamError(message)
    ended = [*_ended(keys, until)]
    removed = tuple(period for period, _ in ended if period.key != keys.person)
    left = tuple(period for period, _ in ended if period.key == keys.person)
    if not removed:
        reason = (
            "the only one that did is that of persons, too, since the file is older than rotations"
            if left
            else "the key of a period is needed until the next one begins"
        )
        message = f"no period ended by {until.isoformat()} that can be shredded: {reason}"
        raise AffectstreamError(message)
    plan = Shredding(removed, left, max(end for period, end in ended if period in removed))
    if not lose_links:
        _check_no_rows(root, keys, plan.end)
    return plan


def _ended(keys: Keys, until: dt.datetime) -> Iterator[tuple[KeyPeriod, dt.datetime]]:
    """Yield the periods that had ended by a time, and when each did."""
    for region in (None, *keys.regions):
        line = keys.timeline(region)
        for (_, place), (end, _) in pairwise(line):
            if place >= 0 and end <= until and keys.periods[place].region == region:
                yield keys.periods[place], end


def shred(
    path: Path, root: Root | None, until: dt.datetime, *, lose_links: bool = False
) -> Shredding:
    """Remove the keys of all periods that had ended by a time, and note in the file that they were.

    What was written under them can be tied to nobody any more, by a subject's id or otherwise; so
    neither can the rows of who asks to be erased be found.

    Raises:
        AffectstreamError: as by ``plan_shredding``, or the file cannot be changed; or it was done,
            and a copy beside the file has the keys.
    """
    with _change(path) as file:
        plan = plan_shredding(file.keys, root, until, lose_links=lose_links)
        gone = [
            ShreddedPeriod(since=each.since, region=each.region, check=fingerprint(each.key))
            for each in plan.removed
        ]
        stay = [period for period in file.keys.periods if period not in plan.removed]
        file.replace(stay, [*file.keys.shredded, *gone])
        _check_no_copy(path.resolve(), plan.removed)
    return plan


def _check_no_copy(path: Path, removed: tuple[KeyPeriod, ...]) -> None:
    """Raise where a hidden file of this name, as editors and copies leave them, has such a key."""
    for beside in path.parent.glob(f".{path.name}*"):
        text = beside.read_bytes().lower() if beside.is_file() else b""
        if any(each.key.hex().encode() in text for each in removed):
            message = f"the keys are removed from {path}, and {beside} still has them: remove it"
            raise AffectstreamError(message)


def _check_no_rows(root: Root | None, keys: Keys, end: dt.datetime) -> None:
    if root is None or not is_noted(root):
        message = (
            "name the tables that runs have made under these keys by --tables: while they hold "
            "rows of a period its key stays; --yes-lose-links removes it all the same"
        )
        raise AffectstreamError(message)
    check_made_under(root, keys)
    for table in filter(_loses_links, TABLES.values()):
        if _has_rows_before(root, table, end):
            message = (
                f"{table.name} under {root} holds rows of before {end.isoformat()}: without their "
                "key an erasure does not find them; wait for their retention, or give "
                "--yes-lose-links"
            )
            raise AffectstreamError(message)


def _loses_links(table: Table) -> bool:
    """Tell whether rows are found by a period's key alone: the ledger's are by ``person_ref``."""
    return table.subject is not None and "person_ref" not in table.schema.names


def _has_rows_before(root: Root, table: Table, end: dt.datetime) -> bool:
    place = f"{root}/{table.name}"
    if not DeltaTable.is_deltatable(place):
        return False
    time = pc.field(table.lookup_column)
    # A window that ends as the next period begins is of the one before.
    before = time <= end if table.lookup_column == "window_end" else time < end
    rows = DeltaTable(place).to_pyarrow_dataset()
    # Not head(1): a scan that is given up leaves threads, which hung or aborted the command.
    return bool(rows.count_rows(filter=before & (pc.field(PARTITION) <= end.date())))


class _File:
    """A key file that no other writer changes meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path, self.keys = path.resolve(), read_keys(path)  # a link stays one

    def replace(
        self,
        periods: list[KeyPeriod],
        shredded: "list[ShreddedPeriod] | tuple[ShreddedPeriod, ...]",
    ) -> Keys:
        """Put a file with these periods in the place of this one, and return its keys."""
        keys = Keys.of(
            periods,
            persons=self.keys.person,
            tombstone=self.keys.tombstone,
            shredded=shredded,
        )
        owner, fresh = self._path.stat(), _fresh(self._path)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(yaml.safe_dump(_document(keys), sort_keys=False))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(self._path)  # or a crash may bring the old file back
        return keys


@contextmanager
def _change(path: Path) -> Iterator[_File]:
    """Wait for other writers, so that no key that one of them adds is lost.

    What a command that was killed has left beside the file holds keys, and is removed.
    """
    if provider_of(path) is not None:
        message = f"{path} is no file: rotate and shred its keys where the provider keeps them"
        raise AffectstreamError(message)
    read_keys(path)
    try:
        lock = _lock(path.resolve())
        try:
            if _fresh(path.resolve()).exists():
                _fresh(path.resolve()).unlink()
                _sync_folder(path.resolve())
            yield _File(path)
        finally:
            os.close(lock)
    except OSError as error:
        message = f"cannot change {path} ({error.strerror}): make its folder one you may write to"
        raise AffectstreamError(message) from error


def _lock(path: Path) -> int:
    """Return a lock on the key file, which nobody but its owner can open, and so hold.

    Who comes second finds another file in its place, and locks that.
    """
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except BlockingIOError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        time.sleep(0.02)
    message = (
        f"another command has been changing {path} for {_PATIENCE_S:.0f} s: wait for it or end "
        "it, and give this one again"
    )
    raise AffectstreamError(message)


def _fresh(path: Path) -> Path:
    """Return where a changed file is written before it takes the old one's place."""
    return path.with_name(f".{path.name}.new")


def _sync_folder(path: Path) -> None:
    handle = os.open(path.parent, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _document(keys: Keys) -> dict[str, object]:
    periods = [
        {"since": each.since.isoformat(), "key": each.key.hex()} | _region(each.region)
        for each in keys.periods
    ]
    shredded = [
        {"since": each.since.isoformat(), "check": each.check} | _region(each.region)
        for each in keys.shredded
    ]
    staying = {"persons": keys.person.hex(), "tombstone": keys.tombstone.hex()}
    return {"periods": periods, **staying, **({"shredded": shredded} if shredded else {})}


def _region(region: str | None) -> dict[str, str]:
    return {"region": region} if region else {}
