"""Feast's online store over the guarded one, which the feed fills and an erasure reaches."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from feast import Entity, FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.value_type import ValueType
from pydantic import StrictStr

from pipelines.serve.feast.source import TIME, TableSource, set_variables
from pipelines.serve.follow import Changes, Position
from pipelines.serve.online import COLUMNS, Entry, entries, microseconds
from pipelines.serve.online import OnlineStore as Store
from pipelines.serve.stores import open_online
from schemas.errors import AffectstreamError
from schemas.settings import Online
from schemas.tables import TABLES

_SUBJECT = "subject_ref"


class GuardedOnlineStoreConfig(FeastConfigBaseModel):
    """Settings ``online_store`` of feature_store.yaml: those of ``online`` in the configuration."""

    type: StrictStr = "pipelines.serve.feast.online.GuardedOnlineStore"
    store: StrictStr
    password_file: Path | None = None
    ttl_s: float = Online().ttl_s

    _set = set_variables("store")


class GuardedOnlineStore(OnlineStore):
    """The latest row of each subject and purpose, which an older row never replaces.

    Rows are held as the feed holds them, so that it, the API and Feast answer alike, and one
    erasure is enough. What has outlived its own expiry or the view's TTL is not found.
    """

    _store: Store | None = None

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Take in rows whose ``(window_end, revision)`` has grown; leave out the others."""
        source = _source(table)
        rows = [
            {name: feast_value_type_to_python_type(value) for name, value in values.items()}
            | {_SUBJECT: key.entity_values[0].string_val, TIME: _in_utc(time)}
            for key, values, time, _ in data
        ]
        schema = pa.schema([TABLES[source.table].schema.field(n) for n in COLUMNS[source.table]])
        found = pa.Table.from_pylist(rows, schema=schema)
        news = Changes(source.table, found, (), Position("", 0))
        self._opened(config).take(entries(news, config.online_store.ttl_s))
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Return each subject's newest row for the view's purpose, (None, None) for no row."""
        source, store = _source(table), self._opened(config)
        now = microseconds(datetime.now(UTC))
        least = now - round(table.ttl.total_seconds() * 1_000_000) if table.ttl else None
        types = {
            field.name: field.dtype.to_value_type()
            for field in table.features
            if requested_features is None or field.name in requested_features
        }

        def one(key: EntityKey) -> tuple[datetime | None, dict[str, Value] | None]:
            for entry in store.find(source.table, key.entity_values[0].string_val):
                stale = entry.expires <= now or (least is not None and entry.window_end < least)
                if entry.purpose == source.purpose and not stale:
                    end = datetime.fromtimestamp(entry.window_end / 1_000_000, UTC)
                    return end, dict(_values(entry, types))
            return None, None

        return [one(key) for key in entity_keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Check that the views can be served; the store itself belongs to the feed.

        Raises:
            AffectstreamError: a view that is to be served online is not one of subjects.
        """
        for view in tables_to_keep:
            if view.online:
                _source(view)

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Leave the store as it is: the feed and the API work with it too."""

    def _opened(self, config: RepoConfig) -> Store:
        if self._store is None:
            given = config.online_store.model_dump(exclude={"type"})
            self._store = open_online(Online(**given))
        return self._store


def _source(view: FeatureView) -> TableSource:
    source = view.batch_source
    keys = [column.name for column in view.entity_columns]
    if not isinstance(source, TableSource) or keys != [_SUBJECT]:
        message = (
            f"view {view.name} cannot be served online: the store knows the tables' rows by "
            f"{_SUBJECT} alone; give it online=False"
        )
        raise AffectstreamError(message)
    return source


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _values(entry: Entry, types: dict[str, ValueType]) -> Iterator[tuple[str, Value]]:
    row = msgspec.json.decode(entry.row)
    for name, kind in types.items():
        value = row.get(name)
        if value is not None and kind == ValueType.UNIX_TIMESTAMP:
            value = datetime.fromisoformat(value)
        yield name, python_values_to_proto_values([value], kind)[0]
