"""What the REST interface of the mini-cluster, or of a cluster, says of the running job."""

import json
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.live.guards.rest_tls import client_context
from schemas.stages import Stage

_TIMEOUT_S = 2.0
_ASKED_AT_ONCE = 16
"""Metrics in one request: their names are up to 200 bytes long, and the line 4,096."""
_ACTIVE = ("CREATED", "RUNNING", "RESTARTING", "INITIALIZING", "FAILING", "RECONCILING")


@dataclass(frozen=True, slots=True)
class Health:
    """A running job: state, and its last complete checkpoint (bytes, ms, number).

    ``began_ms`` is when that one began and ``now_ms`` is now, both by the job manager's clock.
    """

    state: str
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    checkpoint_ms: int = 0
    began_ms: int = 0
    now_ms: int = 0


class FlinkRest:
    """The job of this name in a Flink cluster; every call returns None while nobody answers.

    ``tls`` is the folder of the certificate that a mini-cluster's interface asks for; that of a
    cluster is taken to be plain.
    """

    def __init__(self, address: str, name: str, tls: Path | None = None) -> None:
        self._base = f"{'https' if tls else 'http'}://{address}"
        self._tls = tls
        self._name = name
        self._job: str | None = None

    def _ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self._base}{path}", method=method)
        try:
            # Read anew each time, in a millisecond: each start of the job makes a certificate.
            context = client_context(self._tls) if self._tls else None
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as answer:
                return json.loads(answer.read() or b"{}")
        except (OSError, ValueError):
            return None

    def job(self) -> str | None:
        """Return the active job's id."""
        jobs = (self._ask("/jobs/overview") or {}).get("jobs", [])
        active = [j["jid"] for j in jobs if j["name"] == self._name and j["state"] in _ACTIVE]
        self._job = active[0] if active else None
        return self._job

    def health(self) -> Health | None:
        """Return the job's state and its checkpoints."""
        if (job := self.job()) is None:
            return None
        found = self._ask(f"/jobs/{job}")
        checkpoints = self._ask(f"/jobs/{job}/checkpoints") or {}
        if found is None:
            return None
        latest = (checkpoints.get("latest") or {}).get("completed") or {}
        counts = checkpoints.get("counts") or {}
        return Health(
            state=found["state"],
            checkpoints=int(counts.get("completed", 0)),
            checkpoint_bytes=int(latest.get("state_size", 0)),
            checkpoint_ms=int(latest.get("end_to_end_duration", 0)),
            began_ms=int(latest.get("trigger_timestamp", 0)),
            now_ms=int(found.get("now", 0)),
        )

    def watermark_ms(self) -> int | None:
        """Return the watermark of the windows in ms of event time, None before the first."""
        if (windows := self._windows()) is None:
            return None
        marks = self._ask(f"{windows}/watermarks") or []
        values = [int(mark["value"]) for mark in marks]
        return min(values) if values and min(values) > 0 else None

    def repeated(self) -> int:
        """Return how many events the windows had already counted, since the job's last start."""
        if (windows := self._windows()) is None:
            return 0
        place = f"{windows}/subtasks/metrics"
        known = [metric["id"] for metric in self._ask(place) or []]
        wanted = ",".join(quote(name, safe="") for name in known if name.endswith("_repeated"))
        sums = self._ask(f"{place}?get={wanted}&agg=sum") if wanted else []
        return sum(int(metric["sum"]) for metric in sums or [])

    def task_metrics(self, wanted: re.Pattern[str]) -> list[tuple[str, str]] | None:
        """Return name and value of each task's metrics whose names end as wanted; all or None."""
        if self._job is None or (found := self._ask(f"/jobs/{self._job}")) is None:
            return None
        values = []
        for vertex in found["vertices"]:
            place = f"/jobs/{self._job}/vertices/{vertex['id']}/metrics"
            if (known := self._ask(place)) is None:
                return None
            names = [metric["id"] for metric in known if wanted.search(metric["id"])]
            for start in range(0, len(names), _ASKED_AT_ONCE):
                asked = names[start : start + _ASKED_AT_ONCE]
                query = ",".join(quote(name, safe="") for name in asked)
                if (answer := self._ask(f"{place}?get={query}")) is None:
                    return None
                values += [(metric["id"], metric["value"]) for metric in answer]
        return values

    def _windows(self) -> str | None:
        """Return the path of the vertex that makes the windows."""
        if self._job is None or (found := self._ask(f"/jobs/{self._job}")) is None:
            return None
        windows = [v["id"] for v in found["vertices"] if v["name"].startswith(Stage.WINDOW)]
        return f"/jobs/{self._job}/vertices/{windows[0]}" if windows else None

    def cancel(self) -> None:
        """Cancel the job; its checkpoints are kept."""
        if self._job is not None:
            self._ask(f"/jobs/{self._job}?mode=cancel", "PATCH")
