"""Delta Lake's jars for Spark here: ``python -m infra.spark.spark_jars``.

``affectstream maintain --engine spark`` and ``affectstream backfill --engine spark`` need no more
than these jars, Java and pyspark: Spark runs inside the command.
"""

import sys
from pathlib import Path

from infra.processes import BUILD, maven, status_of

HERE = Path(__file__).resolve().parent

JARS = BUILD / "spark"


def fetch() -> None:
    """Fetch the jars (7 of them) where they are missing."""
    goals = ("dependency:copy-dependencies", "-DexcludeTransitive")
    maven(HERE / "pom.xml", JARS, JARS, *goals)


if __name__ == "__main__":
    sys.exit(status_of(fetch))
