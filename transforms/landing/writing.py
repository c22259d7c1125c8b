"""Which tables a batch run writes to now: an erasure waits until it has ended."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.strict import is_locked, open_private
from schemas.table import Root

_LOCK = ".writing"


@contextmanager
def writing(root: Root) -> Iterator[None]:
    """Show for this block that a run writes to the tables; runs do not hinder each other.

    The kernel lets go of it however the process ends. Tables in an object store have no such lock.
    """
    if "://" in str(root):
        yield
        return
    with open_private(Path(root) / _LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def is_written(root: Root) -> bool:
    """Tell whether a replay or backfill writes to these tables now."""
    return is_locked(Path(root) / _LOCK, fcntl.LOCK_EX)
