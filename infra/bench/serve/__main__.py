"""Measure what serves the tables: ``python -m infra.bench.serve [PART …]``.

Each part is a module here with ``measure(folder)``. The figures of parts that are not run stay in
``docs/benchmarks/latest/serve.json``, with their date and commit.
"""

import argparse
import importlib
import json
import pkgutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from infra.bench import serve
from infra.bench.live import stamp
from infra.processes import ROOT

FILE = ROOT / "docs" / "benchmarks" / "latest" / "serve.json"


def main() -> None:
    """Run the parts and store their figures."""
    parts = [part.name for part in pkgutil.iter_modules(serve.__path__) if part.name[0] != "_"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all: {', '.join(parts)}")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(parts):
        parser.error(f"{sorted(unknown)} are no parts: {', '.join(parts)}")
    flat: dict[str, Any] = {"measured": {}}
    if FILE.exists():
        flat = json.loads(FILE.read_text(encoding="utf-8"))
    console = Console()
    for part in given.parts or parts:
        console.print(part)
        module = importlib.import_module(f"{serve.__name__}.{part}")
        with tempfile.TemporaryDirectory() as made:
            found = module.measure(Path(made))
        console.print(json.dumps(found))
        flat |= {name: float(f"{value:.4g}") for name, value in found.items()}
        flat["measured"][part] = stamp(datetime.now(UTC))
        FILE.write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
