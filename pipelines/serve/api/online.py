"""Lookups in the online store, which may be away when the server starts, or later."""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import datetime

from pipelines.access.roles import Purposes
from pipelines.serve.api.problems import Problem, ProblemError
from pipelines.serve.online import Entry, OnlineStore, StoreAwayError, newest
from pipelines.serve.stores import open_online
from schemas.errors import AffectstreamError
from schemas.settings import Online

_AGAIN_S = 1.0
"""A store that cannot be opened is tried again after this time, and refused at once until then."""
_MISSING = "the online store is not there: start `affectstream feed`"


class Lookups:
    """The newest rows of subjects; sqlite answers in 70 µs at once, redis in a thread."""

    def __init__(self, settings: Online, timeout_s: float, now: Callable[[], datetime]) -> None:
        self._settings, self._timeout_s, self._now = settings, timeout_s, now
        self._remote = "://" in settings.store
        self._store: OnlineStore | None = None
        self._file: tuple[int, int] | None = None
        self._failed_at = float("-inf")

    async def find(self, table: str, subject_ref: str, purposes: Purposes) -> Entry | None:
        """Return a subject's newest row of these purposes that has not expired, or None.

        Raises:
            ProblemError: the store does not answer.
        """
        if not self._remote:
            return self._find(table, subject_ref, purposes)
        asked = asyncio.to_thread(self._find, table, subject_ref, purposes)
        try:
            return await asyncio.wait_for(asked, self._timeout_s)
        except TimeoutError as error:
            raise ProblemError(Problem.STORE_AWAY) from error

    async def check(self) -> None:
        """Look whether the store answers; a file is opened anew, since it may be written over.

        Raises:
            ProblemError: it does not.
        """
        if not self._remote:
            self.close()
        await self.find("emotion_features", "0", None)

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _find(self, table: str, subject_ref: str, purposes: Purposes) -> Entry | None:
        if not self._remote:
            self._close_if_replaced()
        try:
            return newest(self._opened(), table, subject_ref, purposes, self._now)
        except StoreAwayError as error:
            if not self._remote:
                self.close()
            raise ProblemError(Problem.STORE_AWAY) from error

    def _close_if_replaced(self) -> None:
        """Let go of a file that was removed or made anew (a stat takes 1.5 µs of processor time).

        An open file that was removed would go on answering, with people who have been erased since.
        """
        try:
            status = os.stat(self._settings.store)
        except OSError as error:
            self.close()
            raise ProblemError(Problem.STORE_AWAY, _MISSING) from error
        file = status.st_dev, status.st_ino
        if file != self._file:
            self.close()
            self._file, self._failed_at = file, float("-inf")

    def _opened(self) -> OnlineStore:
        if self._store is None:
            if time.monotonic() - self._failed_at < _AGAIN_S:
                raise ProblemError(Problem.STORE_AWAY)
            try:
                self._store = open_online(self._settings)
            except AffectstreamError as error:
                self._failed_at = time.monotonic()
                raise ProblemError(Problem.STORE_AWAY) from error
        return self._store
