"""What counters that begin anew have grown by."""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Increases(Generic[Name]):
    """Turns readings of counters, which a restarted job begins at 0 again, into what they grew by.

    The counters of a job begin anew together: where one of them has gone back, all that is read
    has grown since. The first readings count in full. A counter that is absent, as all are while a
    job starts, keeps its last reading.
    """

    def __init__(self) -> None:
        self._last: dict[Name, int] = {}

    def since_last(self, readings: Mapping[Name, int]) -> dict[Name, int]:
        """Return by how much each counter grew since the readings before."""
        if any(value < self._last.get(name, 0) for name, value in readings.items()):
            self._last.clear()
        grown = {name: value - self._last.get(name, 0) for name, value in readings.items()}
        self._last |= readings
        return grown
