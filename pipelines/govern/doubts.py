"""What a configuration allows that its deployer may decide, and should have decided knowingly."""

import datetime as dt
from collections.abc import Iterator
from typing import Final

from pipelines.config import Config
from transforms.gating.doubts import doubts
from transforms.gating.policy import read_policy

_LONG: Final = dt.timedelta(days=730)
"""An exception for a model that runs longer has outlived the measurement that it waits for."""
_WIDE: Final = 0.2
"""Twice the gap that is allowed unless a deployer says otherwise."""


def configuration_doubts(config: Config, day: dt.date) -> Iterator[str]:
    """Yield a sentence for each protection that is left out on a day.

    Raises:
        AffectstreamError: the policy cannot be read.
    """
    yield from doubts(read_policy(config.policy, config.scenarios, config.evidence), day)
    for name, exception in config.models.exceptions.items():
        if exception.until > day + _LONG:
            yield (
                f"`models.exceptions.{name}` lets a model run until {exception.until}, though its "
                "gaps between groups are not shown to be small: measure them, or end it earlier"
            )
    if config.models.max_gap > _WIDE:
        yield (
            f"`models.max_gap` is {config.models.max_gap:g}: a model may serve one group that much "
            "worse than another"
        )
