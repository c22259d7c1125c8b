"""The progress bar of a replay."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from transforms.sources.log import PROGRESS


@contextmanager
def show_progress(records: int, console: Console) -> Iterator[None]:
    """Show how many records were read while the runner holds the main thread."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    stop = threading.Event()

    def watch() -> None:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("reading and recognising", total=records)
            while not stop.wait(0.2):
                bar.update(task, completed=PROGRESS.records)
                if PROGRESS.records >= records:
                    bar.update(task, description="windows, decisions, tables")
            bar.update(task, completed=PROGRESS.records)

    PROGRESS.records = 0
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
