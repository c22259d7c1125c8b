"""Pseudonymise: subject and session ids become keyed references; no raw id goes on from here."""

import datetime as dt
import functools
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import yaml
from pydantic import AwareDatetime, ValidationError, field_validator

from schemas.arrow import distinct, filled
from schemas.errors import AffectstreamError
from schemas.events import TIME, kind_of, pseudonymous_schema
from schemas.strict import Frozen
from transforms.stage import MAIN, Outputs, Tagged, run_stage

_CACHE_LIMIT = 200_000  # references held a process: about 40 MB


class KeyPeriod(Frozen):
    """One key and the event time from which it holds."""

    since: AwareDatetime
    key: bytes

    @field_validator("key", mode="before")
    @classmethod
    def _from_hex(cls, value: str) -> bytes:
        key = bytes.fromhex(value)
        if len(key) < 32:
            message = "a key needs at least 32 bytes (64 hex digits)"
            raise ValueError(message)
        return key


class _KeyFile(Frozen):
    periods: tuple[KeyPeriod, ...]


def read_keys(path: Path) -> tuple[KeyPeriod, ...]:
    """Read a key file: YAML with ``periods``, each with ``since`` and a hex ``key``."""
    if not path.is_file():
        message = f"no key file at {path}: make one with `affectstream config --new-keys {path}`"
        raise AffectstreamError(message)
    try:
        parsed = _KeyFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        message = (
            f"{path} is not a key file: it needs `periods`, a list of `since` (time with zone) "
            "and `key` (64 hex digits or more)"
        )
        raise AffectstreamError(message) from error
    if not parsed.periods:
        message = f"{path} holds no key: add a period"
        raise AffectstreamError(message)
    return tuple(sorted(parsed.periods, key=lambda period: period.since))


def write_keys(path: Path) -> None:
    """Write a key file with one fresh random key, readable by its owner alone."""
    if path.exists():
        message = f"{path} exists: keys are never overwritten, since old references hang on them"
        raise AffectstreamError(message)
    path.parent.mkdir(parents=True, exist_ok=True)
    since = dt.datetime(2000, 1, 1, tzinfo=dt.UTC).isoformat()
    document = {"periods": [{"since": since, "key": secrets.token_hex(32)}]}
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


@dataclass(slots=True)
class Pseudonyms:
    """Keyed references of subjects and sessions.

    A reference is HMAC-SHA256 under the key of the event's period, over kind of id, region and
    id, cut to 128 bits (32 hex digits). The first key also holds for all time before it.
    """

    periods: tuple[KeyPeriod, ...]
    _known: dict[tuple[str, int, str, str], str] = field(default_factory=dict)

    def batch(self, events: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with ``subject_ref`` and ``session_ref`` for the raw ids."""
        period = self._period(events["event_time"])
        replaced = {
            "subject_ref": self._column("subject", events["region"], events["subject"], period),
            "session_ref": self._column("session", events["region"], events["session_id"], period),
        }
        return filled(pseudonymous_schema(kind_of(events)), replaced, events)

    def _period(self, times: pa.Array) -> np.ndarray:
        starts = pa.array([period.since for period in self.periods], TIME)
        found = np.searchsorted(_micros(starts), _micros(times), side="right") - 1
        return np.maximum(found, 0)

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
        message = f"{what}\x1f{region}\x1f{identity}".encode()
        made = hmac.digest(self.periods[period].key, message, "sha256").hex()[:32]
        self._known[name] = made
        return made


def _micros(times: pa.Array) -> np.ndarray:
    return times.cast(pa.int64()).to_numpy(zero_copy_only=False)


class Pseudonymise(beam.PTransform):
    """EVENT batches → pseudonymous EVENT batches, and dead letters."""

    def __init__(self, *, keys: Path) -> None:
        super().__init__()
        self._keys = keys

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        return run_stage(pcoll, "Pseudonymise", functools.partial(_load, self._keys))


def _load(keys: Path) -> Callable[[pa.RecordBatch], Tagged]:
    pseudonyms = Pseudonyms(read_keys(keys))
    return lambda batch: [(MAIN, pseudonyms.batch(batch))]
