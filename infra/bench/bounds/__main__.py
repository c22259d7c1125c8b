"""Search for the dearest record of each stage: ``python -m infra.bench.bounds [NAME …]``."""

import argparse

from rich.console import Console
from rich.table import Table

from infra.bench.bounds.costs import attack
from infra.bench.bounds.targets import NAMES


def main() -> None:
    """Print for each stage and size what the dearest record costs, and how it is made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(NAMES))
    parser.add_argument("--tries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=24)
    given = parser.parse_args()
    console = Console(width=140)
    table = Table("stage", "bytes", "CPU", "memory", "unit", "head", title="times a benign record")
    for name in given.names or NAMES:
        console.print(name)
        for worst in attack(name, tries=given.tries, seed=given.seed):
            unit, head = (ascii(b"".join(p)[:32]) for p in (worst.pattern.unit, worst.pattern.head))
            costs = f"{worst.cpu:.1f}", f"{worst.memory:.1f}"
            table.add_row(name, str(worst.size), *costs, unit, head)
    console.print(table)


if __name__ == "__main__":
    main()
