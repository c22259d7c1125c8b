"""Merge what reviewers decided into the review queue, on Spark.

    python examples/corrected_labels.py build/demo/tables corrections.csv

The CSV file has the columns ``review_id``, ``reviewer_decision`` and ``reviewed_by``; ids that the
queue does not have are left out, and so is what another reviewer has decided. The stream never
writes to a row that stands: what a person decided stays. Name the expression that was shown: a bare
``confirmed`` does not say which, and ``affectstream review export`` leaves it out.
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

from pipelines.spark.session import spark_session


def merge_corrections(session: SparkSession, tables: Path, corrections: Path) -> int:
    """Write the decisions of this CSV file into ``review_queue``; return how many that were."""
    given = session.read.csv(str(corrections), header=True)
    given.dropDuplicates(["review_id"]).createOrReplaceTempView("corrections")
    (done,) = session.sql(
        f"""
        MERGE INTO delta.`{(tables / "review_queue").resolve()}` AS queue
        USING corrections ON queue.review_id = corrections.review_id
        WHEN MATCHED AND (queue.reviewed_by IS NULL OR queue.reviewed_by = corrections.reviewed_by)
        THEN UPDATE SET reviewer_decision = corrections.reviewer_decision,
            reviewed_by = corrections.reviewed_by, reviewed_at = current_timestamp(),
            reviewed_expression = NULL
        """
    ).collect()
    return int(done["num_updated_rows"])


if __name__ == "__main__":
    with spark_session() as spark:
        count = merge_corrections(spark, Path(sys.argv[1]), Path(sys.argv[2]))
        print(f"{count} decisions of reviewers are in the queue")
