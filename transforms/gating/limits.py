"""How much of one subject is taken: the settings of ``LimitEvents``, without Beam."""

import math

from pydantic import Field

from schemas.settings import Number, Settings, Windows


class Limits(Settings):
    """How much of one subject is taken."""

    events_per_s: Number = Field(
        default=1_000.0,
        gt=0,
        le=1_000_000,
        description="How many events a second of one subject a window takes, on average over it "
        "or over one second where it is shorter; each of more is a dead letter",
    )

    def events(self, windows: Windows) -> int:
        """Return how many events of one subject a window takes."""
        return math.ceil(self.events_per_s * max(windows.length_s, 1.0))
