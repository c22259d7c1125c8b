"""Settings of decoding: what a source's events do not say themselves."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from schemas.settings import Settings

Unit = Literal["fraction", "percent", "byte", "signed"]
"""Of weights: 0 to 1, 0 to 100, 0 to 255, or -1 to 1 with -1 at rest."""


class Motion(Settings):
    """Motion events of devices that do not say in what unit they measure."""

    units: Mapping[str, Unit] = Field(
        default_factory=dict,
        description="CloudEvents source → unit of its weights, where its events have no `unit`: "
        "`fraction`, `percent`, `byte` or `signed` (-1 to 1)",
    )
