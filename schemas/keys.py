"""The key file: secret keys, and the event time from which each holds."""

import datetime as dt
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from pydantic import AwareDatetime, ValidationError, field_validator

from schemas.errors import AffectstreamError
from schemas.events import TIME
from schemas.strict import Frozen, parse_yaml, read_text


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
        parsed = _KeyFile.model_validate(parse_yaml(read_text(path)))
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
        message = f"{path} exists: keys are never overwritten, since old references depend on them"
        raise AffectstreamError(message)
    path.parent.mkdir(parents=True, exist_ok=True)
    since = dt.datetime(2000, 1, 1, tzinfo=dt.UTC).isoformat()
    document = {"periods": [{"since": since, "key": secrets.token_hex(32)}]}
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def period_of(periods: Sequence[KeyPeriod], times: pa.Array) -> np.ndarray:
    """Return which period each time belongs to; the first holds for all time before it, too."""
    starts = pa.array([period.since for period in periods], TIME)
    found = np.searchsorted(_micros(starts), _micros(times), side="right") - 1
    return np.maximum(found, 0)


def _micros(times: pa.Array) -> np.ndarray:
    return times.cast(pa.int64()).fill_null(0).to_numpy()
