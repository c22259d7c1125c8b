"""Settings of the clocks that events are timed by."""

from pydantic import Field

from schemas.settings import Number, Settings

_YEAR_S = 365 * 86_400


class Clocks(Settings):
    """How far an event's time may lie behind its record's."""

    behind_s: Number = Field(
        default=0,
        ge=0,
        le=100 * _YEAR_S,
        description="By how many seconds the record's time may be later than the event's, else it "
        "is a dead letter; 0 for any: what waited offline is old, and right",
    )
