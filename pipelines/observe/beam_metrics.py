"""Beam's metrics as Flink's REST interface shows them: monitoring infos in JSON."""

import base64
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping

Name = tuple[str, str]
"""Namespace, which is a stage's name, and name."""

_COUNTER = "beam:metric:user:sum_int64:v1"
_DISTRIBUTION = "beam:metric:user:distribution_int64:v1"


def read_beam_metrics(text: str) -> Mapping[Name, int]:
    """Return the user's counters in what the runner's accumulator of metrics prints.

    A distribution is two of them, ``NAME_count`` and ``NAME_sum``. Counters of several steps that
    share a name are added.
    """
    found: defaultdict[Name, int] = defaultdict(int)
    for info in json.loads(text).get("metrics", {}).get("attempted", []):
        labels = info.get("labels", {})
        stage, name = labels.get("NAMESPACE", ""), labels.get("NAME", "")
        numbers = _varints(base64.b64decode(info.get("payload", "")))
        if info["urn"] == _COUNTER:
            found[stage, name] += next(numbers)
        elif info["urn"] == _DISTRIBUTION:  # count, sum, min, max
            found[stage, f"{name}_count"] += next(numbers)
            found[stage, f"{name}_sum"] += next(numbers)
    return found


def _varints(data: bytes) -> Iterator[int]:
    """Yield the numbers of a sequence of varints: seven bits a byte, the lowest first."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
