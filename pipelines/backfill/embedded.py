"""A backfill inside this process, a day at a time."""

import datetime as dt
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake

from model_serving.fusion import Fusion, load_fusion
from pipelines.backfill.compare import differences
from pipelines.backfill.complete import check_complete
from pipelines.backfill.days import CHUNK_US, Days, midnight, on_day, read_rows, windows_of, within
from pipelines.backfill.erasures import Erasures
from pipelines.backfill.objections import left_out, read_objections
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
from pipelines.tables.changes import BACKFILL, REASON
from pipelines.tables.history import earliest
from schemas.table import PARTITION
from schemas.tables import TABLES
from transforms.decide import Before, Decider
from transforms.deciding.scenarios import read_scenarios
from transforms.landing.layout import file_properties


def rebuild(
    config: Config, days: Days, tables: dict[str, DeltaTable], results: Results, *, write: bool
) -> None:
    """Rebuild each day, compare it with what stands and, with ``write``, put it in its place.

    Raises:
        CommitFailedError: another writer changed rows of a day meanwhile, or someone was erased.
            Days before it are done.
        AffectstreamError: observations are lacking of a day that is to be written.
    """
    fusion = load_fusion(config.models.fusion, config.models.gaps)
    may_show = read_landed_opt_ins(config).may_show
    policy = read_scenarios(config.scenarios)
    length_s = config.windows.length_s
    decider = Decider(policy, config.decisions, may_show, config.baselines, length_s)
    histories: Before | None = None
    objections = read_objections(config.tables)
    erasures = Erasures(config.tables) if write else None
    for table in tables.values():
        table.update_incremental()
    pending = _earlier_features(config, tables["emotion_features"], days.first)
    for day in days:
        # Before anything is read: a commit to this day from now on makes ours fail.
        for table in tables.values():
            table.update_incremental()
        apart = left_out(objections, day)
        if write:
            check_complete(config.windows, day, tables, apart)
        features = _features(config, day, tables, fusion)
        known = pa.concat_tables([pending, features.select(DECIDED_ON)])
        over = pc.less(known["window_end"], pa.scalar(midnight(day + dt.timedelta(days=1))))
        decided, histories = rebuild_decisions(known.filter(over), decider, histories)
        pending = known.filter(pc.invert(over))
        rebuilt = {
            "emotion_features": features,
            "expression_decisions": decided.filter(pc.equal(decided[PARTITION], pa.scalar(day))),
        }
        for name, rows in rebuilt.items():
            results.setdefault((name, day), _settle(name, day, rows, tables[name], apart, erasures))


def _settle(
    name: str,
    day: dt.date,
    rebuilt: pa.Table,
    table: DeltaTable,
    apart: AbstractSet[str],
    erasures: Erasures | None,
) -> DayResult:
    """Compare a day, and replace it where it differs and ``erasures`` are watched.

    Rows of the subjects who stand ``apart`` are neither rebuilt nor taken away.
    """
    landed = read_rows(table, name, TABLES[name].schema.names, on_day(day))
    untouched = _of(apart, landed)
    rows = rebuilt.filter(pc.invert(_of(apart, rebuilt)))
    found = differences(TABLES[name], rows, landed.filter(pc.invert(untouched)))
    if erasures and len(found):
        whole = pa.concat_tables([rows, landed.filter(untouched)])
        erasures.check_none()
        _replace(name, day, whole, table)
        erasures.repeat(name, day)
    return DayResult(len(rows), len(found), found)


def _features(
    config: Config, day: dt.date, tables: dict[str, DeltaTable], fusion: Fusion
) -> pa.Table:
    parts = _observations(config, day, tables["observations"])
    rows = [rebuild_features(part, config.windows, fusion) for part in parts]
    stand = read_rows(tables["emotion_features"], "emotion_features", CARRIED, on_day(day))
    return carry_context(pa.concat_tables(rows), stand)


def _observations(config: Config, day: dt.date, table: DeltaTable) -> Iterator[pa.Table]:
    """Yield the observations of the windows that begin on a day, some windows at a time."""
    span = length_us(config.windows)
    first, end = windows_of(day, config.windows)
    step = max(1, CHUNK_US // span)
    for place in range(first, end, step):
        start, stop = time_of(place * span), time_of(min(place + step, end) * span)
        yield read_rows(table, "observations", OBSERVED, within("event_time", start, stop))


def _earlier_features(config: Config, table: DeltaTable, day: dt.date) -> pa.Table:
    """Return the landed features from which the histories at the beginning of a day follow."""
    start = midnight(day)
    where = within("window_start", earliest(config, start), start)
    return read_rows(table, "emotion_features", DECIDED_ON, where)


def _of(subjects: AbstractSet[str], rows: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(rows["subject_ref"], pa.array(sorted(subjects), pa.string()))


def _replace(name: str, day: dt.date, rows: pa.Table, table: DeltaTable) -> None:
    known = TABLES[name]
    order = [(known.subject, "ascending"), (known.time, "ascending")]
    plain = pa.schema([field.remove_metadata() for field in known.schema])
    write_deltalake(
        table,
        rows.sort_by(order).cast(plain),
        mode="overwrite",
        predicate=f"{PARTITION} = '{day}'",
        commit_properties=CommitProperties(custom_metadata={REASON: BACKFILL}),
        writer_properties=file_properties(known),
    )
