"""The time that Kafka keeps of a record: any 64 bits that a producer wrote, made a time or none."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.events import TIME


def _ms(year: int) -> int:
    return int(dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)


_FIRST_MS, _END_MS = _ms(1000), _ms(9000)
"""As for event times: no calendar here can count a day back or on from what is outside."""


def record_times(timestamps: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return RAW ``timestamp`` values as TIME, and a mask of those that are no time at all.

    Null, -1 (Kafka's own "none") and 0 (a clock that was never set) mean that there is none. Any
    other value that is not of the years 1000 to 8999 marks its row and is null, too; it would
    overflow as microseconds, or be a partition of a table that nothing can write to again.
    """
    ms = timestamps.cast(pa.int64())
    numbers = pc.fill_null(ms, -1).to_numpy()
    none = (numbers == -1) | (numbers == 0)
    outside = ~none & ((numbers < _FIRST_MS) | (numbers >= _END_MS))
    usable = np.where(none | outside, 0, numbers) * 1000
    return pa.array(usable, pa.int64(), mask=none | outside).cast(TIME), outside
