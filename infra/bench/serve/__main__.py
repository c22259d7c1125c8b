"""Measure what serves the tables: ``python -m infra.bench.serve [PART …]``."""

from infra.bench import serve
from infra.bench.parts import run_parts

if __name__ == "__main__":
    run_parts(serve, "serve")
