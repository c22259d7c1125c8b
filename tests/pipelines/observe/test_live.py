"""The metrics of a live job follow what its supervisor sees, over restarts of the job."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from infra.processes import free_ports
from pipelines.live.flink_rest import Health
from pipelines.live.progress import ReadProgress
from pipelines.live.screen import View
from pipelines.observe import live
from pipelines.observe.increases import Increases
from pipelines.observe.live import LiveMetrics
from pipelines.observe.settings import Observe
from pipelines.observe.stage_metrics import sum_stage_metrics
from pipelines.tables.compaction import CompactedTables
from schemas.errors import DeadLetterCode
from tests.pipelines.observe.test_exporter import exported
from tests.support.served import BEGIN, land
from transforms.landing.prepare import prepare_tables

HEALTH = Health("RUNNING", 7, 20_480, 70, 1_000_000, 1_003_000)
READ = ReadProgress({"session.text": 1}, {"session.text": 1200}, {"session.text": 34}, 568.0)


def view(**changes: Any) -> View:
    seen = {
        "health": HEALTH,
        "read": READ,
        "watermark_ms": 1_000_000,
        "clock_ms": 1_004_200.0,
        "tables": {"observations": (12, 2.5)},
        "starts": 1,
        "unreadable": 2,
    }
    return View(**(seen | changes))


def counted(rows: int, *, task: int = 0) -> list[tuple[str, str]]:
    """What a task's metrics are once the gate has received so many rows, as Flink shows them."""
    values = {
        "rows_in": rows,
        "rows_out": rows - 3,
        "refused": 2,
        "dead_grant_unknown_name": 1,
        "batches": 4,
        "busy_us": 250_000,
        "consent_age_ms": f"DistributionResult{{sum={rows * 4}, count={rows}, min=1, max=9}}",
        "something_else": 5,
    }
    operator = "[32]{ReadKafka__DecodeEvents__Land_.GateByPolicy"
    return [(f"{task}.{operator}_{name}", str(value)) for name, value in values.items()]


