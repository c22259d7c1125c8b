"""The sink that keeps the online store as new as the tables."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from pipelines.serve.follow import AwayError, Changes, Position
from pipelines.serve.online import COLUMNS, StoreAwayError, microseconds
from pipelines.serve.stores import open_online
from schemas.settings import Online

_PURGE_EACH_S = 600.0


class OnlineSink:
    """Takes in the newest row of each subject, and forgets the erased and the expired."""

    name = "online"
    tables: ClassVar[Mapping[str, Sequence[str]]] = COLUMNS

    def __init__(self, online: Online, now: Callable[[], datetime]) -> None:
        """Open the store.

        Raises:
            AwayError: it does not answer.
            AffectstreamError: it cannot be opened.
        """
        self._now, self._purged = now, 0.0
        self.expired = 0
        try:
            self._store = open_online(online)
        except StoreAwayError as error:
            raise AwayError(str(error)) from error

    def positions(self) -> dict[str, Position]:
        """Return how far each table was taken in."""
        try:
            return self._store.positions()
        except StoreAwayError as error:
            raise AwayError(str(error)) from error

    def write(self, changes: Changes) -> int:
        """Take in what is new and forget whom it says; return how many rows and people that was.

        Raises:
            AwayError: the store does not answer.
        """
        try:
            self._store.write(changes)
            if time.monotonic() - self._purged > _PURGE_EACH_S:
                self._purged = time.monotonic()
                self.expired += self._store.purge(microseconds(self._now()))
        except StoreAwayError as error:
            raise AwayError(str(error)) from error
        return changes.rows.num_rows + len(changes.erased)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()
