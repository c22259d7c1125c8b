"""What a supervisor exports is read where one answers; where none does, nothing is claimed."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from infra.processes import free_ports
from pipelines.serve.dashboard.supervisor import StreamMetrics, read_metrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def url(registry: CollectorRegistry) -> Iterator[str]:
    port = free_ports(1)[0]
    server, thread = start_http_server(port, "127.0.0.1", registry)
    yield f"http://127.0.0.1:{port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


def test_lag_is_summed_over_topics(registry: CollectorRegistry, url: str) -> None:
    Gauge("affectstream_watermark_delay_seconds", "", registry=registry).set(2.5)
    Gauge("affectstream_job_running", "", registry=registry).set(1)
    lag = Gauge("affectstream_kafka_lag_records", "", ["topic"], registry=registry)
    lag.labels("session.text").set(40)
    lag.labels("session.face").set(2)
    assert read_metrics(url) == StreamMetrics(2.5, 42.0, running=True)


def test_what_is_not_exported_is_not_known(url: str) -> None:
    assert read_metrics(url) == StreamMetrics(None, None, None)


def test_a_job_that_does_not_run_is_not_running(registry: CollectorRegistry, url: str) -> None:
    Gauge("affectstream_job_running", "", registry=registry).set(0)
    found = read_metrics(url)
    assert found is not None
    assert found.running is False


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/metrics", "no address"])
def test_nobody_there_is_nothing_said(address: str) -> None:
    assert read_metrics(address) is None
