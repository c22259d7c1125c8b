"""Pseudonymise: subject and session ids become keyed references; no raw id goes on from here."""

import functools
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa

from schemas.arrow import fill_schema, number_distinct
from schemas.events import pseudonymous_schema
from schemas.ids import unambiguous_text
from schemas.keys import KeyPeriod, period_of, read_keys
from schemas.stages import MAIN, Stage, Tagged, kind_of
from transforms.gating.governance import fold
from transforms.pseudonymising.fields import FreeFields
from transforms.stage import Outputs, run_stage

_CACHE_LIMIT = 400_000  # references held a process, four a subject and session: about 80 MB


@dataclass(slots=True)
class Pseudonyms:
    """Keyed references of subjects, sessions and persons.

    A reference is HMAC-SHA256 under the key of the event's period, over kind of id, region and
    id, cut to 128 bits (32 hex digits). Those of persons have no region, and the first key alone:
    a consent must be found again in every region and under every later key.
    """

    periods: tuple[KeyPeriod, ...]
    fields: FreeFields = field(default_factory=FreeFields)
    _known: dict[tuple[str, int, str, str], str] = field(default_factory=dict)
    _people: dict[str, tuple[str, str]] = field(default_factory=dict)

    def batch(self, events: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with keyed references for the raw ids, and without free text."""
        periods = period_of(self.periods, events["event_time"])
        region = events["region"].dictionary_encode(null_encoding="encode")
        people = events["subject"].dictionary_encode()
        names = people.dictionary.to_pylist()
        known = [self._person(name) for name in names]
        replaced = {
            "subject_ref": self._column("subject", periods, region, people),
            "session_ref": self._column(
                "session", periods, region, events["session_id"].dictionary_encode()
            ),
            "person_ref": _recode(people.indices, [exact for exact, _ in known]),
            "person_fold": _recode(people.indices, [folded for _, folded in known]),
        } | self.fields.replace(
            events, lambda what, value: self._column(what, periods, region, value.dictionary_encode())
        )
        return fill_schema(pseudonymous_schema(kind_of(events)), replaced, events)

    def _person(self, name: str) -> tuple[str, str]:
        """Return the references of exactly this subject id, and of all that fold to the same."""
        if (known := self._people.get(name)) is not None:
            return known
        if len(self._people) >= _CACHE_LIMIT:
            self._people.clear()
        folded = self._reference("person, folded", 0, "", fold(name))
        made = self._people[name] = self._reference("person", 0, "", name), folded
        return made

    def _column(
        self, what: str, periods: np.ndarray, region: pa.Array, value: pa.Array
    ) -> pa.Array:
        """Return a reference a row; a null value has none."""
        names, places = [*value.dictionary.to_pylist(), None], region.dictionary.to_pylist()
        name = value.indices.fill_null(len(names) - 1).to_numpy().astype(np.int64)
        code = (name * len(places) + region.indices.to_numpy()) * len(self.periods) + periods
        number, first = number_distinct(pa.array(code))
        wheres = region.indices.to_numpy()[first].tolist()
        asked = zip(periods[first].tolist(), wheres, name[first].tolist(), strict=True)
        references = [
            None
            if (raw := names[who]) is None
            else self._reference(what, key, places[at] or "", raw)
            for key, at, who in asked
        ]
        return pa.array(references, pa.string()).take(pa.array(number))

    def _reference(self, what: str, period: int, region: str, identity: str) -> str:
        name = (what, period, region, identity)
        if (known := self._known.get(name)) is not None:
            return known
        if len(self._known) >= _CACHE_LIMIT:
            self._known.clear()
        message = unambiguous_text(what, region, identity)
        made = hmac.digest(self.periods[period].key, message, "sha256").hex()[:32]
        self._known[name] = made
        return made


def _recode(codes: pa.Array, values: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string()))


class Pseudonymise(beam.PTransform):
    """EVENT batches → pseudonymous EVENT batches, and dead letters.

    Scenes that match a pattern of ``public_scenes`` keep their names.
    """

    def __init__(self, *, keys: Path, public_scenes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._load = functools.partial(_load, keys, public_scenes)

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        return run_stage(pcoll, Stage.PSEUDONYMISE, self._load)


def _load(keys: Path, public_scenes: tuple[str, ...]) -> Callable[[pa.RecordBatch], Tagged]:
    pseudonyms = Pseudonyms(read_keys(keys), FreeFields(public_scenes))
    return lambda batch: [(MAIN, pseudonyms.batch(batch))]
