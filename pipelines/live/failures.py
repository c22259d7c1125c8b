"""When a job that ended by itself is not started again: what is an error, and what a kill."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.errors import AffectstreamError

_WITHIN_S = 3600.0
"""A start that ends by the slowest rule, not running after 300 s, is seen 4 times in 20 minutes."""
_KILLS = 20
"""As many kills as errors of ``live.tries`` each are endured: 60 an hour. Whatever ends a job at
once and again gets on to three times that."""
_FOUND = 2
"""As many times ``live.tries`` ends in which a record was found that kills workers are endured.
Each takes seven deaths, since Flink endures six; a program that dies of every record ends so."""


@dataclass(slots=True)
class Failures:
    """The ends of a job that nobody asked for.

    An error comes again however far the job gets in between: one table that cannot be written, or
    one record, ends it while all else lands. A kill from outside says nothing about the next start,
    unless starts in a row come to nothing; nor does an end in which a record was found that kills
    workers, since the next start does not take it.
    """

    tries: int
    clock: Callable[[], float] = time.monotonic
    in_a_row: int = 0
    _errors: list[float] = field(default_factory=list)
    _all: list[float] = field(default_factory=list)
    _found: list[float] = field(default_factory=list)

    def add(self, reason: str, *, killed: bool, of_use: bool, found: bool = False) -> None:
        """Count an end; ``of_use``: the start had got on before it; ``found``: a record that kills.

        Raises:
            AffectstreamError: the job is not to be started again.
        """
        now = self.clock()
        self.in_a_row = 1 if of_use else self.in_a_row + 1
        self._all = [*_recent(self._all, now), now]
        self._errors = _recent(self._errors, now) + ([] if killed or found else [now])
        self._found = _recent(self._found, now) + ([now] if found else [])
        told = None
        if self.in_a_row > self.tries:
            told = f"failed {self.in_a_row} times in a row"
        elif len(self._errors) > self.tries:
            told = f"failed {len(self._errors)} times within an hour"
        elif len(self._found) > self.tries * _FOUND:
            told = f"ended {len(self._found)} times within an hour by records that kill workers"
        elif len(self._all) > self.tries * _KILLS:
            told = f"was killed or failed {len(self._all)} times within an hour"
        if told:
            message = f"the job {told}, at last with: {reason}"
            raise AffectstreamError(message)

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        return min(30.0, 0.5 * 2 ** max(0, self.in_a_row - 1))


def _recent(times: list[float], now: float) -> list[float]:
    return [time for time in times if now - time <= _WITHIN_S]
