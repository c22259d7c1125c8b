"""Settings of the baselines: what is usual for a person, followed over days."""

from pydantic import Field

from schemas.settings import Count, Number, Settings

_DAY_S = 86_400


class Baselines(Settings):
    """How a person's baseline follows what they show, in event time."""

    half_life_s: Number = Field(
        default=_DAY_S,
        ge=60,
        le=30 * _DAY_S,
        description="Age at which a window counts half in the baseline, in seconds; one that is "
        "ten times as old counts no more, and a person who was away for so long begins anew",
    )
    trend_half_life_s: Number = Field(
        default=600,
        ge=1,
        le=30 * _DAY_S,
        description="The same of the recent mean, in seconds; its distance from the baseline "
        "is the trend",
    )
    least_windows: Count = Field(
        default=24,
        ge=1,
        le=100_000,
        description="Number of windows that must count before a baseline says anything",
    )
