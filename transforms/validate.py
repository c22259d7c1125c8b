"""ValidateEvents: EVENT batches → the rows whose expectations hold, and dead letters."""

from functools import cache

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import take_rows
from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode
from schemas.stages import DEAD, MAIN, Stage, Tagged, kind_of
from schemas.suites import Check, compile_suite, load_suite
from schemas.tables import DEAD_LETTERS
from transforms.stage import Outputs, run_stage

_NOTHING = pa.RecordBatch.from_pylist([], schema=DEAD_LETTERS)


class ValidateEvents(beam.PTransform):
    """EVENT batches → the same batches without the rows that fail, and dead letters."""

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        return run_stage(pcoll, Stage.VALIDATE, lambda: _validate)


def _validate(batch: pa.RecordBatch) -> Tagged:
    valid, dead = validate_batch(batch, kind_of(batch))
    return [(MAIN, valid), (DEAD, dead)]


@cache
def _checks(kind: str) -> tuple[Check, ...]:
    return compile_suite(load_suite(f"events/{kind}"))


def _suite(batch: pa.RecordBatch, kind: str) -> str:
    """Return the suite's name; a withdrawal is a prohibition as an erasure is, and no grant."""
    withdrawn = kind == "consent" and not pc.any(pc.fill_null(batch["granted"], True)).as_py()
    return "erasure" if withdrawn else kind


def validate_batch(batch: pa.RecordBatch, kind: str) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return the rows that meet every expectation of their kind, and the others' dead letters.

    A row gets one dead letter, which says what the first expectation asks that it fails. A
    batch without a failing row is returned as it is. Consents are all grants or all withdrawals.
    """
    if not batch.num_rows:
        return batch, _NOTHING
    checks = _checks(_suite(batch, kind))
    passed = len(checks)
    first = np.full(batch.num_rows, passed)
    for number, check in enumerate(checks):
        failing = check.failing(batch)
        if failing.any():
            first[failing & (first == passed)] = number
    valid = first == passed
    if valid.all():
        return batch, _NOTHING
    asked = np.array([check.requirement for check in checks])
    rows = take_rows(batch, ~valid)
    dead = dead_letters(
        rows,
        stage=Stage.VALIDATE,
        code=DeadLetterCode.EXPECTATION_FAILED,
        detail=pa.array(asked[first[~valid]]),
    )
    return take_rows(batch, valid), dead
