"""Tombstones: who was erased until when, by a keyed hash that nothing else has."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from schemas.ids import unambiguous_text


def tombstone_of(key: bytes, fold: str) -> str:
    """Return the tombstone of a person, from the reference that all spellings share.

    32 hex digits of HMAC-SHA256 under a key of its own: neither who knows the person's references
    nor who knows the other keys can tell whose it is.
    """
    return hmac.digest(key, unambiguous_text("tombstone", fold), "sha256").hex()[:32]


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The tombstones that are known: what was recorded of a person until then is gone.

    ``until`` is tombstone → time in µs since 1970, ``key`` the secret that tombstones are made by.
    """

    key: bytes = b""
    until: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether anybody was erased."""
        return bool(self.until)

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
        if not self.until or fold is None:
            return None
        return self.until.get(tombstone_of(self.key, fold))
