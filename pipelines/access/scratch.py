"""The folder in which a query copies what its reader may see, gone when the query is over."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "affectstream-query-"
_YOUNG_S: Final = 60.0
"""A folder that was made so lately may be one that its process has not locked yet."""


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Make a folder that only its owner reads, and remove it and all that killed queries left.

    Each query locks its own, and a lock ends with its process: an unlocked folder is nobody's.
    """
    _remove_left_over()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            os.close(lock)


def _remove_left_over() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
        except OSError:  # another query was faster, or it is no folder
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # its query runs
            pass
        finally:
            os.close(lock)
