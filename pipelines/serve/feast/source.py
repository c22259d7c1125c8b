"""What a Feast view is made of: the rows of one table that were made for one purpose."""

import json
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import pyarrow as pa
from feast import Field, ValueType
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import RepoConfig
from feast.type_map import pa_to_feast_value_type
from feast.types import Array, Bool, FeastType, Float32, Int32, String, UnixTimestamp
from pydantic import field_validator

from schemas.errors import AffectstreamError
from schemas.table import PARTITION
from schemas.tables import TABLES

OFFLINE_STORE = "pipelines.serve.feast.offline.DeltaOfflineStore"
TIME = "window_end"
"""The event timestamp: an estimate is of a whole window, and was not known before its end."""
_CLASS = "pipelines.serve.feast.source.TableSource"
_TYPES: dict[pa.DataType, FeastType] = {
    pa.string(): String,
    pa.int32(): Int32,
    pa.float32(): Float32,
    pa.bool_(): Bool,
}


class TableSource(FileSource):
    """Rows of a table for one purpose; where the tables stand, the offline store knows.

    It is a file source so that Feast's own stores for files get as far as asking for the file,
    which they are refused. Dask and file read every file of the folder, also those that the log of
    the table has dropped, so that an erased person comes back; duckdb downloads an extension.
    """

    def __init__(self, *, table: str, purpose: str, name: str = "") -> None:
        """Name the table and the purpose.

        Raises:
            AffectstreamError: the table has no rows of windows and subjects.
        """
        known = TABLES.get(table)
        if known is None or not {TIME, "purpose"} <= set(known.schema.names):
            able = [t.name for t in TABLES.values() if {TIME, "purpose"} <= set(t.schema.names)]
            message = f"{table!r} has no features: choose one of {', '.join(able)}"
            raise AffectstreamError(message)
        self.table, self.purpose = table, purpose
        DataSource.__init__(
            self,
            name=name or f"{table}_{purpose}",
            timestamp_field=TIME,
            description=f"{known.description}, for {purpose}",
            owner=known.owner,
            tags={"table": table, "purpose": purpose},
        )

    @property
    def file_options(self) -> NoReturn:
        """Refuse Feast's own stores for files."""
        message = (
            f"{self.table} is a Delta table: Feast's dask, file and duckdb stores would read files "
            "that its log has dropped (an erased person comes back) or download an extension; set "
            f"`offline_store.type: {OFFLINE_STORE}` in feature_store.yaml"
        )
        raise AffectstreamError(message)

    def validate(self, config: RepoConfig) -> None:
        """Refuse another offline store, as `feast apply` and `feast plan` ask for.

        Raises:
            AffectstreamError: the repository has another offline store.
        """
        if config.offline_store.type != OFFLINE_STORE:
            _ = self.file_options

    def source_type(self) -> Any:
        return DataSourceProto.CUSTOM_SOURCE

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableSource) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, str]:
        return self.name, self.table, self.purpose

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> "TableSource":
        options = json.loads(data_source.custom_options.configuration)
        return TableSource(name=data_source.name, **options)

    def _to_proto_impl(self) -> DataSourceProto:
        options = json.dumps({"table": self.table, "purpose": self.purpose}).encode()
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=options),
            timestamp_field=self.timestamp_field,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        return pa_to_feast_value_type

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        return [(field.name, str(field.type)) for field in TABLES[self.table].schema]


def set_variables(*names: str) -> Any:
    """Return a check of settings: Feast leaves a variable that is not set as it is written."""

    def check(given: str) -> str:
        if "$" in given:
            message = f"{given} is not set: set that environment variable"
            raise ValueError(message)
        return given

    return field_validator(*names)(check)


def fields(table: str) -> list[Field]:
    """Return the columns of a table as Feast's fields, described as its schema describes them."""
    return [
        Field(name=f.name, dtype=_feast_type(f.type), description=f.metadata[b"doc"].decode())
        for f in TABLES[table].schema
        if f.name not in (TIME, PARTITION)
    ]


def _feast_type(kind: pa.DataType) -> FeastType:
    if pa.types.is_timestamp(kind):
        return UnixTimestamp  # whole seconds, as Feast holds times
    return Array(_TYPES[kind.value_type]) if pa.types.is_fixed_size_list(kind) else _TYPES[kind]
