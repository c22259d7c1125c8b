"""Slots: where what is known of each key stands while rows are gone through in order of time."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

NEVER: Final = -(2**62)
NOWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class Slots:
    """A slot for each id among what is known and these rows.

    ``ids`` are those of the slots, the known ones first and in their order; ``own`` is each row's
    slot, ``prior`` that of its id under the key before, NOWHERE where it has none.
    """

    ids: pa.Array
    own: np.ndarray
    prior: np.ndarray

    @classmethod
    def of(cls, known: pa.Array, own: pa.Array, prior: pa.Array) -> "Slots":
        """Give slots to ids: ``known`` are distinct; ``own`` and ``prior`` have one a row."""
        coded = pa.concat_arrays([known, own, prior]).dictionary_encode()
        slots = coded.indices.fill_null(NOWHERE).to_numpy()
        begin, end = len(known), len(known) + len(own)
        return cls(coded.dictionary, slots[begin:end], slots[end:])

    def subjects(self, known: pa.Array, own: pa.Array) -> pa.Array:
        """Return the subject of each slot: that of its last row, or else as it was known.

        ``known`` are those of the known ids, ``own`` those of the rows; null for an id that is only
        some row's prior one.
        """
        place = np.full(len(self.ids), NOWHERE)
        place[: len(known)] = np.arange(len(known))
        place[self.own] = len(known) + np.arange(len(own))
        return pa.concat_arrays([known, own]).take(pa.array(place, mask=place == NOWHERE))

    def find(
        self, rows: slice, seen: np.ndarray, earliest: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where rows write, where they go on from, and whether anything is known there.

        ``seen`` is when each slot was written last. What was not seen since ``earliest`` is
        forgotten; a row whose own slot holds nothing goes on from that under the key before.
        """
        own, prior = self.own[rows], self.prior[rows]
        fresh = seen[own] >= earliest
        moved = ~fresh & (prior != NOWHERE) & (seen[prior] >= earliest)
        return own, np.where(moved, prior, own), fresh | moved
