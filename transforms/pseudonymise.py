"""Pseudonymise: subject and session ids become keyed references; no raw id goes on from here."""

import functools
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa

from schemas.arrow import distinct, filled
from schemas.events import kind_of, pseudonymous_schema
from schemas.ids import unambiguous
from schemas.keys import KeyPeriod, period_of, read_keys
from transforms.governance import fold
from transforms.stage import MAIN, Tagged, run_stage

_CACHE_LIMIT = 200_000  # references held a process: about 40 MB


@dataclass(slots=True)
class Pseudonyms:
    """Keyed references of subjects, sessions and persons.

    A reference is HMAC-SHA256 under the key of the event's period, over kind of id, region and
    id, cut to 128 bits (32 hex digits). Those of persons have no region, and the first key alone:
    a consent must be found again in every region and under every later key.
    """

    periods: tuple[KeyPeriod, ...]
    _known: dict[tuple[str, int, str, str], str] = field(default_factory=dict)

    def batch(self, events: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with keyed references for the raw ids."""
        period, subject = period_of(self.periods, events["event_time"]), events["subject"]
        always, nowhere = np.zeros_like(period), pa.nulls(events.num_rows, pa.string())
        replaced = {
            "subject_ref": self._column("subject", events["region"], subject, period),
            "session_ref": self._column("session", events["region"], events["session_id"], period),
            "person_ref": self._column("person", nowhere, subject, always),
            "person_fold": self._column("person, folded", nowhere, _folded(subject), always),
        }
        return filled(pseudonymous_schema(kind_of(events)), replaced, events)

    def _column(self, what: str, region: pa.Array, value: pa.Array, period: np.ndarray) -> pa.Array:
        number, first = distinct(pa.array(period), region, value)
        rows = pa.array(first)
        values = value.take(rows).to_pylist()
        names = zip(period[first].tolist(), region.take(rows).to_pylist(), values, strict=True)
        references = [
            None if identity is None else self._reference(what, key, place or "", identity)
            for key, place, identity in names
        ]
        return pa.array(references, pa.string()).take(pa.array(number))

    def _reference(self, what: str, period: int, region: str, identity: str) -> str:
        name = (what, period, region, identity)
        if (known := self._known.get(name)) is not None:
            return known
        if len(self._known) >= _CACHE_LIMIT:
            self._known.clear()
        message = unambiguous(*(pa.array([part]) for part in (what, region, identity)))[0].as_py()
        made = hmac.digest(self.periods[period].key, message, "sha256").hex()[:32]
        self._known[name] = made
        return made


def _folded(subject: pa.Array) -> pa.Array:
    coded = subject.dictionary_encode()
    return pa.array(map(fold, coded.dictionary.to_pylist()), pa.string()).take(coded.indices)


class Pseudonymise(beam.PTransform):
    """EVENT batches → pseudonymous EVENT batches."""

    def __init__(self, *, keys: Path) -> None:
        super().__init__()
        self._keys = keys

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        return run_stage(pcoll, "Pseudonymise", functools.partial(_load, self._keys))[MAIN]


def _load(keys: Path) -> Callable[[pa.RecordBatch], Tagged]:
    pseudonyms = Pseudonyms(read_keys(keys))
    return lambda batch: [(MAIN, pseudonyms.batch(batch))]
