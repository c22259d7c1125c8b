"""Pseudonymise: subject and session ids become keyed references; no raw id goes on from here."""

import functools
import hmac
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import apache_beam as beam
import numpy as np
import pyarrow as pa

from schemas.arrow import fill_schema, number_distinct
from schemas.events import pseudonymous_schema
from schemas.ids import unambiguous_text
from schemas.keys import Keys, periods_of
from schemas.stages import MAIN, Stage, Tagged, kind_of
from transforms.decoding.followed_keys import FollowedKeys
from transforms.gating.classes import classes_of
from transforms.gating.governance import fold
from transforms.pseudonymising.fields import FreeFields
from transforms.stage import Outputs, run_stage

_CACHE_LIMIT = 100_000  # references of each kind held a process: about 80 MB in all


T = TypeVar("T")
_Referred = tuple[int, str, str | None]
"""Period, region and raw id of what a row refers to."""


class _Distinct(NamedTuple):
    """The different things that rows refer to, and each row's number among them."""

    number: pa.Array
    each: list[_Referred]


class Pseudonyms:
    """Keyed references of subjects, sessions and persons.

    A reference is HMAC-SHA256 under the key of the event's period, over kind of id, region and
    id, cut to 128 bits (32 hex digits). Those of persons have no region, and a key that stays: a
    consent must be found again in every region and under every later key.
    """

    def __init__(self, keys: Keys, fields: FreeFields | None = None) -> None:
        self._keys = keys
        self._fields = fields or FreeFields()
        self._secrets = (*(period.key for period in keys.periods), keys.person)
        self._of_persons = len(keys.periods)
        self._known: defaultdict[str, dict[_Referred, str | None]] = defaultdict(dict)
        self._people: dict[str, tuple[str, str]] = {}
        self._shards: dict[_Referred, int] = {}

    def batch(self, events: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with keyed references for the raw ids, and without free text."""
        own, prior = periods_of(self._keys, events["event_time"], events["region"])
        # Only consents and erasures come from a time whose key was shredded.
        own = np.maximum(own, 0)
        region = events["region"].dictionary_encode(null_encoding="encode")
        people = events["subject"].dictionary_encode()
        sessions = events["session_id"].dictionary_encode()
        subjects = self._distinct(own, region, people)
        known = [self.person(name) for name in people.dictionary.to_pylist()]
        replaced = {
            "subject_ref": self._column("subject", subjects),
            "session_ref": self._column("session", self._distinct(own, region, sessions)),
            "prior_subject_ref": self._prior("subject", prior, region, people),
            "prior_session_ref": self._prior("session", prior, region, sessions),
            "shard_hash": self._shard_hashes(subjects),
            "person_ref": _recode(people.indices, [exact for exact, _ in known]),
            "person_fold": _recode(people.indices, [folded for _, folded in known]),
            "scene_classes": _scene_classes(events["scene_id"]),
        } | self._fields.replace(
            events,
            lambda what, value: self._column(
                what, self._distinct(own, region, value.dictionary_encode())
            ),
        )
        return fill_schema(pseudonymous_schema(kind_of(events)), replaced, events)

    def person(self, subject: str) -> tuple[str, str]:
        """Return the references of exactly this subject id, and of all that fold to the same."""
        if (known := self._people.get(subject)) is not None:
            return known
        if len(self._people) >= _CACHE_LIMIT:
            self._people.clear()
        folded = self._reference("person, folded", self._of_persons, "", fold(subject))
        exact = self._reference("person", self._of_persons, "", subject)
        made = self._people[subject] = exact, folded
        return made

    def references(self, subject: str, regions: Iterable[str]) -> set[str]:
        """Return every ``subject_ref`` of this id, under any key, in these regions and in none."""
        return {
            self._reference("subject", period, region, subject)
            for period in range(len(self._keys.periods))
            for region in {"", *regions}
        }

    def _distinct(self, periods: np.ndarray, region: pa.Array, value: pa.Array) -> _Distinct:
        """Number what is to be referred to; -1 is no period."""
        names, places = [*value.dictionary.to_pylist(), None], region.dictionary.to_pylist()
        name = value.indices.fill_null(len(names) - 1).to_numpy().astype(np.int64)
        code = (name * len(places) + region.indices.to_numpy()) * (self._of_persons + 1) + periods
        number, first = number_distinct(pa.array(code))
        wheres = region.indices.to_numpy()[first].tolist()
        asked = zip(periods[first].tolist(), wheres, name[first].tolist(), strict=True)
        each = [(key, places[at] or "", names[who] if key >= 0 else None) for key, at, who in asked]
        return _Distinct(pa.array(number), each)

    def _column(self, what: str, distinct: _Distinct) -> pa.Array:
        """Return a reference a row; a null value has none."""
        make = functools.partial(self._reference_of, what)
        references = _look_up(self._known[what], distinct.each, make)
        return pa.array(references, pa.string()).take(distinct.number)

    def _prior(self, what: str, prior: np.ndarray, region: pa.Array, value: pa.Array) -> pa.Array:
        if (prior < 0).all():
            return pa.nulls(len(prior), pa.string())
        return self._column(what, self._distinct(prior, region, value))

    def _shard_hashes(self, subjects: _Distinct) -> pa.Array:
        """Return 16 bits a row that no rotation changes: a history stays in its shard."""
        hashes = _look_up(self._shards, subjects.each, self._shard_hash)
        return pa.array(hashes, pa.uint16()).take(subjects.number)

    def _shard_hash(self, referred: _Referred) -> int:
        _, place, raw = referred
        if raw is None:
            return 0
        return int(self._reference("subject", self._of_persons, place, raw)[4:8], 16)

    def _reference_of(self, what: str, referred: _Referred) -> str | None:
        key, place, raw = referred
        return None if raw is None else self._reference(what, key, place, raw)

    def _reference(self, what: str, key: int, region: str, identity: str) -> str:
        message = unambiguous_text(what, region, identity)
        return hmac.digest(self._secrets[key], message, "sha256").hex()[:32]


def _look_up(
    known: dict[_Referred, T], each: list[_Referred], make: Callable[[_Referred], T]
) -> list[T]:
    """Return what is known of each, and make what is not: most of a batch was met before."""
    try:
        return [*map(known.__getitem__, each)]
    except KeyError:
        if len(known) >= _CACHE_LIMIT:
            known.clear()
        known.update((one, make(one)) for one in each if one not in known)
    return [*map(known.__getitem__, each)]


def _recode(codes: pa.Array, values: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string()))


def _scene_classes(scenes: pa.Array) -> pa.Array:
    """Return what the gate has to know of a scene's name, which ends here: its classes.

    Coded once a set of classes, so that scenes which are judged alike are one case.
    """
    coded = scenes.dictionary_encode()
    names = [" ".join(sorted(classes_of(name))) for name in coded.dictionary.to_pylist()]
    classes = pa.array(names, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(classes.indices.take(coded.indices), classes.dictionary)


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
    make = functools.partial(Pseudonyms, fields=FreeFields(public_scenes))
    pseudonyms = FollowedKeys(keys, make)
    return lambda batch: [(MAIN, pseudonyms.newest().batch(batch))]
