"""What is exported, by what names; dashboard and alerts use no other."""

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from infra.processes import free_ports
from pipelines.observe.catalogue import (
    CHECKPOINT_AGE,
    JOB_RUNNING,
    LIVE,
    METRICS,
    STAGE_BUSY,
    STAGE_ROWS,
    Metric,
)
from pipelines.observe.exporter import STALE_S, Exporter
from schemas.errors import AffectstreamError, DeadLetterCode
from tests.support.clock import Clock

ROOT = Path(__file__).parents[3]
BOARD = json.loads((ROOT / "infra" / "grafana" / "live.json").read_text())
ALERTS = yaml.safe_load((ROOT / "infra" / "prometheus" / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANEL_TARGETS = [target for panel in BOARD["panels"] for target in panel["targets"]]
EXPRESSIONS = [each["expr"] for each in (*RULES, *PANEL_TARGETS)]
_LABELS = r"\{([^}]*)\}|by \(([^)]*)\)"


def exported(exporter: Exporter) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample that Prometheus would read, by its name and its labels' values."""
    families = text_string_to_metric_families(exporter.text().decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def full() -> Iterator[Exporter]:
    """Exports a value of every metric."""
    with closing(Exporter(LIVE)) as exporter:
        for metric in LIVE:
            labels = [f"a {label}" for label in metric.labels]
            (exporter.add if metric.kind == "counter" else exporter.set)(metric, 1, *labels)
        yield exporter


def test_every_metric_is_exported_by_the_name_of_the_catalogue(full: Exporter) -> None:
    assert {name for name, _ in exported(full)} == {metric.exported for metric in LIVE}
    families = {f.name: f for f in text_string_to_metric_families(full.text().decode())}
    for metric in LIVE:
        family = families[metric.exported.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.description)
        assert set(family.samples[0].labels) == set(metric.labels)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_dashboard_and_alerts_name_what_is_exported(full: Exporter, expression: str) -> None:
    names = set(re.findall(r"\baffectstream_\w+", expression))
    assert names
    assert names <= {name for name, _ in exported(full)}
    known = {label for name in names for label in METRICS[name].labels}
    used = " ".join(
        filter(None, (part for pair in re.findall(_LABELS, expression) for part in pair))
    )
    assert set(re.findall(r"(\w+)(?==\")", used)) <= known
    assert set(re.findall(r"by \((\w+)\)", expression)) <= known


def test_what_dashboard_and_alerts_show_of_a_series_is_one_of_its_labels() -> None:
    shown = [(t["expr"], re.findall(r"\{\{(\w+)\}\}", t["legendFormat"])) for t in PANEL_TARGETS]
    shown += [(r["expr"], re.findall(r"\$labels\.(\w+)", json.dumps(r))) for r in RULES]
    assert sum(len(labels) for _, labels in shown) > 10
    for expression, labels in shown:
        names = re.findall(r"\baffectstream_\w+", expression)
        assert set(labels) <= {label for name in names for label in METRICS[name].labels}


def test_every_metric_of_a_job_is_on_the_dashboard() -> None:
    shown = {n for t in PANEL_TARGETS for n in re.findall(r"affectstream_\w+", t["expr"])}
    assert shown == {metric.exported for metric in LIVE}


def test_alerts_name_codes_that_exist() -> None:
    codes = {code for rule in RULES for code in re.findall(r'code="(\w+)"', rule["expr"])}
    assert codes <= {str(code) for code in DeadLetterCode}
    assert codes


def test_a_counter_adds_up_and_a_gauge_is_as_it_was_seen_last() -> None:
    with closing(Exporter((STAGE_ROWS, STAGE_BUSY, JOB_RUNNING))) as exporter:
        exporter.add(STAGE_ROWS, 3, "Gate", "failed")
        exporter.add(STAGE_ROWS, 4, "Gate", "failed")
        exporter.add(STAGE_BUSY, 0.25, "Gate")
        exporter.set(JOB_RUNNING, 1)
        exporter.set(JOB_RUNNING, 0)
        assert exported(exporter) == {
            ("affectstream_stage_rows_total", ("failed", "Gate")): 7,
            ("affectstream_stage_busy_seconds_total", ("Gate",)): 0.25,
            ("affectstream_job_running", ()): 0,
        }


def test_an_old_gauge_is_not_exported_and_a_counter_is() -> None:
    clock = Clock()
    with closing(Exporter((CHECKPOINT_AGE, STAGE_BUSY, JOB_RUNNING), clock)) as exporter:
        exporter.set(CHECKPOINT_AGE, 2)
        exporter.set(JOB_RUNNING, 1)
        exporter.add(STAGE_BUSY, 1, "Gate")
        clock.now += STALE_S
        assert len(exported(exporter)) == 3
        clock.now += 1
        assert exported(exporter) == {
            ("affectstream_stage_busy_seconds_total", ("Gate",)): 1,
            ("affectstream_job_running", ()): 0,
        }


def test_a_metric_that_is_not_in_the_catalogue_cannot_be_set(full: Exporter) -> None:
    with pytest.raises(KeyError):
        full.set(Metric("invented", "gauge", "nothing"), 1)


def test_metrics_are_served_over_http_and_no_longer_once_closed(full: Exporter) -> None:
    (port,) = free_ports(1)
    full.serve("127.0.0.1", port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert b"affectstream_job_running 1.0" in answer.read()
    with closing(Exporter(LIVE)) as second:
        refused = pytest.raises(AffectstreamError, match=rf"^no metrics on 127\.0\.0\.1:{port} \(")
        with refused:
            second.serve("127.0.0.1", port)
    full.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)
