"""A subject who makes up a session for each event: ``python -m infra.bench.bounds.sessions N [R]``.

It replays N texts of one subject and one window through the whole graph with constant recognisers,
R events a second at most, and prints what the process had in memory at its peak, and what landed.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from infra.processes import ROOT
from pipelines.config import load_config
from pipelines.run.replay import replay
from schemas.keys import write_keys
from tests.support.live_runs import CONSTANT, table
from tests.support.records import raw, record
from transforms.gating.limits import Limits

_GRANT: Final = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
_TIME: Final = "2026-09-01T10:00:01Z"
_PART: Final = 20_000  # records of a file


def flood(events: int, events_per_s: float = Limits().events_per_s) -> dict[str, float]:
    """Return ``peak_mb`` and the rows of features and dead letters of such a replay."""
    command = [sys.executable, "-m", "infra.bench.bounds.sessions", str(events), str(events_per_s)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write_log(log: Path, events: int) -> None:
    log.mkdir()
    asked = record("consent", 0, _GRANT, time="2026-09-01T09:00:00Z")
    pq.write_table(pa.Table.from_batches([raw(asked)]), log / "part-0.parquet")
    for start in range(0, events, _PART):
        rows = [
            record(
                "text",
                n,
                b'{"text": "hi", "lang": "en"}',
                sessionid=f"s{n}",
                time="2026-09-01T10:00:01Z",
            )
            for n in range(start, min(start + _PART, events))
        ]
        pq.write_table(
            pa.Table.from_batches([raw(*rows)]), log / f"part-{1 + start // _PART}.parquet"
        )


def _main() -> None:
    events, events_per_s = int(sys.argv[1]), float(sys.argv[2])
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _write_log(folder / "log", events)
        write_keys(folder / "keys.yaml")
        config = load_config(
            None, log=folder / "log", tables=folder / "tables", keys=folder / "keys.yaml",
            models=CONSTANT, limits={"events_per_s": events_per_s},
        )  # fmt: skip
        replay(config, Console(quiet=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        names = ("emotion_features", "dead_letters", "observations")
        rows = {name: len(table(folder / "tables", name)) for name in names}
        print(json.dumps({"peak_mb": peak} | rows))


if __name__ == "__main__":
    _main()
