"""Whole runs on the embedded runner: ids that are used again, records that name nobody."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from rich.console import Console

from pipelines.config import load_config
from pipelines.run.replay import replay
from pipelines.show.screen import show
from schemas.modalities import MODALITIES
from tests.support.records import at, raw, record

CONSENT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}


class Run:
    """A replay of these records, numbered as they come, with constant recognisers."""

    def __init__(self, folder: Path, keys: Path, *rows: dict[str, Any]) -> None:
        log = folder / "log"
        log.mkdir(parents=True)
        placed = [row | {"offset": n} for n, row in enumerate(rows)]
        pq.write_table(pa.Table.from_batches([raw(*placed)]), log / "part.parquet")
        constant = {modality: {"model": "constant"} for modality in MODALITIES}
        config = load_config(None, log=log, tables=folder / "tables", keys=keys, models=constant)
        self.tables = folder / "tables"
        replay(config, Console(quiet=True))

    def rows(self, table: str) -> list[dict[str, Any]]:
        return DeltaTable(str(self.tables / table)).to_pyarrow_table().to_pylist()

    @property
    def shown(self) -> str:
        console = Console(width=200, file=io.StringIO(), record=True)
        show(self.tables, console)
        return console.export_text()


def text(number: int, said: str, **changes: Any) -> dict[str, Any]:
    return record("text", number, {"text": said}, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Run:
    return Run(
        tmp_path_factory.mktemp("run"),
        keys,
        *(record("consent", 0, CONSENT, subject=name) for name in ("alice", "bob")),
        text(1, "hello", id="a"),
        text(1, "hello", id="a"),
        text(2, "good-bye", id="a"),
        text(2, "hello", id="a", subject="bob"),
        *(text(3 + n, "no name", id="") for n in range(5)),
        record("erasure", 10, {}, subject="bob", id="a"),
        record("consent", 20, CONSENT | {"granted": False}, id="consent-0"),
        text(11, "too late", subject="bob"),
        text(21, "too late"),
        record("erasure", 30, {}) | {"headers": [], "key": None},
    )


def test_an_id_used_again_suppresses_nothing(run: Run) -> None:
    assert len(run.rows("observations")) == 2, "one of alice, one of bob"
    letters = sorted((row["code"], row["offset"]) for row in run.rows("dead_letters"))
    assert letters == [
        *(("bad_headers", n) for n in range(6, 11)),
        ("governance_unreadable", 15),
        ("id_reused", 4),
    ]  # fmt: skip
    (reused,) = (row for row in run.rows("dead_letters") if row["code"] == "id_reused")
    assert (reused["stage"], reused["topic"]) == ("LandTable", "session.text")
    assert {row["action"] for row in run.rows("consent_ledger")} == {
        "granted", "withdrawn", "erasure_requested",
    }  # fmt: skip
    assert [row["code"] for row in run.rows("refusals")] == ["consent_withdrawn"] * 2


def test_windows_count_each_event_once(run: Run) -> None:
    assert sum(row["n_text"] for row in run.rows("emotion_features")) == 2


def test_show_says_it(run: Run) -> None:
    said = " ".join(run.shown.split())
    assert "1 event of the last run came again, unchanged" in said
    assert "1 governance record names no subject: somebody may have withdrawn" in said
    assert "id_reused LandTable 1" in said


def test_the_order_of_records_changes_no_row_but_which_of_a_reused_id_stands(
    run: Run, tmp_path: Path, keys: Path
) -> None:
    ids = {row["event_id"] for row in run.rows("observations")}
    other = Run(
        tmp_path,
        keys,
        text(2, "hello", id="a", subject="bob"),
        text(1, "hello", id="a"),
        *(record("consent", 0, CONSENT, subject=name) for name in ("bob", "alice")),
    )
    assert {row["event_id"] for row in other.rows("observations")} == ids


def test_a_prohibition_late_in_the_log_closes_the_gate_from_its_time_on(
    tmp_path: Path, keys: Path
) -> None:
    done = Run(
        tmp_path,
        keys,
        text(5, "before"),
        text(15, "after"),
        record("consent", 0, CONSENT),
        record("erasure", 10, b"", subject="ALICE ", region=None, time=at(100)),
    )
    assert len(done.rows("observations")) == 1
    assert [row["code"] for row in done.rows("refusals")] == ["consent_withdrawn"]
