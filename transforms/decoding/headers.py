"""CloudEvents attributes out of Kafka headers, column by column.

The binding's names are ``ce_ageband``; gateways make ``Ce-Ageband`` or ``cloudEvents:ageband`` of
them, and put values in quotes or percent-encode them. All spellings are read, and no two of them
may differ: who picks records by one must not see another age than the gate.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.attributes import ATTRIBUTES
from transforms.decoding.messages.encodings import decode_percent, is_of_http

_Places = Callable[[list[int]], tuple[np.ndarray, np.ndarray | None]]
"""Codes of keys → where such headers stand, in order, and in which rows; None: one in each row."""

_AMQP_PREFIX = re.compile("^cloudevents?")
_QUOTED = (b'"', b"{")

LONGEST_NAME = 64
"""No spelling of an attribute is longer; a name of a megabyte is not worth folding."""


def read_headers(headers: pa.Array, names: Iterable[str]) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Return a string column for each name, and a mask of rows that say nothing sure.

    Absent headers are null. A value that is not UTF-8 is null and marks its row. A header may come
    again as it is; where it comes again with another value or with none, in whatever spelling, its
    row is marked and all columns of the row are null.
    """
    pairs = headers.flatten()
    keys, values = pairs.field("key").dictionary_encode(), _without_quotes(pairs.field("value"))
    codes = keys.indices.to_numpy(zero_copy_only=False)
    spelt = keys.dictionary.to_pylist()
    values = _without_percents(values, codes, spelt)
    alike = _group_alike(spelt)
    places = _same_layout(codes, headers) or _any_layout(codes, headers)
    broken, torn = np.zeros(len(headers), bool), np.zeros(len(headers), bool)
    columns = {}
    for name in names:
        if (spellings := alike.get(folded(name))) is None:
            columns[name] = pa.nulls(len(headers), pa.string())
            continue
        at, rows = places(spellings)
        index = at if rows is None else _firsts(at, rows, len(headers))
        columns[name], bad = utf8(values.take(pa.array(index, mask=index < 0)))
        broken |= bad
        if rows is not None and len(at) > np.count_nonzero(index >= 0):
            torn |= _find_contradicted(values, at, rows, index)
    if torn.any():
        mask = pa.array(torn)
        columns = {name: pc.if_else(mask, None, column) for name, column in columns.items()}
    return columns, broken | torn


def _group_alike(spelt: list[str | None]) -> dict[str, list[int]]:
    """Return folded name → the codes of its spellings."""
    codes = defaultdict(list)
    for code, key in enumerate(spelt):
        if key is not None and len(key) <= LONGEST_NAME:
            codes[folded(key)].append(code)
    return codes


@lru_cache(maxsize=1024)
def folded(name: str) -> str:
    """Return a name's letters and digits in lower case: ``CE-Age_Band`` is ``ceageband``.

    The prefix of AMQP's binding is that of Kafka's: ``cloudEvents:id`` and ``cloudEvents_id`` are
    ``ceid``.
    """
    return _AMQP_PREFIX.sub("ce", "".join(filter(str.isalnum, name.casefold())))


def _without_quotes(values: pa.Array) -> pa.Array:
    """Return header values with those that are JSON strings written plainly."""
    starts = [pc.starts_with(values, start) for start in _QUOTED]
    if not any(pc.any(found).as_py() for found in starts):
        return values
    quoted = pc.fill_null(pc.or_(*starts), False)
    plain = [unquote(value) for value in values.filter(quoted).to_pylist()]
    return pc.replace_with_mask(values, quoted, pa.array(plain, values.type))


def _without_percents(values: pa.Array, codes: np.ndarray, spelt: list[str | None]) -> pa.Array:
    """Return header values with those of HTTP's binding, ``ce-…``, as their producer gave them."""
    encoded = [code for code, name in enumerate(spelt) if name is not None and is_of_http(name)]
    if not encoded:
        return values
    percents = pc.fill_null(pc.match_substring(values, b"%"), False)
    percents = pc.and_(percents, pa.array(np.isin(codes, encoded)))
    if not pc.any(percents).as_py():
        return values
    plain = [decode_percent(value) for value in values.filter(percents).to_pylist()]
    return pc.replace_with_mask(values, percents, pa.array(plain, values.type))


def unquote(value: bytes) -> bytes:
    """Return the text of a header that is a JSON string, as Spring and Kafka Connect write them.

    Connect may put it beside its schema. Any other value comes back as it is.
    """
    if not value.startswith(_QUOTED):
        return value
    try:
        found = json.loads(value)
        if isinstance(found, dict) and found.keys() == {"schema", "payload"}:
            found = found["payload"]
        return found.encode() if isinstance(found, str) else value
    except (ValueError, RecursionError):
        return value


def _same_layout(codes: np.ndarray, headers: pa.Array) -> _Places | None:
    """Return how to find headers where all rows have the same keys in the same order.

    That is what one producer writes, and finding 13 headers costs a third of the general way.
    """
    count = len(headers)
    width = len(codes) // max(count, 1)
    if not width or headers.null_count or (np.diff(headers.offsets.to_numpy()) != width).any():
        return None
    if (codes.reshape(count, width) != codes[:width]).any():
        return None
    layout, start = codes[:width].tolist(), np.arange(count) * width

    def places(wanted: list[int]) -> tuple[np.ndarray, np.ndarray | None]:
        spots = [spot for spot, code in enumerate(layout) if code in wanted]
        if len(spots) == 1:
            return start + spots[0], None
        at = (start[:, None] + np.array(spots)).reshape(-1)
        return at, np.repeat(np.arange(count), len(spots))

    return places


def _any_layout(codes: np.ndarray, headers: pa.Array) -> _Places:
    rows = pc.list_parent_indices(headers).to_numpy()

    def places(wanted: list[int]) -> tuple[np.ndarray, np.ndarray | None]:
        found = codes == wanted[0] if len(wanted) == 1 else np.isin(codes, wanted)
        at = np.flatnonzero(found)
        return at, rows[at]

    return places


def _firsts(at: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Return where in each row the first of these headers stands, -1 where none does."""
    index = np.full(count, -1)
    index[rows[::-1]] = at[::-1]
    return index


def _find_contradicted(
    values: pa.Array, at: np.ndarray, rows: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """Return which rows have, beside the header that is read, one that says anything else."""
    beside = index[rows] >= 0
    other, rows = values.take(pa.array(at[beside])), rows[beside]
    read = values.take(pa.array(index[rows]))
    same = pc.or_(
        pc.fill_null(pc.equal(read, other), False), pc.and_(read.is_null(), other.is_null())
    )
    mask = np.zeros(len(index), bool)
    mask[rows[~same.to_numpy(zero_copy_only=False)]] = True
    return mask


def explain_headers(headers: Iterable[tuple[str | None, bytes | None]]) -> str:
    """Return what one row of headers says twice, or in no UTF-8; nothing of it is repeated."""
    seen: dict[str, bytes | None] = {}
    for key, value in headers:
        name = folded(key) if key is not None and len(key) <= LONGEST_NAME else ""
        if name not in _NAMES:
            continue
        given = value if value is None else unquote(value)
        if seen.setdefault(name, given) != given:
            return f"{_NAMES[name]} stands in two headers with different values: send one"
        if given is not None and not _is_utf8(given):
            return f"{_NAMES[name]} is not UTF-8"
    return "an attribute is not UTF-8, or stands in two headers with different values"


_NAMES = {"contenttype": "`content-type`"} | {
    f"ce{name}": f"`{name}`" for name in (*ATTRIBUTES, "specversion")
}


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
