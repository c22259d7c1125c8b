"""What scenes showed, in Spark: ``python -m examples.query_spark TABLES`` (after ``make spark``).

For tables past one machine. Spark reads the table's log, so rows that were replaced or erased
are gone; it knows none of the views.
"""

import sys
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from pipelines.spark.session import spark_session
from schemas.vocabularies import EXPRESSIONS


def scene_mood(session: SparkSession, tables: Path) -> DataFrame:
    """Return the windows, mean valence and probability of joy by scene and hour (UTC)."""
    features = session.read.format("delta").load(f"{tables.resolve()}/emotion_features")
    features.createOrReplaceTempView("features")
    return session.sql(
        f"""
        SELECT scene_id, date_trunc('HOUR', window_start) AS hour, count(*) AS windows,
          avg(valence) AS valence, avg(scores[{EXPRESSIONS.index("joy")}]) AS p_joy
        FROM features WHERE NOT abstained
        GROUP BY scene_id, date_trunc('HOUR', window_start) ORDER BY scene_id, hour
        """
    )


def changes_since(session: SparkSession, tables: Path, version: int) -> DataFrame:
    """Return what changed in emotion_features after a version, which must not be the newest."""
    reader = session.read.format("delta").option("readChangeFeed", "true")
    reader = reader.option("startingVersion", version + 1)
    changes = reader.load(f"{tables.resolve()}/emotion_features")
    return changes.select("window_id", "revision", "_change_type", "_commit_version")


if __name__ == "__main__":
    with spark_session() as spark:
        scene_mood(spark, Path(sys.argv[1])).show(truncate=False)
