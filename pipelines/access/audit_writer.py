"""Writes the audit log beside a server, so that no answer waits for the disk."""

import logging
import threading
from collections import deque

from pipelines.access.audit import AuditLog, Entry
from schemas.errors import AffectstreamError

_EVERY_S = 0.05
"""Entries of so long are written at once: as much may be lost when the process is killed."""
_AGAIN_S = 1.0
_LOG = logging.getLogger(__name__)


class AuditWriter:
    """Takes entries in a microsecond, and writes them in a thread.

    While they cannot be written, ``ready`` is false: a server refuses what it would have to log,
    and what it had answered by then is written when there is room again.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._waiting: deque[Entry] = deque()
        self._closed = threading.Event()
        self.ready = True
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Take an entry."""
        self._waiting.append(entry)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._closed.set()
        self._thread.join(5)

    def _work(self) -> None:
        try:
            while not self._closed.wait(_EVERY_S if self.ready else _AGAIN_S):
                self._write()
            self._write()
        finally:
            self.ready = False

    def _write(self) -> None:
        """Write what waits; what comes meanwhile stays for the next time."""
        batch = list(self._waiting)
        if not batch and self.ready:
            return
        try:
            if batch:
                self._log.append(batch)
        except AffectstreamError as error:
            if self.ready:
                _LOG.error("%s", error)
            self.ready = False
            return
        for _ in batch:
            self._waiting.popleft()
        self.ready = True
