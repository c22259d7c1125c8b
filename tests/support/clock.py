"""A clock that a test advances by hand."""


class Clock:
    """Seconds that pass only when a test adds to ``now``."""

    now = 0.0

    def __call__(self) -> float:
        return self.now
