"""What another scenario policy would have decided on the windows that landed; it only reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.backfill.days import Days, midnight, read_rows, within
from pipelines.backfill.rebuild import DECIDED_ON, rebuild_decisions
from pipelines.config import Config
from pipelines.tables.history import earliest
from pipelines.tables.query import open_tables
from schemas.errors import AffectstreamError
from schemas.events import CONTEXT_FIELDS
from schemas.table import PARTITION
from transforms.decide import Before, Decider
from transforms.deciding.scenarios import read_scenarios

_SAID: Final = ("rule_id", "action", "reply_id", "needs_person")
"""What a receiver acts by: decisions differ where one of these does."""
_EXAMPLES: Final = 3
_GROUP: Final = ("scenario", *(f"{name}_{side}" for name in _SAID for side in ("now", "then")))

DIFFERENCES: Final = pa.schema(
    [
        *[(name, pa.bool_() if name.startswith("needs") else pa.string()) for name in _GROUP],
        ("windows", pa.int64()),
        ("examples", pa.string()),
    ]
)
"""One row for each scenario and change, ``now`` by the configured policy and ``then`` by the other.

``examples`` are decision ids of the configured policy.
"""


@dataclass(frozen=True, slots=True)
class Simulation:
    """How many windows were decided on by both policies, and the DIFFERENCES, most windows first.

    ``without_column`` are context fields that the other policy asks for and no table holds: its
    rules are simulated as if no event gave them.
    """

    days: Days
    windows: int
    differences: pa.Table
    without_column: tuple[str, ...]

    @property
    def differing(self) -> int:
        """How many windows would be decided on otherwise."""
        return int(pc.sum(self.differences["windows"]).as_py() or 0)


def simulate(config: Config, changed: Path, days: Days | None = None) -> Simulation:
    """Decide on the landed windows of some days, or of all, by the configured policy and another.

    Both decide on the same rows, and nobody is taken to have opted in to mirroring, so that a
    difference is one of the policies. Windows before the first day are gone through as far back as
    they count in histories and baselines.

    Raises:
        AffectstreamError: a policy is not sound, or no window landed on these days.
    """
    other = read_scenarios(changed)
    now, then = (
        Decider(
            policy,
            config.decisions,
            baselines=config.baselines,
            length_s=config.windows.length_s,
        )
        for policy in (read_scenarios(config.scenarios), other)
    )
    table = open_tables(config.tables).get("emotion_features")
    if table is None:
        message = f"{config.tables} has no table emotion_features: there is nothing to simulate on"
        raise AffectstreamError(message)
    days = _standing_days(table, config, days)
    windows, parts = 0, []
    sides: tuple[Before | None, Before | None] = (None, None)
    for day, rows in _rows_by_day(config, table, days):
        decided_now, before_now = rebuild_decisions(rows, now, sides[0])
        decided_then, before_then = rebuild_decisions(rows, then, sides[1])
        sides = before_now, before_then
        if days.first <= day <= days.last:
            windows += len(rows)
            parts.append(_compare(decided_now, decided_then))
    if not windows:
        raise _nothing(config)
    without_column = tuple(sorted(other.context_fields - set(CONTEXT_FIELDS)))
    return Simulation(days, windows, _count(pa.concat_tables(parts)), without_column)


def _standing_days(table: DeltaTable, config: Config, asked: Days | None) -> Days:
    """Return the days with windows, as far as they are asked for."""
    found = table.to_pyarrow_dataset().to_table(columns=[PARTITION])[PARTITION]
    span = pc.min_max(found).as_py()
    if span["min"] is None:
        raise _nothing(config)
    first, last = span["min"], span["max"] + timedelta(days=1)  # of windows over midnight
    if asked is not None:
        first, last = max(first, asked.first), min(last, asked.last)
    if last < first:
        raise _nothing(config)
    return Days(first, last)


def _nothing(config: Config) -> AffectstreamError:
    message = f"no window landed on these days in {config.tables}: there is nothing to simulate on"
    return AffectstreamError(message)


def _rows_by_day(config: Config, table: DeltaTable, days: Days) -> Iterator[tuple[date, pa.Table]]:
    """Yield feature rows by the day on which their windows end, the earlier ones first."""
    first = earliest(config, midnight(days.first)).date()
    pending = None
    for day in Days(first, days.last):
        start, end = midnight(day), midnight(day + timedelta(days=1))
        read = read_rows(table, "emotion_features", DECIDED_ON, within("window_start", start, end))
        known = read if pending is None else pa.concat_tables([pending, read])
        over = pc.less(known["window_end"], pa.scalar(end))
        pending = known.filter(pc.invert(over))
        if len(rows := known.filter(over)):
            yield day, rows


def _compare(now: pa.Table, then: pa.Table) -> pa.Table:
    """Return a row for each window that is decided on otherwise; both have the same order."""
    differs = np.zeros(len(now), bool)
    for name in _SAID:
        nulls = pc.xor(now[name].is_null(), then[name].is_null())
        other = pc.fill_null(pc.not_equal(now[name], then[name]), False)
        differs |= pc.or_(nulls, other).to_numpy()
    columns = {"scenario": now["scenario"], "decision_id": now["decision_id"]}
    for name in _SAID:
        columns |= {f"{name}_now": now[name], f"{name}_then": then[name]}
    return pa.table(columns).filter(pa.array(differs))


def _count(rows: pa.Table) -> pa.Table:
    asked = [("decision_id", "count"), ("decision_id", "list")]
    counted = rows.group_by(list(_GROUP)).aggregate(asked)
    order = [("decision_id_count", "descending"), *((name, "ascending") for name in _GROUP)]
    counted = counted.sort_by(order)
    examples = [
        " ".join(sorted(ids)[:_EXAMPLES]) for ids in counted["decision_id_list"].to_pylist()
    ]
    columns = [counted[name] for name in _GROUP]
    return pa.table(
        [*columns, counted["decision_id_count"], pa.array(examples, pa.string())],
        schema=DIFFERENCES,
    )
