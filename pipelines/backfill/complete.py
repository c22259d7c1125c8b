"""Whether the observations stand that the landed features of a day were made of."""

import datetime as dt
from collections.abc import Set as AbstractSet

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.backfill.days import CHUNK_US, Days, on_day, read_rows, windows_of, within
from pipelines.backfill.rebuild import COUNTS, length_us, time_of
from schemas.errors import AffectstreamError
from schemas.events import TIME, WINDOW_KEY
from schemas.settings import Windows

_WINDOW = [*WINDOW_KEY, "window_start"]


def check_length(windows: Windows, days: Days, features: DeltaTable) -> None:
    """Refuse days, and the day before them, whose windows have another length than configured.

    Their rows would all be replaced by others of other ids, and lose what context events told.

    Raises:
        AffectstreamError: a window that landed has another length.
    """
    span = length_us(windows)
    for day in Days(days.first - dt.timedelta(days=1), days.last):
        columns = ["window_start", "window_end"]
        rows = read_rows(features, "emotion_features", columns, on_day(day))
        start, end = (rows[name].cast(pa.int64()).to_numpy() for name in columns)
        for length in np.unique(end - start).tolist():
            if length != span:
                message = (
                    f"the windows of {day} are {length / 1e6:g} s long, and windows.length_s is "
                    f"{span / 1e6:g}: backfill with the length that they landed with"
                )
                raise AffectstreamError(message)


def check_complete(
    windows: Windows, day: dt.date, tables: dict[str, DeltaTable], left_out: AbstractSet[str]
) -> None:
    """Refuse a day on which a window that landed was made of more observations than stand.

    Windows of the subjects ``left_out``, which are not rebuilt, may lack theirs.

    Raises:
        AffectstreamError: there is such a window; the first is named.
    """
    span = length_us(windows)
    first, end = windows_of(day, windows)
    step = max(1, CHUNK_US // span)
    for place in range(first, end, step):
        between = time_of(place * span), time_of(min(place + step, end) * span)
        lacking = _lacking(span, tables, between, left_out)
        if len(lacking):
            row = lacking.sort_by("window_start").slice(0, 1).to_pylist()[0]
            message = (
                f"the features of {row['window_start']:%Y-%m-%d %H:%M:%S} were made of "
                f"{row['counted_sum']:,} observations of a subject, and {row['stand_sum']:,} "
                f"stand: retention or an erasure took the rest, so {day} is left as it is"
            )
            raise AffectstreamError(message)


def _lacking(
    span: int,
    tables: dict[str, DeltaTable],
    between: tuple[dt.datetime, dt.datetime],
    left_out: AbstractSet[str],
) -> pa.Table:
    """Return the windows of this time that counted more observations than stand."""
    where = within("window_start", *between)
    landed = read_rows(tables["emotion_features"], "emotion_features", [*_WINDOW, *COUNTS], where)
    where = within("event_time", *between)
    columns = [*WINDOW_KEY, "event_time"]
    observed = read_rows(tables["observations"], "observations", columns, where)
    counted = sum((landed[name].to_numpy() for name in COUNTS), np.zeros(len(landed), np.int64))
    at = observed["event_time"].cast(pa.int64()).to_numpy()
    start = pa.array(at - at % span).cast(TIME)
    both = pa.concat_tables(
        [
            _counted(landed, landed["window_start"], counted, np.zeros_like(counted)),
            _counted(observed, start, np.zeros_like(at), np.ones_like(at)),
        ]
    )
    sums = both.group_by(_WINDOW).aggregate([("counted", "sum"), ("stand", "sum")])
    short = sums.filter(pc.greater(sums["counted_sum"], sums["stand_sum"]))
    ours = pa.array([ref not in left_out for ref in short["subject_ref"].to_pylist()], pa.bool_())
    return short.filter(ours)


def _counted(rows: pa.Table, start: pa.Array, counted: np.ndarray, stand: np.ndarray) -> pa.Table:
    columns = {name: rows[name] for name in WINDOW_KEY}
    return pa.table(columns | {"window_start": start, "counted": counted, "stand": stand})
