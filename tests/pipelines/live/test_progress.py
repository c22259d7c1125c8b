"""What a live job's screen shows, and the count of records that cannot be read."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from rich.console import Console

from pipelines.live.flink_rest import Health
from pipelines.live.progress import ReadProgress, UnreadableRecords
from pipelines.live.screen import Screen, View
from tests.support.clock import Clock

NOW_MS = 1_000_000.0
HEALTH = Health("RUNNING", checkpoints=3, checkpoint_bytes=20_480, checkpoint_ms=70)
READ = ReadProgress({"session.text": 2}, {"session.text": 1_200}, {"session.text": 34}, 567.8)


def _view(health: Health | None, read: ReadProgress | None, starts: int = 1) -> View:
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


def test_dead_letters_of_governance_are_counted_when_there_are_new_ones(tmp_path: Path) -> None:
    def write(*codes: str) -> DeltaTable:
        write_deltalake(tmp_path, pa.table({"code": codes}), mode="append")
        return DeltaTable(tmp_path)

    clock = Clock()
    unreadable = UnreadableRecords(clock)
    assert unreadable.update(None) == 0
    assert unreadable.update(write("governance_unreadable", "not_json")) == 1
    later = write("governance_unreadable")
    clock.now += 4.9
    assert unreadable.update(later) == 1, "counted less than five seconds ago"
    clock.now += 0.1
    assert unreadable.update(later) == 2
