"""What a supervisor exports is read where one answers; where none does, nothing is claimed."""

from collections.abc import Iterator

import pytest

from infra.processes import HOST, free_ports
from pipelines.observe import catalogue
from pipelines.observe.exporter import Exporter
from pipelines.serve.dashboard.supervisor import StreamMetrics, read_metrics


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    made = Exporter(catalogue.LIVE)
    yield made
    made.close()


@pytest.fixture
def url(exporter: Exporter) -> str:
    port = free_ports(1)[0]
    exporter.serve(HOST, port)
    return f"http://{HOST}:{port}/metrics"


def test_lag_is_summed_over_topics(exporter: Exporter, url: str) -> None:
    exporter.set(catalogue.WATERMARK_DELAY, 2.5)
    exporter.set(catalogue.JOB_RUNNING, 1)
    exporter.set(catalogue.KAFKA_LAG, 40, "session.text")
    exporter.set(catalogue.KAFKA_LAG, 2, "session.face")
    assert read_metrics(url) == StreamMetrics(2.5, 42.0, running=True)


def test_what_is_not_exported_is_not_known(url: str) -> None:
    assert read_metrics(url) == StreamMetrics(None, None, None)


def test_a_job_that_does_not_run_is_not_running(exporter: Exporter, url: str) -> None:
    exporter.set(catalogue.JOB_RUNNING, 0)
    found = read_metrics(url)
    assert found is not None
    assert found.running is False


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/metrics", "no address"])
def test_nobody_there_is_nothing_said(address: str) -> None:
    assert read_metrics(address) is None
