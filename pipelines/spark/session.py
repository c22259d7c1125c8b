"""A Spark session with Delta Lake, inside this process, on loopback only."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import AffectstreamError
from schemas.table import Root

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JARS = Path("build/spark")
"""Where `make spark` puts Delta Lake's jars."""
_HOST = "127.0.0.1"
_CORES = 2
_LOGGING = """
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c{1}: %m%n
"""


@contextmanager
def spark_session(
    jars: Path = JARS, *, heap: str = "1g", java: str = ""
) -> "Iterator[SparkSession]":
    """Start Spark with this heap and these options of Java, and end it.

    With 1 GB of heap the JVM takes up to 1.4 GB. A worker that fuses loads torch: 0.9 GB each.

    Raises:
        AffectstreamError: pyspark, Java or the jars are missing.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        message = "Spark is not installed: pip install 'affectstream[spark]'"
        raise AffectstreamError(message) from error
    if shutil.which("java") is None:
        message = "java is missing: apt-get install -y openjdk-17-jdk-headless"
        raise AffectstreamError(message)
    found = sorted(str(path) for path in jars.glob("*.jar"))
    if not found:
        message = f"{jars} has no Delta Lake jars: run `make spark`, or name their folder as --jars"
        raise AffectstreamError(message)
    # Workers would take python3 from the PATH, which has none of our packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", _HOST)
    with tempfile.TemporaryDirectory(prefix="affectstream-spark-") as scratch:
        (Path(scratch) / "log4j2.properties").write_text(_LOGGING)
        builder = SparkSession.builder.master(f"local[{_CORES}]").appName("affectstream")
        for name, value in _settings(found, heap, java, scratch).items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        try:
            yield session
        finally:
            session.stop()


def _settings(jars: list[str], heap: str, java: str, scratch: str) -> dict[str, str]:
    options = f"-XX:+UseSerialGC -Dlog4j2.configurationFile={scratch}/log4j2.properties {java}"
    return {
        "spark.driver.extraClassPath": ":".join(jars),
        "spark.driver.memory": heap,
        "spark.driver.extraJavaOptions": options,
        "spark.driver.host": _HOST,
        "spark.driver.bindAddress": _HOST,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": scratch,
        "spark.sql.warehouse.dir": scratch,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(2 * _CORES),
        "spark.databricks.delta.snapshotPartitions": str(_CORES),
        # VACUUM lists folders in 10,000 tasks otherwise: 91 s instead of 7 s.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(2 * _CORES),
        # Times in INT96, Spark's default, have no statistics to prune files by.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    }


def check_local(root: Root) -> None:
    """Refuse tables in an object store, for which Spark needs more jars.

    Raises:
        AffectstreamError: they are in one.
    """
    if "://" in str(root):
        message = f"Spark reads tables from folders here, not {root}: use --engine deltalake"
        raise AffectstreamError(message)
