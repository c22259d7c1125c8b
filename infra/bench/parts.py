"""Benchmarks in parts: each is a module with ``measure(folder)``, whose figures are kept.

The figures of parts that are not run stay in the file, with their date and commit.
"""

import argparse
import importlib
import json
import pkgutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from infra.bench.live import stamp
from infra.processes import ROOT


def run_parts(package: ModuleType, name: str) -> None:
    """Run the parts that the command line names, all without any, and store their figures.

    They go to ``docs/benchmarks/latest/NAME.json``.
    """
    file = ROOT / "docs" / "benchmarks" / "latest" / f"{name}.json"
    parts = [part.name for part in pkgutil.iter_modules(package.__path__) if part.name[0] != "_"]
    parser = argparse.ArgumentParser(description=package.__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all: {', '.join(parts)}")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(parts):
        parser.error(f"{sorted(unknown)} are no parts: {', '.join(parts)}")
    flat: dict[str, Any] = {"measured": {}}
    if file.exists():
        flat = json.loads(file.read_text(encoding="utf-8"))
    console = Console()
    for part in given.parts or parts:
        console.print(part)
        module = importlib.import_module(f"{package.__name__}.{part}")
        with tempfile.TemporaryDirectory() as made:
            found = module.measure(Path(made))
        console.print(json.dumps(found))
        flat |= {figure: float(f"{value:.4g}") for figure, value in found.items()}
        flat["measured"][part] = stamp(datetime.now(UTC))
        file.write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")
