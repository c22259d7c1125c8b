"""What the graph makes of records as the field sends them: each row of ``tests/field/*.yaml``.

A row names the software that sends such a record (``source``), what is sent (``send``, which the
part's own test turns into a record) and what must come of it (``expect``).
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console

from pipelines.config import load_config
from pipelines.run.replay import replay
from tests.support.live_runs import table
from tests.support.records import START, raw, record

GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["*"]}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a part's file."""

    name: str
    source: str
    kind: str
    send: dict[str, Any]
    expect: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What landed of one record: its observation or refusal, or its dead letter."""

    observation: dict[str, Any] | None = None
    dead_letter: dict[str, Any] | None = None


def read_cases(part: str) -> list[Case]:
    """The rows of ``tests/field/PART.yaml``."""
    rows = yaml.safe_load(Path(__file__).with_name(f"{part}.yaml").read_text())
    return [Case(**row) for row in rows]


def run_cases(
    cases: list[Case],
    make: Callable[[Case, int], dict[str, Any]],
    folder: Path,
    keys: Path,
    **settings: Any,
) -> dict[str, Outcome]:
    """Replay one record of each case in one run of the whole graph; return what came of each.

    ``make`` gives the record of a case; its second argument is the record's offset and, unless
    the case is about time, the seconds of its event time after START.
    """
    log = folder / "log"
    log.mkdir(parents=True)
    rows = [make(case, number) for number, case in enumerate(cases, start=1)]
    pq.write_table(
        pa.Table.from_batches([raw(record("consent", 0, GRANT), *rows)]), log / "part-0.parquet"
    )
    tables = folder / "tables"
    replay(load_config(None, log=log, tables=tables, keys=keys, **settings), Console(quiet=True))
    landed = _rows(tables, "observations") + _rows(tables, "refusals")
    observed = {(each["modality"], each["event_time"]): each for each in landed}
    dead = {(each["topic"], each["offset"]): each for each in _rows(tables, "dead_letters")}
    outcomes = {}
    for number, (case, row) in enumerate(zip(cases, rows, strict=True), start=1):
        time = case.expect.get("event_time") or START + dt.timedelta(seconds=number)
        outcomes[case.name] = Outcome(
            observed.get((case.kind, time)), dead.get((row["topic"], row["offset"]))
        )
    return outcomes


def assert_expected(case: Case, outcome: Outcome) -> None:
    """Compare what came of a record with what its row says must come of it.

    ``code`` is of a dead letter or a refusal, and ``detail`` a part of its text; ``confidence`` is
    a range, ``quality`` lists the codes one of which must be there; every other name is a column's
    value.
    """
    there = outcome.observation or outcome.dead_letter
    assert there, f"{case.name}: nothing landed of it"
    for name, expected in case.expect.items():
        value = there.get(name)
        said = f"{case.name} ({case.source}): {name} is {value!r}, not {expected!r}: {there}"
        if name == "detail":
            assert expected in value, said
        elif name == "confidence":
            low, high = expected
            assert low <= value <= high, said
        elif name == "quality" and expected:
            assert value in expected, said
        else:
            assert value == expected, said


def _rows(tables: Path, name: str) -> list[dict[str, Any]]:
    return table(tables, name).to_pylist()
