"""Consent as of event time: the ledger's rows, and the vectorised question to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import distinct, filled
from schemas.events import kind_of
from schemas.ids import stable_ids
from schemas.tables import CONSENT_LEDGER

UNKNOWN, WITHDRAWN, GRANTED = 0, 1, 2
ANY = "*"

_Key = tuple[str | None, str | None, str | None]
"""Subject reference, purpose and modality."""

_NO_LEDGER = pa.RecordBatch.from_pylist([], CONSENT_LEDGER)


def ledger_rows(events: pa.RecordBatch) -> pa.RecordBatch:
    """Return one CONSENT_LEDGER row for each purpose and modality of a consent event.

    ``events`` is a pseudonymous batch of kind consent or erasure. An erasure request is one row
    for every purpose and modality: from its event time on the gate is closed.
    """
    if kind_of(events) == "erasure":
        rows = np.arange(events.num_rows)
        purposes = modalities = pa.repeat(ANY, events.num_rows)
        actions = pa.repeat("erasure_requested", events.num_rows)
    else:
        rows, purposes, modalities = _pairs(events["purposes"], events["modalities"])
        granted = events["granted"].take(pa.array(rows))
        actions = pc.if_else(granted, "granted", "withdrawn")
    at = events.take(pa.array(rows))
    columns = {
        "ledger_id": stable_ids(at["event_id"], purposes, modalities),
        "purpose": purposes,
        "modality": modalities,
        "action": actions,
        "event_date": at["event_time"].cast(pa.date32()),
    }
    return filled(CONSENT_LEDGER, columns, at)


def _pairs(purposes: pa.Array, modalities: pa.Array) -> tuple[np.ndarray, pa.Array, pa.Array]:
    """Cross each row's purposes with its modalities."""
    rows = pc.list_parent_indices(purposes)
    wide = modalities.take(rows)
    inner = pc.list_parent_indices(wide)
    return (
        rows.take(inner).to_numpy(),
        purposes.flatten().take(inner),
        wide.flatten(),
    )


@dataclass(frozen=True, slots=True)
class Consents:
    """The verdict for any subject, purpose, modality and time, by binary search.

    ``_at`` holds (key number, time in µs) as complex numbers, which numpy sorts by real part and
    then by imaginary part; both fit a float64 exactly (2^53 µs is the year 2255).
    """

    _keys: dict[_Key, int]
    _at: np.ndarray
    _action: np.ndarray

    @classmethod
    def of(cls, ledger: Iterable[pa.RecordBatch]) -> "Consents":
        """Build the view from CONSENT_LEDGER rows in any order, repeated rows included."""
        rows = pa.concat_batches([_NO_LEDGER, *ledger])
        columns = [rows[name] for name in ("subject_ref", "purpose", "modality")]
        number, first = distinct(*columns)
        keys = zip(*(column.take(pa.array(first)).to_pylist() for column in columns), strict=True)
        granted = pc.equal(rows["action"], "granted").to_numpy(zero_copy_only=False)
        at = number + 1j * rows["event_time"].cast(pa.int64()).to_numpy()
        # of two rows at the same instant the withdrawal comes last, so it wins
        order = np.lexsort((~granted, at.imag, at.real))
        action = np.where(granted, GRANTED, WITHDRAWN)[order]
        return cls({key: code for code, key in enumerate(keys)}, at[order], action)

    def ask(
        self, subject: pa.Array, purpose: pa.Array, modality: str, times: pa.Array
    ) -> np.ndarray:
        """Return UNKNOWN, WITHDRAWN or GRANTED a row: the latest word at or before its time.

        A row for one purpose and modality, a row for all purposes or modalities, and an erasure
        request all count; where the latest words differ, a withdrawal wins.
        """
        micros = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
        number, first = distinct(subject, purpose)
        subjects, purposes = (c.take(pa.array(first)).to_pylist() for c in (subject, purpose))
        own = [(s, p, modality) for s, p in zip(subjects, purposes, strict=True)]
        specific = self._latest(own, number, micros)
        erased = self._latest([(s, ANY, ANY) for s in subjects], number, micros)
        return np.where(erased == WITHDRAWN, WITHDRAWN, np.maximum(specific, erased))

    def _latest(self, keys: Sequence[_Key], number: np.ndarray, micros: np.ndarray) -> np.ndarray:
        """Return the last word on ``keys[number[row]]`` at or before each row's time."""
        known = np.array([self._keys.get(key, -1) for key in keys], np.int64)[number]
        place = np.searchsorted(self._at, known + 1j * micros, side="right") - 1
        found = (place >= 0) & (known >= 0)
        found[found] = self._at.real[place[found]] == known[found]
        return np.where(found, self._action[place] if len(self._action) else 0, UNKNOWN)
