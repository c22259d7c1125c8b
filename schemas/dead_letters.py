"""Dead letters: what is wrong with a record, and where to find it, never its payload."""

import pyarrow as pa
import pyarrow.compute as pc

from schemas.events import TIME, record_times
from schemas.ids import stable_ids
from schemas.table import NO_DAY
from schemas.tables import DEAD_LETTERS


def dead_letters(
    rows: pa.RecordBatch, *, stage: str, code: str | pa.Array, detail: str | pa.Array
) -> pa.RecordBatch:
    """Return one DEAD_LETTERS row for each of these rows.

    ``rows`` carries ``topic``, ``partition`` and ``offset``, and ``event_id`` and ``event_time``
    once they are decoded; before that the day comes from the record's ``timestamp``, and where that
    tells none it is NO_DAY. ``code`` and ``detail`` are one value for all rows or one a row.
    """
    count = rows.num_rows
    codes = _column(str(code) if isinstance(code, str) else code, count)
    stages = pa.repeat(stage, count)
    names = rows.schema.names
    times = rows["event_time"] if "event_time" in names else pa.nulls(count, TIME)
    ids = rows["event_id"] if "event_id" in names else pa.nulls(count, pa.string())
    recorded = record_times(rows["timestamp"])[0] if "timestamp" in names else times
    known = pc.coalesce(times, recorded)
    place = [rows["topic"], rows["partition"].cast(pa.string()), rows["offset"].cast(pa.string())]
    columns = {
        # With the event: a topic that was made anew, or another log, has the same places again.
        "dead_letter_id": stable_ids(*place, stages, codes, ids),
        "stage": stages,
        "code": codes,
        "topic": rows["topic"],
        "partition": rows["partition"],
        "offset": rows["offset"],
        "event_id": ids,
        "event_time": times,
        "detail": _column(detail, count),
        "event_date": pc.fill_null(known.cast(pa.date32()), NO_DAY),
    }
    return pa.record_batch(list(columns.values()), schema=DEAD_LETTERS)


def _column(value: str | pa.Array, count: int) -> pa.Array:
    return pa.repeat(value, count) if isinstance(value, str) else value
