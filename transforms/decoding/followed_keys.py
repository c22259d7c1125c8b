"""Keys that are followed: a period that is added to the file counts without a restart."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from schemas.errors import AffectstreamError
from schemas.keys import Keys, comes_after, fingerprint, read_keys

Made = TypeVar("Made")
_LOG = logging.getLogger(__name__)
_CHECK_EVERY_S: Final = 1.0


class FollowedKeys(Generic[Made]):
    """What is made of the keys, made anew within a second after a file of them was replaced.

    Keys that lack one of those at hand are not taken, nor such with a period that does not come
    after those, nor a file that cannot be read: the stream
    goes on with those it has, and the next start says what is wrong. Keys of a provider stay.
    """

    def __init__(self, path: Path, make: Callable[[Keys], Made]) -> None:
        self._path, self._make = path, make
        self._stamp = _stamp(path)
        self._keys = read_keys(path)
        self._made = make(self._keys)
        self._looked = time.monotonic()

    def newest(self) -> Made:
        """Return what was made of the newest keys that can be used."""
        if time.monotonic() - self._looked >= _CHECK_EVERY_S:
            self._looked = time.monotonic()
            if (stamp := _stamp(self._path)) != self._stamp:
                self._stamp = stamp
                self._take()
        return self._made

    def _take(self) -> None:
        try:
            keys = read_keys(self._path)
        except AffectstreamError as error:
            _LOG.error("the keys stay as they are: %s", error)
            return
        if not _go_on_from(self._keys, keys):
            _LOG.error(
                "the keys stay as they are: %s lacks some of them, or has a period before others",
                self._path,
            )
            return
        self._keys, self._made = keys, self._make(keys)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _go_on_from(before: Keys, after: Keys) -> bool:
    """Tell whether all that was keyed before stays as it is; shredded keys may be gone."""
    begins = [(each.since, each.region) for each in (*before.periods, *before.shredded)]
    added = set(after.periods) - set(before.periods)
    if not all(comes_after(each.since, each.region, begins) for each in added):
        return False
    removed = {(each.since, each.region, each.check) for each in after.shredded}
    lost = set(before.periods) - set(after.periods)
    return (before.person, before.tombstone) == (after.person, after.tombstone) and all(
        (each.since, each.region, fingerprint(each.key)) in removed for each in lost
    )
