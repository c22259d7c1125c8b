"""What counters that begin anew have grown by."""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Increases(Generic[Name]):
    """Turns readings of counters, which a restarted job begins at 0 again, into what they grew by.

    A reading below the one before is of a counter that began anew, so all of it is growth. The
    first reading counts in full. A counter that is absent, as all are while a job starts, keeps its
    last reading.
    """

    def __init__(self) -> None:
        self._last: dict[Name, int] = {}

    def since_last(self, readings: Mapping[Name, int]) -> dict[Name, int]:
        """Return by how much each counter grew since the readings before."""
        grown = {}
        for name, value in readings.items():
            before = self._last.get(name, 0)
            grown[name] = value - before if value >= before else value
        self._last |= readings
        return grown
