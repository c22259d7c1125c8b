"""Clocks that are behind, through the whole graph: what becomes of events, and what show says."""

import datetime as dt
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.config import load_config
from pipelines.run.replay import replay
from pipelines.show.screen import show
from pipelines.tables.views import delays_of_last_run
from schemas.stages import MAIN
from tests.support.live_runs import QUIET, table
from tests.support.records import IDS, START, raw, record
from transforms.decode import decode_batch
from transforms.decoding.messages.delays import sieve_behind

GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["*"]}
HOUR = 3_600


def sent(number: int, source: str, delay_s: float) -> dict[str, Any]:
    """A record that came so long after its event."""
    row = record("text", number, {"text": "I am so happy today"}, source=source)
    return row | {"timestamp": START + dt.timedelta(seconds=number + delay_s)}


ROWS = [
    *(sent(n, "good", 1) for n in range(1, 4)),
    *(sent(n, "queued", (n % 2) * 5 * HOUR) for n in range(11, 15)),
    *(sent(n, "behind", 3 * HOUR + n) for n in range(21, 24)),
    sent(31, "none", 0) | {"timestamp": None},
]


@pytest.mark.parametrize(
    ("behind_s", "lost"), [(0, []), (4 * HOUR, [11, 13]), (2 * HOUR, [11, 13, 21, 22, 23])]
)
def test_a_clock_behind_is_shown_and_cut_off_where_that_is_asked_for(
    tmp_path: Path, keys: Path, behind_s: float, lost: list[int]
) -> None:
    log, tables = tmp_path / "log", tmp_path / "tables"
    log.mkdir()
    batch = raw(record("consent", 0, GRANT), *ROWS)
    pq.write_table(pa.Table.from_batches([batch]), log / "part-0.parquet")
    clocks = {"behind_s": behind_s}
    replay(load_config(None, log=log, tables=tables, keys=keys, clocks=clocks), QUIET)
    letters = table(tables, "dead_letters").to_pylist()
    assert sorted(letter["offset"] for letter in letters) == lost
    assert {(letter["code"], letter["stage"]) for letter in letters} <= {
        ("clock_behind", "DecodeEvents")
    }
    assert len(table(tables, "observations")) == len(ROWS) - len(lost)
    found = delays_of_last_run(str(tables)).to_dict("records")
    assert [(row["least"], row["most"]) for row in found[:1]] == [(3 * HOUR + 21, 3 * HOUR + 23)]
    assert sorted((row["least"], row["most"]) for row in found[1:]) == [
        (0, 0), (0, 5 * HOUR), (1, 1)
    ]  # fmt: skip
    said = io.StringIO()
    show(str(tables), Console(file=said, width=100))
    shown = [line.split() for line in said.getvalue().splitlines() if "source-" in line]
    assert [line[1:] for line in shown] == [["10,821.0", "10,823.0"], ["0.0", "18,000.0"]]
    assert shown[0][0] == found[0]["source"], "a stand-in, not what the producer called it"


def test_a_withdrawal_of_any_time_counts() -> None:
    late = record("consent", 1, GRANT | {"granted": False})
    late |= {"timestamp": START + dt.timedelta(hours=3)}
    decoded = list(sieve_behind(decode_batch(raw(late), IDS), 60))
    assert [(tag, batch.num_rows) for tag, batch in decoded if batch.num_rows] == [(MAIN, 1)]
