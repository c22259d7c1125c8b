"""What a live job's screen shows, and that tables are compacted while it runs."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from rich.console import Console

from pipelines.live import progress
from pipelines.live.flink_rest import Health
from pipelines.live.progress import Read, TableProgress
from pipelines.live.screen import Screen, View

NOW_MS = 1_000_000.0
HEALTH = Health("RUNNING", checkpoints=3, checkpoint_bytes=20_480, checkpoint_ms=70)
READ = Read({"session.text": 2}, {"session.text": 1_200}, {"session.text": 34}, 567.8)


def _view(health: Health | None, read: Read | None, starts: int = 1) -> View:
    return View(health, read, int(NOW_MS) - 4_200, NOW_MS, {"observations": (17, 2.0)}, starts)


@pytest.mark.parametrize(
    ("view", "line"),
    [
        (View(None, None, None, NOW_MS, {}, 1), "starting"),
        (_view(HEALTH, None), "running, Kafka does not answer, watermark 4.2 s behind, checkpoint"),
        (
            _view(HEALTH, READ, starts=3),
            "running, 568 records/s, lag 34, watermark 4.2 s behind, checkpoint 20 kB in 70 ms, "
            "2 restarts",
        ),
    ],
)
def test_a_log_gets_one_line_of_how_the_job_is(view: View, line: str) -> None:
    said = io.StringIO()
    with Screen(Console(file=said, width=200)) as screen:
        screen.show(view)
        screen.show(view)  # the next is due in ten seconds
    assert said.getvalue().startswith(line)
    assert said.getvalue().count("\n") == 1


def test_a_terminal_also_sees_topics_and_tables() -> None:
    said = io.StringIO()
    with Screen(Console(file=said, width=120, force_terminal=True)) as screen:
        screen.show(_view(HEALTH, READ))
    shown = said.getvalue()
    assert ["session.text", "1,200", "34"] in [line.split() for line in shown.splitlines()]
    assert "observations" in shown
    assert "2 s ago" in shown


def test_a_table_of_many_commits_is_compacted_and_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "COMPACT_EACH", 5)
    root, path = str(tmp_path), str(tmp_path / "observations")
    write_deltalake(path, pa.table({"n": [0]}))
    followed = TableProgress(root)
    assert followed.look()["observations"][0] == 0
    for number in range(1, 6):
        write_deltalake(path, pa.table({"n": [number]}), mode="append")
    assert len(DeltaTable(path).file_uris()) == 6
    assert followed.look()["observations"][0] == 5
    table = DeltaTable(path)
    assert len(table.file_uris()) == 1
    assert sorted(table.to_pyarrow_table()["n"].to_pylist()) == list(range(6))
    DeltaTable(path, version=5).to_pyarrow_table()  # what readers may still read stays for a week
