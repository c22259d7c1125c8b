"""CloudEvents attributes out of Kafka headers, column by column."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def read_headers(headers: pa.Array, names: Iterable[str]) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Return a string column for each name, and a mask of rows with an undecodable value.

    Absent headers are null; of a repeated header the first counts. A value that is not UTF-8 is
    null and marks its row.
    """
    pairs = headers.flatten()
    rows = pc.list_parent_indices(headers).to_numpy()
    keys = pairs.field("key").dictionary_encode()
    codes = keys.indices.to_numpy(zero_copy_only=False)
    known = {key: code for code, key in enumerate(keys.dictionary.to_pylist())}
    values = pairs.field("value")
    broken = np.zeros(len(headers), bool)
    columns = {}
    for name in names:
        if name not in known:
            columns[name] = pa.nulls(len(headers), pa.string())
            continue
        at = np.flatnonzero(codes == known[name])[::-1]
        index = np.full(len(headers), -1)
        index[rows[at]] = at
        column = values.take(pa.array(index, mask=index < 0))
        columns[name], bad = utf8(column)
        broken |= bad
    return columns, broken


def utf8(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return a binary column as strings, and a mask of the rows that are not UTF-8 (then null)."""
    bad = np.zeros(len(column), bool)
    try:
        return column.cast(pa.string()), bad
    except pa.ArrowInvalid:
        values = column.to_pylist()
        bad[:] = [value is not None and not _is_utf8(value) for value in values]
        good = pc.if_else(pa.array(bad), None, column)
        return good.cast(pa.string()), bad


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
