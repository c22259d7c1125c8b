"""Deterministic ids: the same input gives the same id in every run, process and language."""

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NIBBLE = np.zeros(256, np.uint64)
_NIBBLE[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_PLACES = np.uint64(16) ** np.arange(15, -1, -1, dtype=np.uint64)


def stable_ids(*columns: pa.Array | str) -> pa.Array:
    """Return 32 hex digits a row: BLAKE2b-128 of the row's strings, see ``unambiguous``.

    One digest a row costs 1.1 µs; a vectorised 128-bit hash from pandas measured the same, and is
    no standard.
    """
    rows = unambiguous(*columns).to_pylist()
    return pa.array([blake2b(row, digest_size=16).hexdigest() for row in rows], pa.string())


def unambiguous(*columns: pa.Array | str) -> pa.Array:
    """Return the strings of each row as one binary value that no other strings give.

    A column that is one string stands in every row; at least one is none. Each is written behind
    its length in bytes (a netstring, ``5:alice``), a null as ``-``. A separator would not do:
    whoever may write it into one string can make it look like two.
    """
    parts = [_length_prefixed(column) for column in columns]
    return pc.binary_join_element_wise("", *parts, "").cast(pa.binary())


def unambiguous_text(*parts: str) -> bytes:
    """Return one row's strings as ``unambiguous`` does, without the cost of Arrow for one."""
    encoded = [part.encode() for part in parts]
    return b"".join(b"%d:%s" % (len(part), part) for part in encoded)


def _length_prefixed(column: pa.Array | str) -> pa.Array | str:
    if isinstance(column, str):
        return unambiguous_text(column).decode()
    lengths = pc.binary_length(column).cast(pa.string())
    prefixed = pc.binary_join_element_wise(lengths, column, ":")
    return pc.fill_null(prefixed, "-") if column.null_count else prefixed


def first_half(ids: pa.Array) -> np.ndarray:
    """Return the first 64 bits of ids made by ``stable_ids``; there must be no null."""
    digits = np.frombuffer(
        b"".join(pc.binary_slice(ids.cast(pa.binary()), 0, 16).to_pylist()), np.uint8
    )
    return _NIBBLE[digits.reshape(-1, 16)] @ _PLACES
