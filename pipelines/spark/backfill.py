"""A backfill by Spark, all days at once: the functions are those of the backfill in one process."""

import datetime as dt
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.functions import (
    broadcast,
    coalesce,
    col,
    conv,
    floor,
    lit,
    substring,
    unix_micros,
)

from model_serving.fusion import load_fusion
from pipelines.backfill.compare import DIFFERENCE, differences
from pipelines.backfill.complete import check_complete
from pipelines.backfill.days import CHUNK_US, Days, midnight, windows_of
from pipelines.backfill.erasures import Erasures
from pipelines.backfill.objections import Objections, left_out, read_objections
from pipelines.backfill.rebuild import (
    CARRIED,
    DECIDED_ON,
    OBSERVED,
    carry_context,
    length_us,
    rebuild_decisions,
    rebuild_features,
    time_of,
)
from pipelines.backfill.results import DayResult, Results
from pipelines.config import Config
from pipelines.govern.ledger import read_landed_opt_ins
from pipelines.spark.commits import folder_of, lost_races, place_of
from pipelines.tables.changes import BACKFILL, read_changes, spark_reason
from pipelines.tables.history import earliest
from schemas.table import PARTITION, Table
from schemas.tables import TABLES
from transforms.decide import Decider
from transforms.deciding.scenarios import read_scenarios

_LAST_COMMIT = "spark.databricks.delta.lastCommitVersionInSession"
_REBUILT = "rebuilt"
_DIFFERENCE = "row_id string, event_date date, what string"
_FILE_ROWS = 1_000_000
_EXAMPLES = 100


def rebuild(
    session: SparkSession,
    config: Config,
    days: Days,
    tables: dict[str, DeltaTable],
    results: Results,
    *,
    write: bool,
) -> None:
    """Rebuild the days, compare them with what stands and, with ``write``, put them in its place.

    Raises:
        CommitFailedError: another writer changed rows of a day meanwhile, or someone was erased.
            What was written before is done.
        AffectstreamError: observations are lacking of a day that is to be written.
    """
    objections = read_objections(config.tables)
    erasures = Erasures(config.tables) if write else None
    for table in tables.values():
        table.update_incremental()
    if write:
        for day in days:
            check_complete(config.windows, day, tables, left_out(objections, day))
    begun = {name: table.version() for name, table in tables.items()}
    stand = {name: session.sql(f"SELECT * FROM {place_of(t)}") for name, t in tables.items()}
    features = _features(config, days, stand).persist(StorageLevel.DISK_ONLY)
    decisions = _decisions(config, days, stand, features).persist(StorageLevel.DISK_ONLY)
    rebuilt = {"emotion_features": features, "expression_decisions": decisions}
    objected = _objected(session, objections)
    own = {name: _apart(rows, objected, "left_anti") for name, rows in rebuilt.items()}
    try:
        for name, rows in own.items():
            landed = _apart(stand[name], objected, "left_anti")
            _compare(TABLES[name], days, rows, landed, results)
        for (name, day), result in results.items():
            if erasures and result.differ:
                untouched = _apart(stand[name], objected, "left_semi")
                whole = own[name].unionByName(untouched).where(col(PARTITION) == lit(day))
                erasures.check_none()
                _replace(TABLES[name], day, whole, result.rows, tables[name])
                erasures.repeat(name, day)
                check_unchanged(session, tables[name], begun[name], day)
    finally:
        features.unpersist()
        decisions.unpersist()


def _objected(session: SparkSession, objections: Objections) -> DataFrame:
    """Return one row for each subject who objected, with the last day that is not rebuilt."""
    return session.createDataFrame([*objections.items()], "objector string, until date")


def _apart(rows: DataFrame, objected: DataFrame, how: str) -> DataFrame:
    """Return the rows of those who objected (``left_semi``) or of all others (``left_anti``)."""
    same = (col("subject_ref") == col("objector")) & (col(PARTITION) <= col("until"))
    return rows.join(broadcast(objected), same, how)


