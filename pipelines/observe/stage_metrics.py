"""What the stages count, as Flink's REST interface shows it: a metric for each counter and task."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from schemas.modalities import MODALITIES
from schemas.stages import Stage, landing_stage, recognition_stage
from schemas.tables import TABLES

Name = tuple[str, str]
"""Stage and counter."""

_STAGES = {
    stage.replace(":", "_"): stage  # as Flink writes it
    for stage in (*Stage, *map(recognition_stage, MODALITIES), *map(landing_stage, TABLES))
}
_COUNTERS = (
    *("rows_in", "rows_out", "batches", "busy_us", "forward_us", "refused", "repeated"),
    *(r"dead_\w+", "consent_age_ms", "inference_batch_latency_micro_secs"),
)
STAGE_METRIC = re.compile(rf"\.({'|'.join(_STAGES)})_({'|'.join(_COUNTERS)})$")
"""Ends the name of such a metric: SUBTASK.OPERATOR.STAGE_COUNTER."""
_DISTRIBUTION = re.compile(r"\{sum=(\d+), count=(\d+),")


def sum_stage_metrics(metrics: Iterable[tuple[str, str]]) -> Mapping[Name, int]:
    """Return the stages' counters, those of all tasks added.

    A distribution is two of them, ``NAME_count`` and ``NAME_sum``.
    """
    found: defaultdict[Name, int] = defaultdict(int)
    for name, value in metrics:
        if (known := STAGE_METRIC.search(name)) is None:
            continue
        stage, counter = _STAGES[known[1]], known[2]
        if spread := _DISTRIBUTION.search(value):
            found[stage, f"{counter}_sum"] += int(spread[1])
            found[stage, f"{counter}_count"] += int(spread[2])
        elif value.isdecimal():
            found[stage, counter] += int(value)
    return found
