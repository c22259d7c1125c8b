"""Measure what protects people: ``python -m infra.bench.governance [PART …]``."""

from infra.bench import governance
from infra.bench.parts import run_parts

if __name__ == "__main__":
    run_parts(governance, "governance")