def _features(config: Config, days: Days, stand: dict[str, DataFrame]) -> DataFrame:
    span = length_us(config.windows)
    first, end = windows_of(days.first, config.windows)[0], windows_of(days.last, config.windows)[1]
    # Some windows together, so that a group has a size that a worker can hold.
    together = max(1, CHUNK_US // span) * span
    observed = (
        stand["observations"]
        .where(_within("event_time", time_of(first * span), time_of(end * span)))
        .select(*OBSERVED, _chunk("event_time", together))
    )
    known = stand["emotion_features"]
    carried = known.where(_on(days)).select(*CARRIED, _chunk("window_start", together))
    windows, model, gaps = config.windows, config.models.fusion, config.models.gaps

    def make(observed: pa.Table, carried: pa.Table) -> pa.Table:
        features = rebuild_features(observed, windows, load_fusion(model, gaps))
        return _plain_lists(carry_context(features, carried))

    both = observed.groupBy("chunk").cogroup(carried.groupBy("chunk"))
    return both.applyInArrow(make, known.schema)


def _decisions(
    config: Config, days: Days, stand: dict[str, DataFrame], features: DataFrame
) -> DataFrame:
    begin, end = midnight(days.first), midnight(days.last) + dt.timedelta(days=1)
    before = stand["emotion_features"].where(
        _within("window_start", earliest(config, begin), begin)
    )
    known = before.select(*DECIDED_ON).unionByName(features.select(*DECIDED_ON))
    over = known.where(col("window_end") < lit(end))
    may_show = read_landed_opt_ins(config).may_show
    policy = read_scenarios(config.scenarios)
    length_s = config.windows.length_s
    decider = Decider(policy, config.decisions, may_show, config.baselines, length_s)

    def make(known: pa.Table) -> pa.Table:
        decided, _ = rebuild_decisions(known.select(DECIDED_ON), decider, None)
        day = decided[PARTITION]
        since = pc.greater_equal(day, pa.scalar(days.first))
        return _plain_lists(decided.filter(since))

    shards = _by_shard(over, config.windows.shards)
    return shards.groupBy("shard").applyInArrow(make, stand["expression_decisions"].schema)


def _by_shard(features: DataFrame, shards: int) -> DataFrame:
    """Add the shard: of a subject whose key was rotated, that of the reference before.

    Where keys were rotated twice within the days, histories begin anew at the second rotation.
    """
    links = features.where(col("prior_subject_ref").isNotNull())
    links = links.select(col("subject_ref"), col("prior_subject_ref").alias("known_as")).distinct()
    ref = coalesce(col("known_as"), col("subject_ref"))
    shard = conv(substring(ref, 1, 8), 16, 10) % lit(shards)
    return features.join(links, "subject_ref", "left").withColumn("shard", shard)


def _compare(
    table: Table, days: Days, rebuilt: DataFrame, stand: DataFrame, results: Results
) -> None:
    sides = rebuilt.withColumn(_REBUILT, lit(True)).unionByName(
        stand.where(_on(days)).withColumn(_REBUILT, lit(False))
    )
    # Both rows of an id come to one partition, some per day so that a worker can hold them.
    parts = sides.repartition(4 * len([*days]), table.row_id)
    found = parts.mapInArrow(partial(_differences, table.name), _DIFFERENCE).persist()
    counts = {row[PARTITION]: row["count"] for row in rebuilt.groupBy(PARTITION).count().collect()}
    differ = {row[PARTITION]: row["count"] for row in found.groupBy(PARTITION).count().collect()}
    for day in days:
        few = found.where(col(PARTITION) == lit(day)).limit(_EXAMPLES).toArrow()
        result = DayResult(counts.get(day, 0), differ.get(day, 0), few)
        results.setdefault((table.name, day), result)
    found.unpersist()


def _differences(name: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    given = [*batches]
    if not given:
        return
    rows = pa.Table.from_batches(given)
    own, landed = rows.filter(rows[_REBUILT]), rows.filter(pc.invert(rows[_REBUILT]))
    yield from differences(TABLES[name], own, landed).cast(DIFFERENCE).to_batches()


def _replace(table: Table, day: dt.date, rebuilt: DataFrame, rows: int, stands: DeltaTable) -> None:
    order = (table.subject, table.time)
    with lost_races():
        (
            rebuilt.repartitionByRange(1 + rows // _FILE_ROWS, *order)
            .sortWithinPartitions(*order)
            .write.format("delta")
            .mode("overwrite")
            .option("replaceWhere", f"{PARTITION} = '{day}'")
            .option("userMetadata", spark_reason(BACKFILL))
            .save(folder_of(stands))
        )


def check_unchanged(session: SparkSession, stands: DeltaTable, begun: int, day: dt.date) -> None:
    """Find in the change feed whether others changed the day between its reading and its commit.

    Spark's own check covers the moment of the commit alone.
    """
    committed = int(session.conf.get(_LAST_COMMIT))
    stands.update_incremental()
    if begun + 1 < committed:
        changed = read_changes(stands, begun + 1, committed - 1, [PARTITION])
        if day in changed[PARTITION].to_pylist():
            message = f"rows of {day} in {folder_of(stands)} were changed meanwhile"
            raise CommitFailedError(message)


def _within(column: str, start: dt.datetime, end: dt.datetime) -> Column:
    day, time = col(PARTITION), col(column)
    days = day.between(lit(start.date()), lit(end.date()))
    return days & (time >= lit(start)) & (time < lit(end))


def _on(days: Days) -> Column:
    return col(PARTITION).between(lit(days.first), lit(days.last))


def _chunk(column: str, together: int) -> Column:
    return floor(unix_micros(column) / lit(together)).alias("chunk")


def _plain_lists(rows: pa.Table) -> pa.Table:
    """Return the table with its lists of a fixed size as lists, the only ones that Spark has."""
    fields = [
        field.with_type(pa.list_(field.type.value_type))
        if pa.types.is_fixed_size_list(field.type)
        else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))
