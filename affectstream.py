"""Expression estimates from the event logs of virtual worlds, for notebooks and scripts.

    config = affectstream.load_config("config.yaml", log="session/log")
    affectstream.replay(config)
    affectstream.query(config.tables, "SELECT * FROM expression_decisions")

``query`` returns a pandas frame, ``tables`` the Delta tables under a root by name, and ``schemas``
has their Arrow schemas. Only ``replay`` loads Beam and torch.
"""

from types import MappingProxyType
from typing import TYPE_CHECKING

from pipelines.config import Config, load_config
from pipelines.tables.query import open_tables as tables
from pipelines.tables.query import query_pandas as query
from schemas.errors import AffectstreamError
from schemas.tables import TABLES

if TYPE_CHECKING:
    from pipelines.run.replay import ReplayResult

__all__ = ["AffectstreamError", "Config", "load_config", "query", "replay", "schemas", "tables"]

schemas = MappingProxyType({name: table.schema for name, table in TABLES.items()})


def replay(config: Config) -> "ReplayResult":
    """Run a recorded log through the graph into the tables, with a progress bar on stderr.

    A second run of the same log adds no row. Raises AffectstreamError where the log, the tables or
    a setting cannot be used, before anything is written.
    """
    from rich.console import Console

    from pipelines.run.replay import replay as run

    return run(config, Console(stderr=True))
