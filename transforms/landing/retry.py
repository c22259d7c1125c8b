"""Commits beside other writers: whoever was slower looks at the table again and tries again."""

import time
from collections.abc import Callable
from typing import TypeVar

from deltalake.exceptions import CommitFailedError

from schemas.errors import AffectstreamError

Done = TypeVar("Done")
_TRIES = 30


def retry_commit(
    commit: Callable[[], Done], place: str, what: str, refresh: Callable[[], object] | None = None
) -> Done:
    """Call ``commit`` until no other writer was first, with ``refresh`` before each next try.

    ``what`` is the plural of what is tried. The waits grow by 20 ms.

    Raises:
        AffectstreamError: other writers were first 30 times in a row.
    """
    for attempt in range(_TRIES):
        try:
            return commit()
        except CommitFailedError:
            time.sleep(0.02 * (attempt + 1))
            if refresh is not None:
                refresh()
    message = f"{place}: {_TRIES} {what} in a row lost to other writers"
    raise AffectstreamError(message)
