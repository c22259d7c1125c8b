"""How long events take to their records: by source, and those that take too long.

A delay is the record's time less the event's. A queue that was offline makes some of a source's
delays long; a clock that is behind makes all of them long, so that the least tells the two apart.
"""

import functools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics

from schemas.arrow import take_rows
from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode
from schemas.events import GOVERNANCE_KINDS
from schemas.stages import DEAD, MAIN, Stage, Tagged, kind_of
from transforms.decoding.event_ids import EventIds

DELAY: Final = "delay_ms:"
"""Begins the name of the distribution of a source's delays: least and most of each batch."""
_PLACE: Final = ["topic", "partition", "offset", "event_id", "event_time"]
_DETAIL: Final = "the event's time is more than {:.0f} s behind its record's (clocks.behind_s)"


def measure_delays(sources: pa.Array, times: pa.Array, recorded: pa.Array, ids: EventIds) -> None:
    """Add to the metrics how long these events of a batch took, by source.

    A source stands under a keyed pseudonym, since it may name a device or a person.
    """
    coded = sources.dictionary_encode()
    delays = pc.subtract(recorded.cast(pa.int64()), times.cast(pa.int64()))
    known = pc.and_(delays.is_valid(), coded.is_valid())
    rows = known.to_numpy(zero_copy_only=False)
    if not rows.any():
        return
    codes = coded.indices.filter(known).to_numpy()
    ms = delays.filter(known).to_numpy() // 1000
    least = np.full(len(coded.dictionary), np.iinfo(np.int64).max)
    most = np.full(len(coded.dictionary), np.iinfo(np.int64).min)
    np.minimum.at(least, codes, ms)
    np.maximum.at(most, codes, ms)
    names = coded.dictionary.to_pylist()
    for code in np.unique(codes).tolist():
        if name := ids.source(names[code]):
            spread = _spread(name)
            spread.update(int(least[code]))
            spread.update(int(most[code]))


@functools.cache  # EventIds names a bounded number of sources
def _spread(source: str) -> Any:
    return Metrics.distribution(Stage.DECODE, DELAY + source)


def sieve_behind(decoded: Tagged, behind_s: float) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Make dead letters of session events that are further behind their records than this.

    Never of governance: a word of any time counts.
    """
    for tag, batch in decoded:
        if not behind_s or tag != MAIN or kind_of(batch) in GOVERNANCE_KINDS:
            yield tag, batch
            continue
        limit = pc.add(batch["event_time"], pa.scalar(int(behind_s * 1e6), pa.duration("us")))
        late = pc.fill_null(pc.greater(batch["recorded_at"], limit), False)
        behind = late.to_numpy(zero_copy_only=False)
        yield MAIN, take_rows(batch, ~behind)
        if behind.any():
            rows = take_rows(batch.select(_PLACE), behind)
            detail = _DETAIL.format(behind_s)
            code = DeadLetterCode.CLOCK_BEHIND
            yield DEAD, dead_letters(rows, stage=Stage.DECODE, code=code, detail=detail)
