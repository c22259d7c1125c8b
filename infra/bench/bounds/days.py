"""What a commit of rows of many days costs: ``python -m infra.bench.bounds.days DAYS [MOST]``.

It prints the MB that a commit of 2,000 rows adds to the process at its peak. MOST replaces
``transforms.land.MOST_DAYS``.
"""

import datetime as dt
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable

from infra.bench.bounds.costs import peak_mb, resident_mb
from infra.processes import ROOT
from schemas.tables import OBSERVED
from transforms import land
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables

ROWS: Final = 2_000
_FIRST: Final = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def observations(days: int) -> pa.RecordBatch:
    """Return 2,000 observations that are spread over so many days."""
    rows = []
    for number in range(ROWS):
        time = _FIRST + dt.timedelta(days=number % days, seconds=number)
        known = {"event_id": f"{number:032x}", "event_time": time, "event_date": time.date()}
        known |= {"content": number, "offset": number, "partition": 0, "modality": "text"}
        known |= {"scores": [0.25] * 7, "subject_ref": "5" * 32}
        rows.append({name: known.get(name) for name in OBSERVED.names})
    return pa.RecordBatch.from_pylist(rows, schema=OBSERVED)


def commit_mb(days: int, most: int = land.MOST_DAYS) -> float:
    """Return what a process needs at its peak for a commit of 2,000 rows of so many days, in MB."""
    command = [sys.executable, "-m", "infra.bench.bounds.days", str(days), str(most)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def _land(root: Path, batch: pa.RecordBatch) -> None:
    writer = TableWriter(root, "observations")
    for part in land.split_days([batch]):
        writer.land(part)


def _main() -> None:
    days, land.MOST_DAYS = int(sys.argv[1]), int(sys.argv[2])  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare_tables(root)
        _land(root, observations(1).slice(0, 1))
        base = resident_mb("VmRSS")
        batch = observations(days)
        print(peak_mb(lambda: _land(root, batch)) - base)
        landed = DeltaTable(root / "observations").to_pyarrow_dataset().count_rows()
        if landed < ROWS:
            message = f"{landed} rows landed of {ROWS}"
            raise RuntimeError(message)


if __name__ == "__main__":
    _main()
