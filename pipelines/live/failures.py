"""When a job that ended by itself is not started again: what is an error, and what a kill."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.errors import AffectstreamError

_WITHIN_S = 3600.0
"""A start that ends by the slowest rule, not running after 300 s, is seen 4 times in 20 minutes."""
_KILLS = 20
"""Kills that are endured within an hour, as a multiple of ``live.tries``: 60 by default. Whatever
ends each start at once gets to three times that."""
_POISONED = 2
"""Ends by a record that kills workers that are endured, as a multiple of ``live.tries``. Each takes
seven deaths, since Flink endures six; a program that dies of every record gets there."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a start of the job ended that nobody asked to end.

    ``killed``: from outside, by no error of its own. ``advanced``: the start had got on before.
    ``poisoned``: a record that kills workers was found, which the next start does not take.
    """

    reason: str
    killed: bool = False
    advanced: bool = False
    poisoned: bool = False


@dataclass(slots=True)
class Failures:
    """The ends of a job that nobody asked for.

    An error comes back however far the job gets in between: one table that cannot be written, or
    one record, ends it while all else lands. A kill from outside says nothing about the next start,
    unless several starts in a row achieve nothing; nor does an end in which a record was found that
    kills workers, since the next start leaves it out.
    """

    tries: int
    clock: Callable[[], float] = time.monotonic
    in_a_row: int = 0
    _errors: list[float] = field(default_factory=list)
    _all: list[float] = field(default_factory=list)
    _poisoned: list[float] = field(default_factory=list)

    def add(self, ending: Ending) -> None:
        """Count an end.

        Raises:
            AffectstreamError: the job is not to be started again.
        """
        now = self.clock()
        error = not (ending.killed or ending.poisoned)
        self.in_a_row = 1 if ending.advanced else self.in_a_row + 1
        self._all = [*_recent(self._all, now), now]
        self._errors = _recent(self._errors, now) + [now] * error
        self._poisoned = _recent(self._poisoned, now) + [now] * ending.poisoned
        if (verdict := self._too_many()) is not None:
            message = f"the job {verdict}, at last with: {ending.reason}"
            raise AffectstreamError(message)

    def _too_many(self) -> str | None:
        if self.in_a_row > self.tries:
            return f"failed {self.in_a_row} times in a row"
        if len(self._errors) > self.tries:
            return f"failed {len(self._errors)} times within an hour"
        if len(self._poisoned) > self.tries * _POISONED:
            return f"ended {len(self._poisoned)} times within an hour by records that kill workers"
        if len(self._all) > self.tries * _KILLS:
            return f"was killed or failed {len(self._all)} times within an hour"
        return None

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        return min(30.0, 0.5 * 2 ** max(0, self.in_a_row - 1))


def _recent(times: list[float], now: float) -> list[float]:
    return [time for time in times if now - time <= _WITHIN_S]
