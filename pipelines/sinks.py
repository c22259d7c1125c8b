"""Sinks: where the rows of a table go. One entry here is one sink."""

from collections.abc import Callable

import apache_beam as beam

from pipelines.config import Config
from schemas.stages import landing_stage
from schemas.table import Table
from transforms.land import LandTable

Sink = Callable[[Table, Config], beam.PTransform | None]
"""Makes the transform that takes a table's rows, None where this sink has none of that table."""


def delta(table: Table, config: Config) -> beam.PTransform:
    """Land every table under the configured root."""
    collect_s = 0 if table.awaited else config.live.commit_s
    land = LandTable(
        root=config.tables, table=table.name, reach_s=config.reach_s, collect_s=collect_s
    )
    return landing_stage(table.name) >> land


SINKS: tuple[Sink, ...] = (delta,)


def sinks_for(table: Table, config: Config) -> list[beam.PTransform]:
    """Return the transforms that take the rows of a table."""
    made = [sink(table, config) for sink in SINKS]
    return [transform for transform in made if transform is not None]
