"""What an erasure did, on a screen."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid

from pipelines.govern.erasure.proof import Proof

_MOST = 20


def print_proofs(proofs: Sequence[Proof], console: Console) -> None:
    """Print a line for each erasure, twenty at most, and what was searched."""
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("erasure", "rows", "of"):
        grid.add_column(column, justify="right" if column == "rows" else "left")
    for proof in proofs[:_MOST]:
        tables = ", ".join(f"{name} {rows:,}" for name, rows in sorted(proof.tables.items()))
        grid.add_row(proof.erasure_id, f"{proof.rows_deleted:,}", tables or "nothing stood")
    console.print(grid)
    if len(proofs) > _MOST:
        console.print(f"and {len(proofs) - _MOST:,} more: `SELECT * FROM erasures`")
    if strangers := sum(not proof.rows_deleted for proof in proofs):
        console.print(
            f"nothing stood of {strangers:,}: if that is not right, look how events spell the id "
            "(the gate is closed to it now)"
        )
    files, places = proofs[0].files_deleted, ", ".join(proofs[0].places)
    console.print(f"{files:,} files of older versions deleted; searched and found clean: {places}")
