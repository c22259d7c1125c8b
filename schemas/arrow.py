"""Helpers on Arrow record batches, the element of every collection, and on their columns."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

FEW: Final = 64
"""Strings up to which it is faster to search one by one than to compile a pattern anew, as Arrow
does each time: 0.1 to 1 ms, against 1 µs a string. Both are RE2."""
_INT64_MAX = 2**63 - 1


def take_rows(batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
    """Return the rows at these positions, or where this mask is true, as a compact copy.

    A copy on purpose: an Arrow slice keeps its parent alive and may be written with it.
    """
    if rows.dtype == bool:
        return batch if rows.all() else batch.filter(pa.array(rows))
    return batch.take(pa.array(rows))


def fill_schema(
    schema: pa.Schema, columns: dict[str, pa.Array], rest: pa.RecordBatch
) -> pa.RecordBatch:
    """Return a batch of this schema from these columns, and from ``rest`` where there is none."""
    names = schema.names
    arrays = [columns[name] if name in columns else rest[name] for name in names]
    return pa.record_batch(arrays, schema=schema)


def equal_runs(keys: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each run of equal neighbours; there is at least one key."""
    starts = np.flatnonzero(np.r_[True, np.diff(keys) != 0]).tolist()
    yield from zip(starts, [*starts[1:], len(keys)], strict=True)


def number_distinct(*columns: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct combinations of these columns' values, in the order they come.

    Returns each row's number, and the first row of each number; a null is a value as any other.
    Joining the columns to one string and coding that costs about as much (0.1 µs a row), but
    needs a separator that no value holds.
    """
    number, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        coded = column.dictionary_encode(null_encoding="encode")
        if size * len(coded.dictionary) > _INT64_MAX:
            number, size = _numbered(number)
        number = number * len(coded.dictionary) + coded.indices.to_numpy()
        size *= len(coded.dictionary)
    number, size = _numbered(number)
    first = np.empty(size, np.int64)
    first[number[::-1]] = np.arange(len(number))[::-1]  # the last assignment stays
    return number, first


def _numbered(codes: np.ndarray) -> tuple[np.ndarray, int]:
    coded = pa.array(codes).dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), len(coded.dictionary)


def vectors(column: pa.Array, width: int) -> np.ndarray:
    """Return a fixed-size list column of n rows as an (n, width) array; nulls become zeros."""
    flat = column.values.slice(column.offset * width, len(column) * width)
    out = flat.to_numpy(zero_copy_only=False).reshape(len(column), width)
    if column.null_count:
        out = np.where(column.is_valid().to_numpy(zero_copy_only=False)[:, None], out, 0)
    return out


def vector_column(rows: np.ndarray, null: np.ndarray | None = None) -> pa.FixedSizeListArray:
    """Return an (n, width) array as a fixed-size list column of float32, null where the mask is."""
    flat = pa.array(np.ascontiguousarray(rows, dtype=np.float32).reshape(-1))
    mask = None if null is None else pa.array(null)
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1], mask=mask)


def match_rows(text: pa.Array, pattern: str) -> np.ndarray:
    """Return the positions of the strings in which this RE2 pattern matches; a null never does."""
    if len(text) <= FEW:
        search = compile_pattern(pattern).search
        values = text.cast(pa.binary()).to_pylist()
        return np.flatnonzero([value is not None and bool(search(value)) for value in values])
    mask = pc.match_substring_regex(text, pattern)
    return np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False))


@functools.cache
def compile_pattern(pattern: str) -> Any:
    """Return a pattern of this code as an RE2 object, which searches UTF-8 bytes."""
    return re2.compile(pattern)


def match_any(text: pa.Array, patterns: Sequence[str]) -> np.ndarray:
    """Return the positions of the strings in which one of these RE2 patterns matches.

    One by one: of too many alternatives in one pattern RE2's automaton outgrows its memory, and
    each string takes two to seven times as long.
    """
    mask = np.zeros(len(text), bool)
    for pattern in patterns:
        mask[match_rows(text, pattern)] = True
    return np.flatnonzero(mask)


def replace_rows(column: pa.Array, rows: np.ndarray, values: pa.Array) -> pa.Array:
    """Return the column with these values at these ascending positions."""
    mask = np.zeros(len(column), dtype=bool)
    mask[rows] = True
    return pc.replace_with_mask(column, pa.array(mask), values)


Line = tuple[list[int], list[int]]
"""Times in µs, ascending, and what holds from each on."""


def as_of(line: np.ndarray, lines: Sequence[Line], micros: np.ndarray, before: int) -> np.ndarray:
    """Return what holds on each row's line at its time, ``before`` where nothing holds yet.

    ``line`` (n,) are indices into ``lines``, ``micros`` (n,) the times. Of two values that begin at
    once the last holds.
    """
    owner = np.repeat(np.arange(len(lines)), [len(times) for times, _ in lines])
    times = np.array([time for times, _ in lines for time in times], np.int64)
    values = np.array([value for _, values in lines for value in values], np.int64)
    if not len(times):
        return np.full(len(line), before)
    # One number stands for line and time: the time by its rank among all of them.
    ranked = np.unique(times)
    at = owner * len(ranked) + np.searchsorted(ranked, times)
    rank = np.searchsorted(ranked, micros, side="right") - 1
    place = np.searchsorted(at, line * len(ranked) + rank, side="right") - 1
    found = place >= 0
    found[found] = owner[place[found]] == line[found]
    return np.where(found, values[place], before)
