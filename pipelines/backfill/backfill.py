"""Backfill: what may be rebuilt and written, whichever engine does it."""

import datetime as dt
from collections.abc import Callable
from contextlib import nullcontext

from deltalake import DeltaTable
from rich.console import Console

from pipelines.backfill.complete import check_length
from pipelines.backfill.days import Days, windows_of
from pipelines.backfill.rebuild import length_us, time_of
from pipelines.backfill.results import Results
from pipelines.config import Config
from pipelines.tables.query import open_tables
from schemas.errors import AffectstreamError
from schemas.events import CONTEXT_FIELDS
from schemas.tables import TABLES
from transforms.deciding.scenarios import read_scenarios
from transforms.landing.prepare import check_schema, prepare_tables
from transforms.landing.retry import retry_commit
from transforms.landing.writing import writing

NEEDED_TABLES = ("observations", "emotion_features", "expression_decisions")

Rebuild = Callable[[Config, Days, dict[str, DeltaTable], Results], None]
"""An engine: rebuilds days and notes what it found. It raises CommitFailedError where other
writers changed a day meanwhile; what it noted before is done."""


def backfill(
    config: Config, days: Days, rebuild: Rebuild, console: Console, *, write: bool
) -> Results:
    """Rebuild features and decisions of past days from their observations, by an engine.

    With ``write`` the days that differ are replaced, each in a commit whose reason is BACKFILL.

    Raises:
        AffectstreamError: a day is not over, a table is missing, or the tables do not hold what
            the days' rows were made of.
    """
    offset = dt.timedelta(seconds=config.kafka.clock_offset_s)
    _check_closed(config, days, dt.datetime.now(dt.UTC) + offset)
    tables = _open(config)
    unknown = sorted(read_scenarios(config.scenarios).context_fields - set(CONTEXT_FIELDS))
    if unknown and write:
        message = (
            f"{config.scenarios} asks for {', '.join(unknown)}, which no table holds: "
            "decisions that depend on it cannot be rebuilt, only compared with --check"
        )
        raise AffectstreamError(message)
    check_length(config.windows, days, tables["emotion_features"])
    if write:
        prepare_tables(config.tables)  # columns that are new, and a change feed
    results: Results = {}
    held = writing(config.tables) if write else nullcontext()
    with held, console.status(f"rebuilding {days.first} to {days.last}"):
        retry_commit(lambda: rebuild(config, days, tables, results), config.tables, "backfills")
    return results


def _check_closed(config: Config, days: Days, now: dt.datetime) -> None:
    """Refuse days that are not over by ``now``, the event clock."""
    settled = now - dt.timedelta(seconds=config.reach_s)
    over = days.last < settled.date()
    if over:  # then its end is a time that can be counted, which that of 9999-12-31 is not
        end = windows_of(days.last, config.windows)[1] * length_us(config.windows)
        over = time_of(end) <= settled
    if not over:
        message = f"{days.last} is not over: its rows still change; backfill it tomorrow"
        raise AffectstreamError(message)


def _open(config: Config) -> dict[str, DeltaTable]:
    stand = open_tables(config.tables)
    if missing := [name for name in NEEDED_TABLES if name not in stand]:
        message = f"{config.tables} has no table {missing[0]}: a backfill needs it"
        raise AffectstreamError(message)
    for name in NEEDED_TABLES:
        check_schema(TABLES[name], stand[name])
    return {name: stand[name] for name in NEEDED_TABLES}
