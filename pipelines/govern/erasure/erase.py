"""Erasure of persons from all that a deployment keeps: resumed after a kill, proven by bytes."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from deltalake import DeltaTable
from rich.console import Console
from rich.status import Status

from pipelines.config import Config
from pipelines.govern.archive import shred
from pipelines.govern.erasure.files import UNDER_WAY_S, drop_old_files
from pipelines.govern.erasure.people import Person, all_references, find_people
from pipelines.govern.erasure.proof import Proof, begin, note
from pipelines.govern.erasure.rows import LEDGER, delete_rows, find_rows, rows_by_id
from pipelines.govern.erasure.search import files_that_name, local_files_that_name
from pipelines.govern.erasure.sinks import behind, erase_online, store_files
from pipelines.govern.withdrawn import withdrawn_rows
from pipelines.live.state_folder import is_held
from pipelines.tables.query import standing
from schemas.errors import AffectstreamError
from schemas.keys import Keys
from transforms.landing.writing import is_written

_ALWAYS = datetime.max.replace(tzinfo=UTC)
_MOST_SHOWN = 5
_POLL_S = 0.5
_PAUSE_S = 5.0
_SLACK_S = 10.0
"""What commits, and some checkpoints, take beyond the event time that a job holds."""


@dataclass(frozen=True, slots=True)
class Request:
    """Whom to erase, and up to when; None: all that there is."""

    subject: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class How:
    """``given_up`` are sinks that nobody feeds any more; the others are given ``patience_s``.

    ``under_way_s`` is how long a file may be of a commit that is still under way.
    """

    given_up: Collection[str] = ()
    patience_s: float = 60.0
    under_way_s: float = UNDER_WAY_S


@dataclass(slots=True)
class _Erasure:
    """One run: whom it is about, and what it has found and deleted so far."""

    config: Config
    people: Sequence[Person]
    until: Mapping[str, int]
    proofs: dict[str, Proof]
    ids: set[str] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def wanted(self) -> set[str]:
        """What no file may hold.

        Whoever consented anew goes on under the same references: of them only rows are looked for.
        """
        whole = [person for person in self.people if person.tombstone not in self.until]
        return {*self.ids}.union(*(person.marks for person in whole))

    def delete(self, *, first: bool, ledger: bool = False) -> None:
        """Delete what stands, and note before how much it is.

        A run that was killed has noted what it was about to delete: the larger number counts.
        """
        root = self.config.tables
        found = find_rows(root, self.people, self.until, ledger=ledger)
        for stone, proof in self.proofs.items():
            counts = Counter({rows.table: rows.counts[stone] for rows in found})
            noted = Counter(proof.tables)
            tables = noted | counts if first else noted + counts
            self.proofs[stone] = replace(proof, tables=+tables)
        if found:
            note(root, list(self.proofs.values()))
        self.ids.update(*(rows.ids for rows in found))
        self.versions |= delete_rows(root, found)


def erase(
    config: Config,
    keys: Keys,
    requests: Sequence[Request],
    console: Console,
    how: How | None = None,
) -> list[Proof]:
    """Erase these persons and return the proofs, one for each.

    In this order: tombstones close the gate; rows are deleted, and once more when a running job has
    let go of what it held, and when replays and backfills have ended; feeds take the deletions, the
    vault loses the keys of what is archived, and the online store forgets; files and log entries of
    older versions are deleted; then every file is searched, and the consent ledger goes last: by it
    an erasure that was stopped finds again whom it was about. What was begun is gone on with where
    the same person is named again.

    Raises:
        AffectstreamError: something cannot be finished now, and what to do. The gate is closed to
            these persons all the same.
    """
    how = how or How()
    named = find_people(config, keys, [each.subject for each in requests])
    people = list({person.tombstone: person for person in named.values()}.values())
    with console.status("noting the erasure") as status:
        run = _Erasure(config, people, *_begin(config, named, requests))
        try:
            return _carry_out(run, keys, how, status)
        except AffectstreamError as error:
            message = (
                f"{error}; the erasure is begun and not completed: the gate is closed, so run the "
                "same command again"
            )
            raise AffectstreamError(message) from error


def _carry_out(run: _Erasure, keys: Keys, how: How, status: Status) -> list[Proof]:
    """Do all that follows the tombstones, and return the proofs."""
    config, people = run.config, run.people
    status.update("deleting rows")
    run.delete(first=True)
    if is_held(config.live.state):
        held_s = config.reach_s + 3 * config.live.checkpoint_s + _SLACK_S
        _wait(held_s, status, "a job runs, until it has let go of open windows")
        run.delete(first=False)
    if _wait_for_runs(run, how, status):
        run.delete(first=False)
    _wait_for_sinks(run, how, status)
    shred(config.archive.vault, keys.tombstone, all_references(people))
    erase_online(config, all_references(people))  # the newest rows of some come again
    files, places = _drop_and_search(run, how, status)
    run.delete(first=True, ledger=True)
    _wait_for_sinks(run, how, status)
    files += _drop_and_search(run, how, status, ledger=True)[0]
    if config.archive.vault is not None and config.archive.vault.exists():
        places.append(f"{config.archive.vault} (keys of the archive destroyed)")
    tables = standing(config.tables)
    versions = {name: DeltaTable(place).version() for name, place in tables.items()} | run.versions
    now = datetime.now(UTC)
    proofs = [
        replace(
            proof,
            completed_at=now,
            files_deleted=files,
            versions={name: version for name, version in versions.items() if name in proof.tables},
            places=places,
        )
        for proof in run.proofs.values()
    ]
    note(config.tables, proofs)
    return proofs


def erase_withdrawn(config: Config, console: Console, how: How | None = None) -> Counter[str]:
    """Delete what passed the gate after a withdrawal that was not known yet; count it by table.

    The persons stay: what they agreed to before it, or since, is kept. Feeds and store take it as
    they take an erasure, and learn of later windows anew.

    Raises:
        AffectstreamError: something cannot be finished now, and what to do.
    """
    how = how or How()
    found = [rows_by_id(name, ids) for name, ids in withdrawn_rows(config) if ids]
    with console.status("deleting rows") as status:
        run = _Erasure(config, (), {}, {}, set().union(*(rows.ids for rows in found)))
        run.versions |= delete_rows(config.tables, found)
        if found:
            _wait_for_sinks(run, how, status)
            _drop_and_search(run, how, status)
    return Counter({rows.table: len(rows.ids) for rows in found})


def _begin(
    config: Config, named: Mapping[str, Person], requests: Sequence[Request]
) -> tuple[dict[str, int], dict[str, Proof]]:
    """Write the tombstones; return up to when rows go, in µs, of whom that is limited, and proofs.

    A person who is named twice is erased up to the later time. The window that has it goes whole.
    """
    now = datetime.now(UTC)
    last: dict[str, datetime] = {}
    for request in requests:
        stone = named[request.subject].tombstone
        last[stone] = max(request.until or _ALWAYS, last.get(stone, request.until or _ALWAYS))
    limited = {stone: time for stone, time in last.items() if time is not _ALWAYS}
    proofs = begin(config.tables, dict.fromkeys(last, now) | limited)
    length_us = round(config.windows.length_s * 1_000_000)
    until = {
        stone: -(-round(time.timestamp() * 1_000_000) // length_us) * length_us
        for stone, time in limited.items()
    }
    return until, proofs


def _wait(seconds: float, status: Status, what: str) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        status.update(f"{what}: {left:.0f} s")
        time.sleep(min(_POLL_S, left))


def _wait_for_sinks(run: _Erasure, how: How, status: Status) -> None:
    """Give the sinks time to take the deletions: their change feed is deleted after that."""
    end = time.monotonic() + how.patience_s
    while late := behind(run.config, run.versions, how.given_up):
        if time.monotonic() > end:
            message = (
                f"{'; '.join(late)}: start `affectstream feed`, or `live --feed`; a sink that is "
                "no longer used is named with --given-up"
            )
            raise AffectstreamError(message)
        status.update(f"waiting for the feeds: {'; '.join(late)}")
        time.sleep(_POLL_S)


def _wait_for_runs(run: _Erasure, how: How, status: Status) -> bool:
    """Wait until replays and backfills have ended that may have begun before the tombstones.

    Return whether there was one.
    """
    end, waited = time.monotonic() + how.patience_s, False
    while is_written(run.config.tables):
        if time.monotonic() > end:
            message = (
                f"a replay or backfill writes to {run.config.tables}: wait until it has ended, or "
                "longer by --patience"
            )
            raise AffectstreamError(message)
        waited = True
        status.update("a replay or backfill writes to these tables, until it has ended")
        time.sleep(_POLL_S)
    return waited


def _drop_and_search(
    run: _Erasure, how: How, status: Status, *, ledger: bool = False
) -> tuple[int, list[str]]:
    """Delete old files until a search finds nothing; return how many, and what was searched.

    Of the ledger alone, or of all else.

    Raises:
        AffectstreamError: some still name a person, and waiting would not change it.
    """
    config = run.config
    beside = [place for place in (config.live.state, *store_files(config)) if place.exists()]
    places = {
        name: place for name, place in standing(config.tables).items() if (name == LEDGER) == ledger
    }
    files, end = 0, time.monotonic() + how.under_way_s + _SLACK_S
    while True:
        status.update("deleting files and log entries of older versions")
        for place in places.values():
            files += drop_old_files(place, run.wanted, how.under_way_s)
        status.update("looking for what is left")
        within = [] if ledger else [f"{config.tables}/{LEDGER}"]
        left = files_that_name(places[LEDGER] if ledger else config.tables, run.wanted, but=within)
        outside = local_files_that_name(beside, run.wanted)
        if not left and not outside:
            return files, [str(config.tables), *map(str, beside)]
        changing = is_held(config.live.state) or not outside
        if not changing or time.monotonic() > end:
            raise AffectstreamError(_left_over([*left, *outside]))
        _wait(_PAUSE_S, status, f"{len(left) + len(outside)} files may be of a commit under way")


def _left_over(files: Sequence[str]) -> str:
    shown = ", ".join(files[:_MOST_SHOWN])
    more = f" and {len(files) - _MOST_SHOWN} more" if len(files) > _MOST_SHOWN else ""
    return (
        f"rows are deleted, but {shown}{more} still name the person: checkpoints change while the "
        "job runs (start it, or delete the state of a job that will not go on)"
    )
