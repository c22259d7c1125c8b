"""Row ids of events: keyed, and bound to subject, kind and time."""

import hmac
from hashlib import blake2b
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.ids import unambiguous
from schemas.keys import Keys, periods_of

ID_SPAN_US: Final = 60_000_000
"""An event's id is good for a minute of event time: the same in another minute is another event.

So ids that a producer counts anew in each session stay apart, and whoever looks for a row with the
same id has to look no further than the minute (docs/adr/0013)."""

MOST_SOURCES: Final = 64
"""Sources that a worker knows by a stand-in: each is a metric of the run."""

_POSITIVE: Final = np.uint32(0x7FFFFFFF)
"""31 bits: never negative, as ``transforms.land`` marks an absent row by -1, of HELD's width."""


class EventIds:
    """Makes the ids; keys are those of the pseudonyms, each for the event times of its period."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._secrets = [hmac.digest(p.key, b"event ids", "sha256") for p in keys.periods]
        self._names = hmac.digest(keys.person, b"names", "sha256")
        self._sources: dict[str, str] = {}

    def shredded(self, times: pa.Array, regions: pa.Array) -> np.ndarray:
        """Return which rows are of a time whose key was removed, so that no id can be made."""
        if not self._keys.shredded:
            return np.zeros(len(times), bool)
        return periods_of(self._keys, times, regions)[0] < 0

    def of(
        self, kind: str, subject: pa.Array, source: pa.Array, given: pa.Array, times: pa.Array,
        regions: pa.Array,
    ) -> tuple[pa.Array, np.ndarray]:  # fmt: skip
        """Return the ids of events of one kind (32 hex digits), and 31 secret bits for each.

        An id is keyed BLAKE2b-128 over kind, subject, source, the id that the producer gave, and
        the minute of event time. The bits mask a checksum of the content, which could be guessed
        back to a short text otherwise.
        """
        minutes = pc.divide(times.cast(pa.int64()), ID_SPAN_US).cast(pa.string())
        rows = unambiguous(subject, source, given, minutes).to_pylist()
        hashes = [blake2b(digest_size=20, key=key, person=kind.encode()) for key in self._secrets]
        digests = []
        periods = np.maximum(periods_of(self._keys, times, regions)[0], 0)
        for row, period in zip(rows, periods.tolist(), strict=True):
            digest = hashes[period].copy()
            digest.update(row)
            digests.append(digest.digest())
        made = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 20)
        return _hex(made[:, :16]), made[:, 16:].copy().view("<u4")[:, 0] & _POSITIVE

    def pseudonym(self, what: str, name: str) -> str:
        """Return a keyed stand-in for an unknown name, such as ``topic-`` and 16 digits."""
        digest = blake2b(name.encode(), digest_size=8, key=self._names, person=what.encode())
        return f"{what}-{digest.hexdigest()}"

    def source(self, name: str) -> str | None:
        """Return the stand-in of a source, None where MOST_SOURCES others have one already."""
        if name not in self._sources and len(self._sources) < MOST_SOURCES:
            self._sources[name] = self.pseudonym("source", name)
        return self._sources.get(name)


def _hex(rows: np.ndarray) -> pa.Array:
    """Return bytes (n, 16) as strings of 32 digits."""
    text = pa.py_buffer(rows.tobytes().hex().encode())
    offsets = pa.py_buffer(np.arange(len(rows) + 1, dtype=np.int32) * 32)
    return pa.StringArray.from_buffers(len(rows), offsets, text)


def masked(checksums: np.ndarray, bits: np.ndarray) -> pa.Array:
    """Return CRC-32 checksums (n,) under these bits, as a column of numbers below 2^31."""
    return pa.array((checksums & _POSITIVE ^ bits).astype(np.int64))
