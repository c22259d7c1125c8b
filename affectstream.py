"""Expression estimates from the event logs of virtual worlds, for notebooks and scripts.

    config = affectstream.load_config("config.yaml", log="session/log")
    affectstream.replay(config)
    affectstream.query(config.tables, "SELECT * FROM latest")
    affectstream.describe("latest", config.tables)

``query`` returns a pandas frame, ``describe`` says what columns mean, ``tables`` are the Delta
tables under a root by name, ``schemas`` their Arrow schemas and ``views`` those of the views. Only
``replay`` loads Beam and torch.
"""

from types import MappingProxyType
from typing import TYPE_CHECKING

from pipelines.config import Config, load_config
from pipelines.tables.analyst_views import VIEWS
from pipelines.tables.query import open_tables as tables
from pipelines.tables.query import query_pandas as query
from schemas.errors import AffectstreamError
from schemas.table import Root
from schemas.tables import TABLES

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.run.replay import ReplayResult

__all__ = [
    "AffectstreamError",
    "Config",
    "describe",
    "load_config",
    "query",
    "replay",
    "schemas",
    "tables",
    "views",
]

schemas = MappingProxyType({name: table.schema for name, table in TABLES.items()})
views = MappingProxyType({name: view.schema for name, view in VIEWS.items()})


def describe(name: str | None = None, root: Root | None = None) -> "pd.DataFrame":
    """Return what a table's or view's columns mean: type, unit, range and, with a root, an example.

    Without a name it returns all tables and views, with what they hold. Raises AffectstreamError
    where there is no table or view of that name.
    """
    import pandas as pd

    from pipelines.tables.dictionary import describe as entries

    found = entries(name, root)
    if name is not None:
        return pd.DataFrame(found[0].columns)
    rows = [(entry.name, entry.kind, entry.description) for entry in found]
    return pd.DataFrame(rows, columns=["name", "kind", "description"])


def replay(config: Config) -> "ReplayResult":
    """Run a recorded log through the graph into the tables, with a progress bar on stderr.

    A second run of the same log adds no row. Raises AffectstreamError where the log, the tables or
    a setting cannot be used, before anything is written.
    """
    from rich.console import Console

    from pipelines.run.replay import replay as run

    return run(config, Console(stderr=True))
