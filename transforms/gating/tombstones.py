"""Tombstones: who was erased until when, by a keyed hash that nothing else has."""

import hmac
from collections.abc import Iterable, Mapping

import pyarrow as pa

from schemas.ids import unambiguous_text


def tombstone_of(key: bytes, fold: str) -> str:
    """Return the tombstone of a person, from the reference that all spellings share.

    32 hex digits of HMAC-SHA256 under a key of its own: neither who knows the person's references
    nor who knows the other keys can tell whose it is.
    """
    return hmac.digest(key, unambiguous_text("tombstone", fold), "sha256").hex()[:32]


class Tombstones:
    """The tombstones that are known; what was recorded of a person until then is gone."""

    def __init__(self, key: bytes, until: Mapping[str, int] | None = None) -> None:
        self._key, self._until = key, dict(until or {})

    def __bool__(self) -> bool:
        return bool(self._until)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tombstones) and self._until == other._until

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, key: bytes, rows: Iterable[pa.RecordBatch]) -> "Tombstones":
        """Return the tombstones of ERASURES rows, begun ones too; the last of a person counts."""
        until: dict[str, int] = {}
        for batch in rows:
            times = batch["erased_until"].cast(pa.int64()).to_pylist()
            for stone, time in zip(batch["tombstone"].to_pylist(), times, strict=True):
                until[stone] = max(time, until.get(stone, time))
        return cls(key, until)

    def erased_until(self, fold: str | None) -> int | None:
        """Return until when this person is erased, in µs since 1970; None: not at all."""
        if not self._until or fold is None:
            return None
        return self._until.get(tombstone_of(self._key, fold))
