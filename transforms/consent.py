"""Consent as of event time: the ledger's rows, and the vectorised question to them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import filled
from schemas.events import kind_of
from schemas.ids import stable_ids
from schemas.tables import CONSENT_LEDGER

UNKNOWN, WITHDRAWN, GRANTED = 0, 1, 2
ANY = "*"


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

    _keys: dict[str, int]
    _at: np.ndarray
    _action: np.ndarray

    @classmethod
    def of(cls, ledger: Iterable[pa.RecordBatch]) -> "Consents":
        """Build the view from CONSENT_LEDGER rows in any order, repeated rows included."""
        table = pa.Table.from_batches(list(ledger), CONSENT_LEDGER).combine_chunks()
        keys = _key(table["subject_ref"], table["purpose"], table["modality"]).combine_chunks()
        coded = keys.dictionary_encode()
        times = table["event_time"].cast(pa.int64()).to_numpy()
        granted = pc.equal(table["action"], "granted").to_numpy()
        at = coded.indices.to_numpy() + 1j * times
        # of two rows at the same instant the withdrawal comes last, so it wins
        order = np.lexsort((~granted, at.imag, at.real))
        action = np.where(granted, GRANTED, WITHDRAWN)[order]
        names = {name: number for number, name in enumerate(coded.dictionary.to_pylist())}
        return cls(names, at[order], action)

    def ask(
        self, subject: pa.Array, purpose: pa.Array, modality: str, times: pa.Array
    ) -> np.ndarray:
        """Return UNKNOWN, WITHDRAWN or GRANTED a row: the latest word at or before its time.

        A row for one purpose and modality, a row for all purposes or modalities, and an erasure
        request all count; where the latest words differ, a withdrawal wins.
        """
        micros = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
        specific = self._latest(_key(subject, purpose, modality), micros)
        erased = self._latest(_key(subject, ANY, ANY), micros)
        return np.where(erased == WITHDRAWN, WITHDRAWN, np.maximum(specific, erased))

    def _latest(self, keys: pa.Array, micros: np.ndarray) -> np.ndarray:
        coded = keys.dictionary_encode()
        numbers = np.array([self._keys.get(k, -1) for k in coded.dictionary.to_pylist()], np.int64)
        number = numbers[coded.indices.to_numpy(zero_copy_only=False)]
        place = np.searchsorted(self._at, number + 1j * micros, side="right") - 1
        found = (place >= 0) & (number >= 0)
        found[found] = self._at.real[place[found]] == number[found]
        return np.where(found, self._action[place] if len(self._action) else 0, UNKNOWN)


def _key(subject: pa.Array, purpose: pa.Array | str, modality: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(
        subject, purpose, modality, "\x1f", null_handling="replace", null_replacement=""
    )
