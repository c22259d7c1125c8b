"""Front ends: payload columns become padded tensors, and what can't be decoded gets a code.

Each front end turns one payload column into a ``Prepared``: which rows could be decoded, how long
they are, and how to collate any of them into the inputs of one forward pass. They are in the
folder of their modality; this module holds what they share.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
from torch import Tensor

from schemas.errors import Code, DeadLetterCode, QualityCode, UndecodableError
from schemas.media.formats import FormatCode, explain
from schemas.media.mangled import is_mangled

Inputs = dict[str, Tensor]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Failure:
    """One row that could not be recognised; the detail never holds payload."""

    row: int
    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Decoded rows: their positions in the column, their lengths, and how to collate some.

    ``quality`` (n,) in [0, 1] is how much of each can be judged, all of it where it is None, and
    ``codes`` what keeps the rest from it. ``net_us`` is the time that nets of the front end took.
    """

    rows: np.ndarray
    lengths: np.ndarray
    collate: Callable[[np.ndarray], Inputs]
    failures: tuple[Failure, ...] = ()
    quality: np.ndarray | None = None
    codes: tuple[QualityCode | None, ...] = ()
    net_us: int = 0


class FrontEnd(Protocol):
    """Decodes ``column`` at most ``chunk_rows`` rows at a time, to bound what is decoded at once.

    Rows of different length share a forward pass only where ``pads`` is true: the model must mask
    the padding, or a row's scores would depend on its neighbours.
    """

    column: str
    chunk_rows: int
    micro_batch: int
    pads: bool

    def prepare(self, column: pa.Array) -> Prepared: ...


def rows_with_payload(column: pa.Array) -> tuple[np.ndarray, tuple[Failure, ...]]:
    """Return the rows that hold a payload, and a failure for each that holds none."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    missing = np.flatnonzero(~valid)
    code = DeadLetterCode.RECOGNISER_FAILED
    return np.flatnonzero(valid), tuple(Failure(int(i), code, "no payload") for i in missing)


def decode_rows(
    column: pa.Array, decode: Callable[[bytes], Item], code: DeadLetterCode
) -> tuple[np.ndarray, list[Item], tuple[Failure, ...]]:
    """Decode every payload, on all cores: libsndfile and Pillow let go of the interpreter.

    An Opus clip of 3 s takes 6.5 ms of one core, as long as the forward pass that follows it.
    """

    def attempt(row: int, media: bytes) -> Item | Failure:
        try:
            return decode(media)
        except Exception as error:  # a decoder may raise anything on hostile bytes
            if is_mangled(media):
                mangled = FormatCode.FOUND_MANGLED
                return Failure(row, mangled, explain(mangled))
            if isinstance(error, UndecodableError):
                return Failure(row, error.code, str(error))
            return Failure(row, code, f"{type(error).__name__} while decoding")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(attempt, range(len(column)), (m.as_py() or b"" for m in column)))
    failures = tuple(item for item in found if isinstance(item, Failure))
    items = [item for item in found if not isinstance(item, Failure)]
    rows = [row for row, item in enumerate(found) if not isinstance(item, Failure)]
    return np.array(rows, np.int64), items, failures
