"""The maintenance of tables by Spark."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from deltalake import DeltaTable
from pyspark.sql import SparkSession

from pipelines.spark.commits import commit_as, lost_races, place_of
from pipelines.tables.changes import RETENTION
from schemas.table import PARTITION

_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"


@dataclass(frozen=True, slots=True)
class SparkEngine:
    """The engine for tables that one process cannot rewrite."""

    session: SparkSession

    def compact(self, table: DeltaTable, day: dt.date) -> None:
        self._run(f"OPTIMIZE {place_of(table)} WHERE {_day(day)}")

    def sort(self, table: DeltaTable, day: dt.date, columns: Sequence[str]) -> None:
        names = ", ".join(columns)
        self._run(f"OPTIMIZE {place_of(table)} WHERE {_day(day)} ZORDER BY ({names})")

    def delete(self, table: DeltaTable, expired: str) -> None:
        with commit_as(self.session, RETENTION):
            self._run(f"DELETE FROM {place_of(table)} WHERE {expired}")

    def vacuum(self, table: DeltaTable, keep_hours: int) -> None:
        self.session.conf.set(_CHECK, "false")  # which refuses less than a week
        self._run(f"VACUUM {place_of(table)} RETAIN {keep_hours} HOURS")

    def _run(self, statement: str) -> None:
        with lost_races():
            self.session.sql(statement).collect()


def _day(day: dt.date) -> str:
    return f"{PARTITION} = DATE '{day}'"
