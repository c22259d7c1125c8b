"""What a live job's supervisor says of its stream, where one answers on this machine."""

from dataclasses import dataclass

import requests
from prometheus_client.parser import text_string_to_metric_families

from pipelines.observe.catalogue import JOB_RUNNING, KAFKA_LAG, WATERMARK_DELAY

_TIMEOUT_S = 0.3


@dataclass(frozen=True, slots=True)
class StreamMetrics:
    """Watermark delay in seconds, records that wait, whether the job runs; None: not said."""

    delay_s: float | None
    lag: float | None
    running: bool | None


def read_metrics(url: str) -> StreamMetrics | None:
    """Return what is exported at this address, None where nothing answers with metrics."""
    try:
        answer = requests.get(url, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        families = list(text_string_to_metric_families(answer.text))
    except (requests.RequestException, ValueError):
        return None
    values: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0.0) + float(sample.value)
    running = values.get(JOB_RUNNING.exported)
    return StreamMetrics(
        values.get(WATERMARK_DELAY.exported),
        values.get(KAFKA_LAG.exported),
        None if running is None else running > 0,
    )
