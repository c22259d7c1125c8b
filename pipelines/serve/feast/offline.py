"""Feast's offline store over Delta tables: DuckDB reads the files that are live by the log."""

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

import ibis
import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from feast import FeatureView
from feast.data_source import DataSource
from feast.infra.offline_stores.ibis import (
    get_historical_features_ibis,
    pull_all_from_table_or_query_ibis,
    pull_latest_from_table_or_query_ibis,
)
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from pipelines.serve.feast.source import OFFLINE_STORE, TableSource, set_variables
from pipelines.serve.feast.versions import LANDED, row_versions
from schemas.errors import AffectstreamError
from schemas.tables import TABLES

_MAPPING = "delta.columnMapping.mode"


class DeltaOfflineStoreConfig(FeastConfigBaseModel):
    """Settings ``offline_store`` of feature_store.yaml.

    ``tables`` is the folder of the tables; where it is relative, to the feature repository.
    """

    type: StrictStr = OFFLINE_STORE
    tables: StrictStr

    _set = set_variables("tables")


class DeltaOfflineStore(OfflineStore):
    """Features of the rows that are live when a job is made. It only reads.

    A point-in-time join takes, of the windows that ended by the time asked for, the newest within
    the view's TTL. Of a window that was revised it sees the last revision, since that has replaced
    those before it in place; with ``filter_by_created_timestamp`` it sees the one that had landed
    by then, and no window that landed later.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        *,
        feature_views: list[FeatureView],
        entity_df: object,
        filter_by_created_timestamp: bool = False,
        **asked: Any,
    ) -> RetrievalJob:
        """Return a job that joins features to subjects or sessions and times, row for row.

        Raises:
            AffectstreamError: the entities are no data frame, or a table cannot be read.
        """
        if not isinstance(entity_df, pd.DataFrame):
            message = "the entities have to be a pandas data frame: this store runs no SQL for them"
            raise AffectstreamError(message)
        if filter_by_created_timestamp:
            feature_views = [_with_landing(view) for view in feature_views]
        return get_historical_features_ibis(
            config=config,
            feature_views=feature_views,
            entity_df=entity_df.copy(),  # Feast writes into it
            filter_by_created_timestamp=filter_by_created_timestamp,
            **asked,
            **_access(config, versions=filter_by_created_timestamp),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig, *source: Any, **asked: Any
    ) -> RetrievalJob:
        """Return a job that gives the newest row of each entity between two times."""
        return pull_latest_from_table_or_query_ibis(config, *source, **asked, **_access(config))

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig, *source: Any, **asked: Any
    ) -> RetrievalJob:
        """Return a job that gives all rows between two times, by which Feast materialises."""
        return pull_all_from_table_or_query_ibis(config, *source, **asked, **_access(config))


def _with_landing(view: FeatureView) -> FeatureView:
    """Return a view by whose source Feast compares the times of landing.

    The source itself does not name them: who pushes rows would have to give them.
    """
    view = copy(view)
    view.batch_source = copy(view.batch_source)
    view.batch_source.created_timestamp_column = LANDED
    return view


def _access(config: RepoConfig, *, versions: bool = False) -> dict[str, Any]:
    return {"data_source_reader": _reader(config, versions), "data_source_writer": _refuse_to_write}


def _reader(config: RepoConfig, versions: bool) -> Callable[[DataSource, str], ibis.Table]:
    """Return what reads a source: its live rows, or every version that these have had."""
    root = config.offline_store.tables
    if "://" in root:
        message = (
            f"{root} is an object store, for which DuckDB would download an extension: give "
            "`offline_store.tables` a folder, such as a copy of the tables"
        )
        raise AffectstreamError(message)
    folder = Path(config.repo_path or ".") / root

    def read(source: DataSource, _: str) -> ibis.Table:
        if not isinstance(source, TableSource):
            message = f"source {source.name} is no TableSource: only those are read here"
            raise AffectstreamError(message)
        table = _open(folder / source.table)
        rows = _live_rows(table, TABLES[source.table].schema)
        if versions:
            rows = row_versions(table, TABLES[source.table], rows)
        return rows.filter(rows["purpose"] == source.purpose)

    return read


def _open(place: Path) -> DeltaTable:
    """Open a table.

    Raises:
        AffectstreamError: it cannot be read, or not file by file.
    """
    try:
        table = DeltaTable(place)
        dropped = next(iter(table.deletion_vectors()), None)
    except (DeltaError, OSError) as error:
        reason = " ".join(str(error).split())
        message = f"table {place} cannot be read: {reason}; see `offline_store.tables`"
        raise AffectstreamError(message) from error
    if dropped is not None or table.metadata().configuration.get(_MAPPING, "none") != "none":
        message = (
            f"{place} has deletion vectors or mapped columns, so that its files alone are not its "
            "rows: rewrite it with Spark, by REORG TABLE … APPLY (PURGE)"
        )
        raise AffectstreamError(message)
    return table


def _live_rows(table: DeltaTable, schema: pa.Schema) -> ibis.Table:
    """Return the rows of a table's live files; a column that none of them has is null."""
    files = [unquote(uri) for uri in table.file_uris()]  # they are escaped as URIs are
    if not files:
        return ibis.memtable(schema.empty_table())
    rows = ibis.read_parquet(files, union_by_name=True, hive_partitioning=False)
    missing = [field for field in schema if field.name not in rows.columns]
    return rows.mutate(**{field.name: ibis.null(ibis.dtype(field.type)) for field in missing})


def _refuse_to_write(*_: object) -> NoReturn:
    message = "the tables are written by a stream or a replay alone; save the result as a file"
    raise AffectstreamError(message)
