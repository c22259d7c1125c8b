"""Isolation of poison records: rows that make a stage raise become dead letters, the others go on.

A stage that raises is not yet at an end: it is run on the same rows once more, and where it fails
twice at the same place, on halves of them down to the rows that fail alone (docs/adr/0012).
"""

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.arrow import take_rows
from schemas.dead_letters import dead_letters
from schemas.errors import AffectstreamError, BrokenStageError, DeadLetterCode
from schemas.events import REFERENCE
from schemas.logs.events import LogEvent, log_fields
from schemas.stages import DEAD, Tagged
from transforms.isolation.deaths import places
from transforms.isolation.notes import PROCESS, report_broken

Run = Callable[[pa.RecordBatch], Tagged]
Given = Generator[tuple[str, pa.RecordBatch], None, None]
_Attempt = Generator[tuple[str, pa.RecordBatch], None, tuple[pa.RecordBatch, BaseException | None]]

MOST = 8
ROWS_EACH = 16
"""A stage may find MOST poison rows, and one more for each ROWS_EACH that passed, MOST again at
the most. A client that sends nothing but poison, 5 % of all, stops nothing; a stage that fails on
every record ends the job at its ninth, also where each is a batch of its own."""

_WORLD = (AffectstreamError, OSError, KeyboardInterrupt, SystemExit, GeneratorExit)
"""What no record is to blame for. A panic of Rust, which a tokeniser may end in, is no Exception.
MemoryError is not among these: where memory is scarce the kernel kills; it is raised where a row
asks for more than there can be."""

_FRAMES = 8
_PLACE = [name for name, _ in REFERENCE]
_LOG = logging.getLogger(__name__)


class _Credit:
    """Tells poison from a broken stage by how many rows fail between those that pass."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._rows = MOST * ROWS_EACH

    def passed(self, rows: int) -> None:
        self._rows = min(self._rows + rows, MOST * ROWS_EACH)

    def take(self, error: BaseException) -> None:
        """Count a poison row.

        Raises:
            BrokenStageError: so many rows are no poison; without the error's own message, which
                may hold a payload.
        """
        self._rows -= ROWS_EACH
        if self._rows < 0:
            message = (
                f"{self._stage} raised {type(error).__name__} on more than {MOST} records, and "
                "hardly any other passed: not they are at fault, but the stage, its settings or "
                "what it needs; the log says where it raised"
            )
            report_broken(message)
            raise BrokenStageError(message) from None


class Isolation:
    """Runs a stage's function so that a record which it cannot bear costs that record alone.

    One of them serves one stage for as long as its worker lives. Rows without a place in a topic
    cannot be named, so batches of those are not isolated. What works inside another stage is not
    ``watched``: that has a note of its own, and a thread has one.
    """

    def __init__(self, stage: str, *, watched: bool = True) -> None:
        self._stage, self._watched = stage, watched
        self._credit = _Credit(stage)

    def work(self, run: Run, batch: pa.RecordBatch) -> Given:
        """Yield what ``run`` makes of the batch, and dead letters of its poison rows.

        Raises:
            BrokenStageError: nearly all rows fail.
        """
        if "topic" not in batch.schema.names or not batch.num_rows:
            yield from run(batch)
            return
        if PROCESS.watch is None or not self._watched:
            yield from self._isolate(run, batch, nullcontext())
            return
        for part in PROCESS.watch.parts(self._stage, batch):
            if part.note is None:
                yield DEAD, self._dead(part.rows, "workers died with this record alone in work")
                continue
            yield from self._isolate(run, part.rows, part.note)
            part.passed()

    def _isolate(self, run: Run, batch: pa.RecordBatch, note: AbstractContextManager[Any]) -> Given:
        rest, error = yield from self._attempt(run, batch, note)
        if error is None:
            return
        name = type(error).__name__
        known = log_fields(LogEvent.STAGE_RAISED, stage=self._stage, error=name, rows=rest.num_rows)
        message = "%s raised %s on %d rows: once more"
        _LOG.warning(message, self._stage, name, rest.num_rows, extra=known)
        rest, error = yield from self._attempt(run, rest, note)
        if error is not None:
            yield from self._halve(run, rest, error, note)

    def _attempt(
        self, run: Run, rows: pa.RecordBatch, note: AbstractContextManager[Any]
    ) -> _Attempt:
        """Yield what it makes of these rows; return those that are left, and why, or no error.

        The note stands while the stage works, not while others work on what it has given.
        """
        handed: list[pa.RecordBatch] = []
        try:
            with note:
                given = run(rows)
            if not isinstance(given, Iterator):
                yield from given
            else:
                while True:
                    with note:
                        found = next(given, None)
                    if found is None:
                        break
                    if "topic" in found[1].schema.names:
                        handed.append(found[1].select(_PLACE))
                    yield found
        except _WORLD:
            raise
        except BaseException as error:
            left = _unfinished(rows, handed)
            if not left.num_rows:
                raise
            return left, error
        self._credit.passed(rows.num_rows)
        return rows, None

    def _halve(
        self,
        run: Run,
        rows: pa.RecordBatch,
        error: BaseException,
        note: AbstractContextManager[Any],
    ) -> Given:
        if rows.num_rows == 1:
            # Where it raised, without the message, which may hold a payload.
            where = "".join(traceback.format_tb(error.__traceback__, -_FRAMES))
            name = type(error).__name__
            known = log_fields(
                LogEvent.STAGE_RAISED, stage=self._stage, error=name, rows=1, at=where
            )
            _LOG.error("%s raised %s at\n%s", self._stage, name, where, extra=known)
            self._credit.take(error)
            yield DEAD, self._dead(rows, f"{type(error).__name__} in this stage")
            return
        for half in np.array_split(np.arange(rows.num_rows), 2):
            left, failed = yield from self._attempt(run, take_rows(rows, half), note)
            if failed is not None:
                yield from self._halve(run, left, failed, note)

    def _dead(self, rows: pa.RecordBatch, detail: str) -> pa.RecordBatch:
        """Return the dead letters; the detail never holds an error's message, only its type."""
        for place in zip(*(rows[name].to_pylist() for name in _PLACE), strict=True):
            where = dict(zip(_PLACE, place, strict=True))
            known = log_fields(LogEvent.RECORD_POISON, stage=self._stage, detail=detail, **where)
            message = "%s: the record %s is poison: %s"
            _LOG.error(message, self._stage, place, detail, extra=known)
        return dead_letters(rows, stage=self._stage, code=DeadLetterCode.POISON, detail=detail)


def _unfinished(rows: pa.RecordBatch, handed: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of which nothing was handed on; a place may stand in a log twice."""
    done = Counter(place for batch in handed for place in places(batch))
    left = np.ones(rows.num_rows, bool)
    for row, place in enumerate(places(rows)):
        if done[place]:
            done[place] -= 1
            left[row] = False
    return take_rows(rows, left)
