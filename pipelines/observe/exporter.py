"""Metrics of this process: OpenTelemetry instruments, read by Prometheus over HTTP."""

import time
from collections.abc import Callable, Iterable, Sequence
from wsgiref.simple_server import WSGIServer

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from pipelines.observe.catalogue import PREFIX, Metric
from schemas.errors import AffectstreamError

STALE_S = 30.0
"""A gauge that was not observed for so long has no value any more."""

Labels = tuple[str, ...]
"""Values of a metric's labels, in the order of its row."""


class Exporter:
    """The newest values of these metrics; ``serve`` answers GET /metrics with them.

    Values are handed over as they are observed, and an answer is made of memory alone, so that it
    waits for nothing that a job does.
    """

    def __init__(
        self, metrics: Sequence[Metric], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._values: dict[str, dict[Labels, tuple[float, float]]] = {}
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        self._provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
        self._server: WSGIServer | None = None
        meter = self._provider.get_meter("affectstream")
        for metric in metrics:
            self._values[metric.name] = {}
            create = (
                meter.create_observable_counter
                if metric.kind == "counter"
                else meter.create_observable_gauge
            )
            create(
                f"{PREFIX}{metric.name}",
                [self._observer(metric)],
                unit=metric.unit,
                description=metric.description,
            )

    def close(self) -> None:
        """Stop answering."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        self._provider.shutdown()

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Observe a gauge's value."""
        self._values[metric.name][labels] = (value, self._clock())

    def add(self, metric: Metric, increase: float, *labels: str) -> None:
        """Add to a counter."""
        before, _ = self._values[metric.name].get(labels, (0.0, 0.0))
        self._values[metric.name][labels] = (before + increase, self._clock())

    def text(self) -> bytes:
        """Return all values in Prometheus' text format."""
        return generate_latest(self._registry)

    def serve(self, host: str, port: int) -> None:
        """Answer GET /metrics in a thread until it is closed.

        Raises:
            AffectstreamError: the address cannot be listened on.
        """
        try:
            self._server, _ = start_http_server(port, host, self._registry)
        except OSError as error:
            message = (
                f"no metrics on {host}:{port} ({error.strerror}): name another `observe.port`, or "
                "0 for none"
            )
            raise AffectstreamError(message) from error

    def _observer(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            oldest = self._clock() - STALE_S
            found = []
            for labels, (value, at) in list(self._values[metric.name].items()):
                seen = metric.kind == "counter" or at >= oldest
                shown = value if seen else metric.unseen
                if shown is not None:
                    named = dict(zip(metric.labels, labels, strict=True))
                    found.append(Observation(shown, named))
            return found

        return observe
