"""Stretches of a text column that were found, by byte: marked by RE2, joined, blanked, replaced."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import FEW, compile_pattern

OPEN: Final = "\x02"
CLOSE: Final = "\x03"
"""Enclose what is found: a substitution is all that Arrow's RE2 tells of where a pattern matches.
No visible text holds either."""
_MARKED: Final = rf"\1{OPEN}\2{CLOSE}\3"


Stretch = tuple[int, int]
"""Start and end in characters of one string."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Stretches [start, end) of the bytes of a text column, and of what kind each is."""

    starts: np.ndarray
    ends: np.ndarray
    kinds: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)


NOTHING: Final = Spans(*(np.zeros(0, np.int64) for _ in range(3)))


def text_bytes(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of all strings one after the other, and the n + 1 offsets of theirs."""
    _, offsets, data = text.buffers()
    at = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    held = np.frombuffer(data if data is not None else b"", np.uint8)
    return held[at[0] : at[-1]], at - at[0]


def find_spans(text: pa.Array, pattern: str, kind: int) -> Spans:
    """Return what the second group of this RE2 pattern matches in these strings, without null."""
    if len(text) > FEW:
        return spans_of_marks(pc.replace_substring_regex(text, pattern, _MARKED), kind)
    find = compile_pattern(pattern).finditer
    _, offsets = text_bytes(text)
    values = text.cast(pa.binary()).to_pylist()
    found = [
        (start + one.start(2), start + one.end(2))
        for start, value in zip(offsets[:-1].tolist(), values, strict=True)
        for one in find(value)
    ]
    starts, ends = np.array(found, np.int64).reshape(-1, 2).T
    return Spans(starts, ends, np.full(len(found), kind))


def spans_of_marks(marked: pa.Array, kind: int) -> Spans:
    """Return what stands between OPEN and CLOSE, by its place in the text without them."""
    data, _ = text_bytes(marked)
    opened, closed = (np.flatnonzero(data == ord(mark)) for mark in (OPEN, CLOSE))
    before = 2 * np.arange(len(opened))  # marks that stand before each
    return Spans(opened - before, closed - before - 1, np.full(len(opened), kind))


def join_spans(parts: Sequence[Spans]) -> Spans:
    """Return all of these spans, in this order."""
    parts = [NOTHING, *parts]
    return Spans(
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
        np.concatenate([part.kinds for part in parts]),
    )


def move_spans(spans: Spans, text: pa.Array, rows: np.ndarray) -> Spans:
    """Return spans in ``text.take(rows)`` as spans in ``text``."""
    _, offsets = text_bytes(text)
    sizes = np.diff(offsets)[rows]
    own = np.cumsum(sizes) - sizes
    row = np.searchsorted(own, spans.starts, side="right") - 1
    shift = offsets[rows][row] - own[row]
    return Spans(spans.starts + shift, spans.ends + shift, spans.kinds)


def merge_spans(spans: Spans) -> Spans:
    """Make one of spans that overlap, in order; its kind is that of the longest, then the first."""
    order = np.argsort(spans.starts, kind="stable")
    starts, ends, kinds = spans.starts[order], spans.ends[order], spans.kinds[order]
    reach = np.maximum.accumulate(ends)
    new = np.r_[True, starts[1:] >= reach[:-1]]
    first = np.flatnonzero(new)
    best = np.lexsort((order, starts - ends, np.cumsum(new)))
    return Spans(starts[first], np.maximum.reduceat(ends, first), kinds[best][first])


def starting_outside(spans: Spans, others: Spans) -> Spans:
    """Return the spans whose first byte is in none of the others."""
    if not len(others):
        return spans
    order = np.argsort(others.starts, kind="stable")
    reach = np.r_[0, np.maximum.accumulate(others.ends[order])]
    before = np.searchsorted(others.starts[order], spans.starts, side="right")
    kept = reach[before] <= spans.starts
    return Spans(spans.starts[kept], spans.ends[kept], spans.kinds[kept])


def blank_spans(text: pa.Array, spans: Spans, blank: str) -> pa.Array:
    """Return the text with every byte of the spans replaced by the ASCII character ``blank``."""
    if not len(spans):
        return text
    data, offsets = text_bytes(text)
    size = len(data) + 1
    depth = np.bincount(spans.starts, minlength=size) - np.bincount(spans.ends, minlength=size)
    inside = np.cumsum(depth)[:-1] > 0
    return _text(np.where(inside, np.uint8(ord(blank)), data).tobytes(), offsets)


def replace_spans(text: pa.Array, spans: Spans, names: Sequence[bytes]) -> pa.Array:
    """Return the text with each of these spans, which do not overlap, replaced by its kind's name.

    Spans that touch one another are replaced one by one.
    """
    data, offsets = text_bytes(text)
    whole, parts, last = data.tobytes(), [], 0
    for start, end, kind in zip(spans.starts, spans.ends, spans.kinds, strict=True):
        parts += [whole[last:start], names[kind]]
        last = end
    parts.append(whole[last:])
    sizes = np.array([len(name) for name in names])[spans.kinds]
    grown = np.r_[0, np.cumsum(sizes - (spans.ends - spans.starts))]
    return _text(b"".join(parts), offsets + grown[np.searchsorted(spans.ends, offsets, "right")])


def rows_of(text: pa.Array, spans: Spans) -> np.ndarray:
    """Return the positions of the strings in which there is a span."""
    _, offsets = text_bytes(text)
    return np.unique(np.searchsorted(offsets, spans.starts, side="right") - 1)


def mark(text: str, found: Iterable[Stretch]) -> str:
    """Enclose these stretches of one string, given in characters, joined where they overlap."""
    parts, last = [], 0
    stretches = sorted(found)
    while stretches:
        start, end = stretches.pop(0)
        while stretches and stretches[0][0] < end:
            end = max(end, stretches.pop(0)[1])
        parts += [text[last:start], OPEN, text[start:end], CLOSE]
        last = end
    return "".join([*parts, text[last:]])


def _text(data: bytes, offsets: np.ndarray) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets.astype(np.int32).tobytes()), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)
