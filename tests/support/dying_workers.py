"""Workers that die with a batch in work: processes that a test starts and looks at afterwards.

They are forked from a process that has imported the stages and has no threads, as a live job's
workers are; what tests import besides starts some.
"""

import datetime as dt
import faulthandler
import functools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.events import RAW
from schemas.stages import MAIN, Tagged
from transforms.isolation.isolate import Isolation
from transforms.isolation.notes import keep_watch

STAGE = "RecogniseVoice"
SEEN = "seen"
_AT = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["transforms.stage"])

Fatal = Callable[[list[int]], None]


def batch(*offsets: int, topic: str = "session.voice", partition: int = 0) -> pa.RecordBatch:
    rows = [
        {"topic": topic, "partition": partition, "offset": n, "timestamp": _AT} for n in offsets
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RAW)


def offsets(rows: pa.RecordBatch) -> list[int]:
    return [int(offset) for offset in rows["offset"].to_pylist()]


def process(work: Callable[..., None], *given: Any) -> int:
    """Run this in a process of its own; return how that ended."""
    child = SERVER.Process(target=work, args=given)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def worker(folder: Path, batches: list[pa.RecordBatch], fatal: Fatal) -> int:
    """Run the stage on these batches in a worker; return how it ended, 0 where it did not.

    ``fatal`` is what the stage does with the offsets that it is given. What has passed, and what
    became a dead letter, is written down in the folder.
    """
    return process(_work, folder, batches, fatal)


def _work(folder: Path, batches: list[pa.RecordBatch], fatal: Fatal) -> None:
    faulthandler.disable()
    keep_watch(folder / "poison")
    isolation = Isolation(STAGE)

    def stage(rows: pa.RecordBatch) -> Tagged:
        fatal(offsets(rows))
        return [(MAIN, rows)]

    with (folder / SEEN).open("a", buffering=1) as told:
        for rows in batches:
            for tag, given in isolation.work(stage, rows):
                for offset in offsets(given):
                    told.write(f"{tag} {offset}\n")


def seen(folder: Path, tag: str) -> set[int]:
    lines = (folder / SEEN).read_text().split("\n")
    return {int(line.split()[1]) for line in lines if line.startswith(tag)}


def _exits(fatal: set[int], found: list[int]) -> None:
    if fatal & set(found):
        os._exit(7)


def _crashes(fatal: set[int], found: list[int]) -> None:
    if fatal & set(found):
        os.kill(os.getpid(), signal.SIGSEGV)


def exits(*fatal: int) -> Fatal:
    return functools.partial(_exits, set(fatal))


def crashes(*fatal: int) -> Fatal:
    return functools.partial(_crashes, set(fatal))


def ends_as_told(folder: Path) -> None:
    watch = keep_watch(folder)
    (part,) = watch.parts(STAGE, batch(1))
    with part.note:
        watch.leave()
        os._exit(0)


def waits(folder: Path) -> None:
    (part,) = keep_watch(folder).parts(STAGE, batch(1))
    with part.note:
        (folder / "ready").touch()
        time.sleep(60)


def _full_disk(rows: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    yield MAIN, rows
    message = "the disk is full"
    raise OSError(message)


def looks(folder: Path) -> None:
    keep_watch(folder)
    given = Isolation(STAGE).work(_full_disk, batch(1))
    next(given)
    told = [noted(folder)]
    try:
        next(given)
    except OSError:
        os._exit(sum([*told, noted(folder)]))


def noted(folder: Path) -> bool:
    return any(path.read_bytes()[:8] != bytes(8) for path in (folder / "notes").iterdir())
