"""Media in files: regular ones alone, so that nothing is waited for."""

import os
import stat
from pathlib import Path
from typing import Final

from schemas.errors import DeadLetterCode
from transforms.fetching.failure import FetchError, check_size

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without O_NONBLOCK opening a FIFO waits for a writer; with O_NOFOLLOW a link that was put in the
place of the resolved file is an error."""


def read_file(path: Path, most: int) -> bytes:
    """Return the bytes of the file at a resolved path, as many as it says that it has.

    Raises:
        FetchError: it is a FIFO, device, socket or folder, or holds more than ``most`` bytes.
        OSError: it cannot be read, or is a link by now.
    """
    with os.fdopen(os.open(path, _FLAGS), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise FetchError(DeadLetterCode.MEDIA_UNREACHABLE, "it is no regular file")
        check_size(found.st_size, most)
        return file.read(found.st_size)
