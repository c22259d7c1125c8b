"""Rows that were rebuilt beside those that landed: which differ, and in what."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import vectors
from schemas.table import Table

TOLERANCE = 1e-3
"""Up to which numbers are equal, as between any two runs over the same events."""

DIFFERENCE = pa.schema(
    [
        ("row_id", pa.string()),
        ("event_date", pa.date32()),
        ("what", pa.string()),
    ]
)
"""One row for each row that differs; ``what`` names the columns, or says where it is missing."""
LACKING = "it landed, and is not rebuilt"
NEW = "it is rebuilt, and has not landed"


def differences(table: Table, rebuilt: pa.Table, landed: pa.Table) -> pa.Table:
    """Return DIFFERENCE rows, one for each row id whose rows are not the same."""
    rebuilt, landed = (
        rows.select(table.schema.names).cast(table.schema).combine_chunks()
        for rows in (rebuilt, landed)
    )
    place = pc.index_in(rebuilt[table.row_id], landed[table.row_id].combine_chunks())
    known = place.is_valid()
    pairs = rebuilt.filter(known), landed.take(place.drop_null())
    found = [
        _name(table, rebuilt.filter(pc.invert(known)), NEW),
        _name(table, landed.filter(_lacks(landed[table.row_id], rebuilt[table.row_id])), LACKING),
        _unequal(table, *pairs),
    ]
    return pa.concat_tables(found)


def _lacks(ids: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.invert(pc.is_in(ids, among.combine_chunks()))


def _name(table: Table, rows: pa.Table, what: str) -> pa.Table:
    columns = [rows[table.row_id], rows["event_date"], pa.repeat(what, len(rows))]
    return pa.table(columns, schema=DIFFERENCE)


def _unequal(table: Table, one: pa.Table, other: pa.Table) -> pa.Table:
    names = np.full(len(one), "", object)
    for column in table.schema.names:
        names[~_equal(one[column], other[column])] += f"{column} "
    rows = one.filter(pa.array(names != ""))
    what = pa.array([name.strip() for name in names if name], pa.string())
    return pa.table([rows[table.row_id], rows["event_date"], what], schema=DIFFERENCE)


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> np.ndarray:
    """Return where two columns agree: nulls with nulls, numbers up to TOLERANCE."""
    if pa.types.is_fixed_size_list(one.type):
        width = one.type.list_size
        left, right = (vectors(column.combine_chunks(), width) for column in (one, other))
        return np.isclose(left, right, rtol=0, atol=TOLERANCE, equal_nan=True).all(axis=1)
    if pa.types.is_floating(one.type):
        return np.isclose(one.to_numpy(), other.to_numpy(), rtol=0, atol=TOLERANCE, equal_nan=True)
    same = pc.fill_null(pc.equal(one, other), False)
    nulls = pc.and_(one.is_null(), other.is_null())
    return pc.or_(same, nulls).to_numpy()
