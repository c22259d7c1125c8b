"""Commits by Spark: why they were made, and races that they lost."""

from collections.abc import Iterator
from contextlib import contextmanager

from delta.exceptions import DeltaConcurrentModificationException
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from pyspark.sql import SparkSession

from pipelines.tables.changes import spark_reason

_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


@contextmanager
def commit_as(session: SparkSession, reason: str) -> Iterator[None]:
    """Let the commits in this block say why they were made."""
    session.conf.set(_METADATA, spark_reason(reason))
    try:
        yield
    finally:
        session.conf.unset(_METADATA)


@contextmanager
def lost_races() -> Iterator[None]:
    """Raise CommitFailedError, as deltalake does, where another writer was first."""
    try:
        yield
    except DeltaConcurrentModificationException as error:
        raise CommitFailedError(str(error)) from error


def folder_of(table: DeltaTable) -> str:
    """Return the folder of a table."""
    return str(table.table_uri).removeprefix("file://").rstrip("/")


def place_of(table: DeltaTable) -> str:
    """Return a table's name in Spark's SQL."""
    return f"delta.`{folder_of(table)}`"
