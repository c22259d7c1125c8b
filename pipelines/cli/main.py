"""The command line: ``affectstream``.

Commands import what they run only when they run: torch and Beam take seconds to load, and
``--help`` or ``query`` should not wait for them.
"""

import logging
import os
import sys
import warnings

from rich.markup import escape

from pipelines.cli import (
    aggregate,
    api,
    audit,
    config,
    govern,
    kafka,
    keys,
    leakcheck,
    models,
    observe,
    run,
    serve,
    tables,
    upkeep,
)
from pipelines.cli.app import app, console
from pipelines.cli.decisions import explain, review
from pipelines.show.escapes import escape_controls
from schemas.errors import AffectstreamError

for room in (
    run,
    config,
    keys,
    kafka,
    tables,
    upkeep,
    govern,
    aggregate,
    leakcheck,
    serve,
    review,
    explain,
    api,
    audit,
    observe,
    models,
):
    app.add_typer(room.commands)


def main() -> None:
    """Run the command line; an error that the user can correct is one sentence and status 1."""
    warnings.filterwarnings("ignore")
    quiet = logging.StreamHandler()
    quiet.setLevel(logging.ERROR)  # libraries warn of services that nobody asked for
    logging.basicConfig(handlers=[quiet])
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # two lines a try; our error says it once
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except AffectstreamError as error:
        said = escape(escape_controls(str(error), keep="\n"))  # it may quote what an event says
        console.print(f"[bold red]error:[/] {said}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":  # torchrun --nproc-per-node 2 -m pipelines.cli.main train ...
    main()