class Flink:
    """A job manager whose tasks have these metrics one after the other."""

    def __init__(self, *answers: list[tuple[str, str]] | None) -> None:
        self._answers = list(answers)

    def task_metrics(self, _: re.Pattern[str]) -> list[tuple[str, str]] | None:
        return self._answers.pop(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


@pytest.fixture
def metrics(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveMetrics]:
    monkeypatch.setattr(live, "EACH_S", 0.0)
    monkeypatch.setattr(live, "OUTCOMES", Counter())  # this process may have made replies
    monkeypatch.setattr(live, "HAZARDS", Counter())
    with closing(_metrics(root, free_ports(1)[0])) as made:
        yield made


def _metrics(root: Path, port: int) -> LiveMetrics:
    return LiveMetrics(Observe(port=port), CompactedTables(root))


def test_metrics_of_all_tasks_are_added_and_others_left_out() -> None:
    landing = ("0.[2]Land_runs/{Rows__Commit}.Land_runs_rows_out", "7")
    found = sum_stage_metrics([*counted(300), *counted(200, task=1), landing])
    assert found == {
        ("GateByPolicy", "rows_in"): 500,
        ("GateByPolicy", "rows_out"): 494,
        ("GateByPolicy", "refused"): 4,
        ("GateByPolicy", "dead_grant_unknown_name"): 2,
        ("GateByPolicy", "batches"): 8,
        ("GateByPolicy", "busy_us"): 500_000,
        ("GateByPolicy", "consent_age_ms_count"): 500,
        ("GateByPolicy", "consent_age_ms_sum"): 2000,
        ("Land:runs", "rows_out"): 7,
    }


def test_a_counter_that_begins_anew_counts_on() -> None:
    increases: Increases[str] = Increases()
    assert increases.since_last({"rows": 10}) == {"rows": 10}
    assert increases.since_last({"rows": 25}) == {"rows": 15}
    assert increases.since_last({}) == {}
    assert increases.since_last({"rows": 25}) == {"rows": 0}
    assert increases.since_last({"rows": 7, "other": 1}) == {"rows": 7, "other": 1}
    assert increases.since_last({"rows": 3, "other": 1}) == {"rows": 3, "other": 1}


def test_a_view_is_exported_as_it_is(metrics: LiveMetrics) -> None:
    metrics.update(view(), Flink(None))
    found = exported(metrics.exporter)
    assert found == {
        ("affectstream_job_running", ()): 1,
        ("affectstream_job_restarts_total", ()): 0,
        ("affectstream_governance_unreadable_records", ()): 2,
        ("affectstream_watermark_delay_seconds", ()): pytest.approx(4.2),
        ("affectstream_kafka_lag_records", ("session.text",)): 34,
        ("affectstream_table_version", ("observations",)): 12,
        ("affectstream_table_commit_age_seconds", ("observations",)): 2.5,
        ("affectstream_checkpoint_age_seconds", ()): 3,
        ("affectstream_checkpoint_size_bytes", ()): 20_480,
        ("affectstream_checkpoint_duration_seconds", ()): pytest.approx(0.07),
    }
    metrics.count_restart()
    metrics.update(view(health=None, read=None, watermark_ms=None), Flink())
    found = exported(metrics.exporter)
    assert found["affectstream_job_running", ()] == 0
    assert found["affectstream_job_restarts_total", ()] == 1


def test_what_stages_count_goes_on_over_a_restart(metrics: LiveMetrics) -> None:
    flink = Flink(counted(300), None, counted(100), counted(150))
    for _ in range(4):
        metrics.update(view(), flink)
    found = exported(metrics.exporter)
    rows = {
        labels[0]: n for (name, labels), n in found.items() if name.endswith("stage_rows_total")
    }
    assert rows == {"received": 450, "passed": 297 + 97 + 50, "failed": 6}
    assert found["affectstream_stage_batches_total", ("GateByPolicy",)] == 8
    assert found["affectstream_stage_busy_seconds_total", ("GateByPolicy",)] == 0.5
    assert found["affectstream_consent_age_seconds", ()] == pytest.approx(0.004)


def letter(number: int, code: DeadLetterCode) -> dict[str, Any]:
    return {
        "dead_letter_id": f"letter-{number}",
        "stage": "DecodeEvents",
        "code": str(code),
        "topic": "session.text",
        "partition": 0,
        "offset": number,
        "detail": "",
        "event_date": BEGIN.date(),
    }


def test_each_row_that_lands_counts_once_by_its_code(root: Path, metrics: LiveMetrics) -> None:
    land(root, "dead_letters", letter(1, DeadLetterCode.LATE), letter(2, DeadLetterCode.POISON))
    _see(root, metrics)
    land(root, "dead_letters", letter(2, DeadLetterCode.POISON), letter(3, DeadLetterCode.POISON))
    _see(root, metrics)
    _see(root, metrics)
    found = exported(metrics.exporter)
    codes = {labels[0]: n for (name, labels), n in found.items() if "dead_letters" in name}
    assert codes == {"late": 1, "poison": 2}


def test_what_had_landed_before_or_is_deleted_is_not_counted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EACH_S", 0.0)
    land(root, "dead_letters", letter(1, DeadLetterCode.LATE))
    with closing(_metrics(root, free_ports(1)[0])) as metrics:
        _see(root, metrics)
        metrics._tables.table("dead_letters").delete("code = 'late'")
        _see(root, metrics)
        assert not [name for name, _ in exported(metrics.exporter) if "dead_letters" in name]


def _see(root: Path, metrics: LiveMetrics) -> None:
    metrics._tables.refresh()
    metrics.update(view(), Flink(None))


def test_replies_of_the_process_are_counted_once_by_how_they_came_out(
    metrics: LiveMetrics,
) -> None:
    outcomes, hazards = live.OUTCOMES, live.HAZARDS
    outcomes["made"] += 2
    flink = Flink(None, None, None)
    metrics.update(view(), flink)
    outcomes.update({"made": 1, "late": 1})
    hazards["advice"] += 3
    for _ in range(2):
        metrics.update(view(), flink)
    found = exported(metrics.exporter)
    assert found["affectstream_replies_total", ("made",)] == 3
    assert found["affectstream_replies_total", ("late",)] == 1
    assert found["affectstream_reply_hazards_total", ("advice",)] == 3


def test_a_port_that_is_taken_costs_the_metrics_alone(root: Path, metrics: LiveMetrics) -> None:
    taken = metrics.exporter._server.server_port
    with closing(_metrics(root, taken)) as second:
        assert second.problem.startswith(f"no metrics on 127.0.0.1:{taken} (")
        second.update(view(), Flink(None))


def test_port_0_is_for_no_metrics(root: Path) -> None:
    with closing(_metrics(root, 0)) as metrics:
        metrics.update(view(), Flink())
        assert metrics.problem is None
        assert metrics.exporter._server is None
