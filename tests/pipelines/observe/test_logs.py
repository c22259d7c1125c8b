"""Lines of the structured log: JSON with a stable name, and nothing of what people sent."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.live.flink_rest import Health
from pipelines.live.screen import Screen, View
from pipelines.observe.logs import JsonLines
from schemas.errors import DeadLetterCode
from schemas.logs.events import LogEvent, log_fields
from schemas.stages import DEAD
from transforms.isolation.isolate import Isolation

SECRET = "0171 2345678"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the root logger writes as JSON lines meanwhile."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.setLevel(level)
    root.removeHandler(handler)


def read(lines: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_an_event_stands_with_its_name_and_its_fields(lines: io.StringIO) -> None:
    known = log_fields(LogEvent.RECORD_POISON, stage="DecodeEvents", offset=7)
    logging.getLogger("pipelines.x").error("offset %d of %s", 7, SECRET, extra=known)
    (line,) = read(lines)
    assert line.pop("time").endswith("+00:00")
    assert line.pop("pid") > 0
    assert line == {
        "level": "ERROR",
        "event": "record_poison",
        "logger": "pipelines.x",
        "stage": "DecodeEvents",
        "offset": 7,
    }


def test_a_library_s_message_is_told_without_its_values(lines: io.StringIO) -> None:
    log = logging.getLogger("library")
    log.warning("cannot read %s", SECRET)
    log.warning(f"cannot read {SECRET}")
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.exception("failed")
    first, second, third = read(lines)
    assert {line["event"] for line in (first, second, third)} == {"other"}
    assert first["template"] == "cannot read %s"
    assert "template" not in second
    assert third["error"] == "ValueError"
    assert third["place"].startswith("test_logs.py:")
    assert Path(third["frames"][0].rpartition(":")[0]).name == "test_logs.py"
    assert SECRET not in lines.getvalue()


def test_poison_is_logged_by_its_place_and_not_by_what_it_holds(lines: io.StringIO) -> None:
    rows = pa.record_batch(
        {
            "topic": ["session.text"],
            "partition": pa.array([1], pa.int32()),
            "offset": [17],
            "value": [SECRET],
        }
    )

    def broken(batch: pa.RecordBatch) -> list:
        raise ValueError(batch["value"][0].as_py())

    ((tag, letters),) = Isolation("Work", watched=False).work(broken, rows)
    assert (tag, letters["code"].to_pylist()) == (DEAD, [str(DeadLetterCode.POISON)])
    found = read(lines)
    assert [line["event"] for line in found] == ["stage_raised", "stage_raised", "record_poison"]
    poison = found[-1]
    assert (poison["topic"], poison["partition"], poison["offset"]) == ("session.text", 1, 17)
    assert SECRET not in lines.getvalue()


def test_a_screen_writes_views_and_notes_to_the_log(lines: io.StringIO) -> None:
    shown = io.StringIO()
    health = Health("RUNNING", 7, 20_480, 70, 1_000, 2_000)
    view = View(health, None, 1_000, 5_200.0, {}, 2, unreadable=1)
    console = Console(file=shown, force_terminal=True)
    with Screen(console, structured=True) as screen:
        screen.show(view)
        screen.note("waiting", LogEvent.BROKER_AWAY)
    status, unreadable, away = read(lines)
    assert (status["event"], status["state"], status["restarts"]) == ("job_status", "running", 1)
    assert (status["watermark_delay_s"], status["checkpoint_bytes"]) == (4.2, 20_480)
    assert (unreadable["event"], unreadable["records"]) == ("consent_unreadable", 1)
    assert away["event"] == "broker_away"
    assert [line["level"] for line in (status, unreadable, away)] == ["INFO", "WARNING", "WARNING"]
    assert not shown.getvalue()
