"""Keys of the pseudonyms: which holds when and where, read from a key file or asked of a provider.

A file is YAML: ``periods``, each with ``since``, a hex ``key`` and perhaps a ``region``;
``persons`` and ``tombstone``, the keys that stay through every rotation; ``shredded``, what was
removed.
"""

import datetime as dt
import hmac
import os
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from schemas.errors import AffectstreamError
from schemas.events import TIME
from schemas.strict import Frozen, first_problem, parse_yaml, read_text

PROVIDER: Final = "provider:"
"""How the setting `keys` begins where it names a provider instead of a file."""
PROVIDERS: Final = "affectstream.keys"
"""The entry point group of providers: each is a function without arguments that returns Keys."""
LINKED: Final = dt.timedelta(days=7)
"""For how long after a period's begin its references name those of the period before."""
BEGINNING: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_SHREDDED: Final = -1
_KEY_BYTES: Final = 32
_LEAST_DISTINCT: Final = 16
"""Different bytes in a key: 32 random ones have so few once in more than 10^12 keys."""


_REGION: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?|OTHER")


def _from_hex(value: Any) -> bytes:
    if not isinstance(value, str | bytes):
        message = "a key is a text of hex digits: write it in quotes"
        raise ValueError(message)
    key = value if isinstance(value, bytes) else bytes.fromhex(value)
    if len(key) < _KEY_BYTES:
        message = f"a key needs at least {_KEY_BYTES} bytes ({2 * _KEY_BYTES} hex digits)"
        raise ValueError(message)
    return key


def _known_form(region: str) -> str:
    if not _REGION.fullmatch(region):
        message = f"no event has the region {region!r}: write EU, US or another as policies list it"
        raise ValueError(message)
    return region


_Key = Annotated[bytes, BeforeValidator(_from_hex)]
_Region = Annotated[str, AfterValidator(_known_form)]
_SECRET = ConfigDict(hide_input_in_errors=True)


class _Period(Frozen):
    model_config = _SECRET

    since: AwareDatetime
    region: _Region | None = None

    @field_validator("since")
    @classmethod
    def _is_of_an_event(cls, given: dt.datetime) -> dt.datetime:
        if not 1000 <= given.year < 9000:
            message = f"no event is of the year {given.year}: correct it"
            raise ValueError(message)
        return given.astimezone(dt.UTC)


class KeyPeriod(_Period):
    """One key, and the event time from which it holds: in one region, or in all without their own.

    A region without a period yet is under the keys of all others.
    """

    key: _Key = Field(repr=False)


class ShreddedPeriod(_Period):
    """A period whose key was removed; ``check`` is the key's fingerprint."""

    check: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _KeyFile(Frozen):
    model_config = _SECRET

    periods: tuple[KeyPeriod, ...]
    persons: _Key | None = Field(default=None, repr=False)
    tombstone: _Key | None = Field(default=None, repr=False)
    shredded: tuple[ShreddedPeriod, ...] = ()


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a stream, checked.

    ``periods`` are in the order of their begin. ``person`` makes the references of persons, and
    ``tombstone`` marks who was erased; both stay through every rotation and shredding.
    """

    periods: tuple[KeyPeriod, ...]
    person: bytes = field(repr=False)
    tombstone: bytes = field(repr=False)
    shredded: tuple[ShreddedPeriod, ...] = ()

    @classmethod
    def of(
        cls,
        periods: Iterable[KeyPeriod],
        *,
        persons: bytes | None = None,
        tombstone: bytes | None = None,
        shredded: Iterable[ShreddedPeriod] = (),
    ) -> "Keys":
        """Return these keys.

        Without ``persons`` the first period's key is that of persons, as it was before there were
        rotations; without ``tombstone`` that key is derived from the one of persons.

        Raises:
            ValueError: they can't be used together, or one of them is weak.
        """
        gone = tuple(shredded)
        if gone and persons is None:
            message = "has shredded periods and lacks `persons`: restore it, or consents are lost"
            raise ValueError(message)
        ordered = tuple(sorted(periods, key=lambda period: period.since))
        for problem in _problems(ordered, persons, tombstone, gone):
            raise ValueError(problem)
        person = persons or next(period.key for period in ordered if period.region is None)
        derived = hmac.digest(person, b"tombstones", "sha256")
        return cls(ordered, person, tombstone or derived, gone)

    @property
    def regions(self) -> list[str]:
        """The regions that have keys of their own."""
        known = {each.region for each in (*self.periods, *self.shredded)}
        return sorted(region for region in known if region is not None)

    def timeline(self, region: str | None = None) -> list[tuple[dt.datetime, int]]:
        """Return which periods hold in a region from when on: places in ``periods``, or -1.

        The first also holds for all time before it; -1 stands for one that was shredded.
        """
        known: list[tuple[_Period, int]] = [(each, n) for n, each in enumerate(self.periods)]
        known += [(each, _SHREDDED) for each in self.shredded]
        own = [(e.since, n) for e, n in known if region is not None and e.region == region]
        begun = min((since for since, _ in own), default=None)
        common = [(e.since, n) for e, n in known if e.region is None]
        return sorted(own + [each for each in common if begun is None or each[0] < begun])


def _problems(
    periods: Sequence[KeyPeriod],
    persons: bytes | None,
    tombstone: bytes | None,
    shredded: Sequence[ShreddedPeriod],
) -> Iterator[str]:
    """Yield why these keys cannot be used, a sentence each that says nothing of a key."""
    if not periods:
        yield "holds no key: add a period"
        return
    if all(period.region for period in periods):
        yield "has keys of single regions alone: add a period without `region` for all others"
    begins = [(period.since, period.region) for period in periods]
    named = [
        (f"the period {_name(*begin)}", p.key) for begin, p in zip(begins, periods, strict=True)
    ]
    for place, begin in enumerate(begins):
        if begin in begins[:place]:
            yield f"has two periods {_name(*begin)}: remove one, or correct its `since`"
    checks = {each.check for each in shredded}
    for begin, period in zip(begins, periods, strict=True):
        if begin in {(each.since, each.region) for each in shredded}:
            yield f"has the period {_name(*begin)} both with its key and as shredded: remove one"
        if fingerprint(period.key) in checks:
            yield f"has a key in the period {_name(*begin)} that was shredded: remove it"
    first = next((period.key for period in periods if period.region is None), None)
    others = [("persons", persons), ("tombstone", tombstone)]
    named += [(f"`{name}`", key) for name, key in others if key is not None]
    for place, (name, key) in enumerate(named):
        if _is_weak(key):
            yield f"has a weak key in {name}, which is not random: make one with `keys create`"
        for other, known in named[:place]:
            # Files from before there were rotations: the first key is that of persons, too.
            if key == known and not (name == "`persons`" and known == first):
                yield f"has one key in {other} and in {name}: each needs a key of its own"


def _is_weak(key: bytes) -> bool:
    """Return whether a key is a text, a row, or repeats itself: random ones are with 1 in 10^12."""
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    few = len(set(key)) < _LEAST_DISTINCT or len(steps) < _LEAST_DISTINCT // 2
    text = key.isascii() and key.decode().isprintable()
    return few or text or len(zlib.compress(key, 9)) < len(key)


def _name(since: dt.datetime, region: str | None) -> str:
    return f"since {since.isoformat()}" + (f" of region {region}" if region else "")


def parse_keys(document: Any, where: str) -> Keys:
    """Return the keys of a document as a key file has it; ``where`` names it in messages.

    Raises:
        AffectstreamError: it is none, or its keys cannot be used.
    """
    try:
        parsed = _KeyFile.model_validate(document)
    except ValidationError as error:
        raise _no_key_file(where, first_problem(error)) from error
    try:
        return Keys.of(
            parsed.periods,
            persons=parsed.persons,
            tombstone=parsed.tombstone,
            shredded=parsed.shredded,
        )
    except ValueError as error:
        message = f"{where} {error}"
        raise AffectstreamError(message) from error


def _no_key_file(where: str, reason: str) -> AffectstreamError:
    return AffectstreamError(
        f"{where} is not a key file: it needs `periods`, a list of `since` (time with zone) "
        f"and `key` (64 hex digits or more); {reason}"
    )


def read_keys(path: Path) -> Keys:
    """Return the keys of a key file, or of the provider that a path ``provider:NAME`` names.

    Raises:
        AffectstreamError: there are none, they cannot be used, or others may read the file.
    """
    if (name := provider_of(path)) is not None:
        return _ask_provider(name)
    if not path.is_file():
        message = f"no key file at {path}: make one with `affectstream keys create {path}`"
        raise AffectstreamError(message)
    try:
        if path.stat().st_mode & 0o077:
            message = f"others may read {path}, which holds the keys: chmod 600 {path}"
            raise AffectstreamError(message)
        document = parse_yaml(read_text(path))
    except yaml.YAMLError as error:
        # PyYAML quotes the line that it stumbles over, and a key may stand in it.
        reason = getattr(error, "problem", None) or "it is no YAML"
        raise _no_key_file(str(path), str(reason)) from None
    except UnicodeDecodeError:
        raise _no_key_file(str(path), "it is not UTF-8") from None
    except OSError as error:
        message = f"cannot read the key file {path}: {error.strerror}"
        raise AffectstreamError(message) from error
    return parse_keys(document, str(path))


def provider_of(path: Path) -> str | None:
    """Return which provider the setting names, None where it is a file."""
    name = str(path)
    return name.removeprefix(PROVIDER) if name.startswith(PROVIDER) else None


def _ask_provider(name: str) -> Keys:
    found = entry_points(group=PROVIDERS)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        message = (
            f"no key provider {name!r} is installed: install the package that has it as an entry "
            f"point of {PROVIDERS} (installed: {known}), or name a key file"
        )
        raise AffectstreamError(message)
    try:
        given = found[name].load()()
    except AffectstreamError:
        raise
    except Exception as error:
        message = f"the key provider {name!r} failed with {type(error).__name__}: see its own log"
        raise AffectstreamError(message) from error
    if not isinstance(given, Keys):
        message = f"the key provider {name!r} gave no schemas.keys.Keys: correct it"
        raise AffectstreamError(message)
    for problem in _problems(given.periods, given.person, given.tombstone, given.shredded):
        message = f"the key provider {name!r} {problem}"
        raise AffectstreamError(message)
    return given


def write_keys(path: Path, regions: Sequence[str] = ()) -> None:
    """Write a file of fresh random keys that its owner alone may read.

    There is one for each region named, one for all others, one of persons and one of tombstones.

    Raises:
        AffectstreamError: the file exists, or cannot be written.
    """
    periods = [
        {"since": BEGINNING.isoformat(), "key": secrets.token_hex(_KEY_BYTES)}
        | ({"region": region} if region else {})
        for region in (None, *dict.fromkeys(regions))
    ]
    staying = {name: secrets.token_hex(_KEY_BYTES) for name in ("persons", "tombstone")}
    text = yaml.safe_dump({"periods": periods} | staying, sort_keys=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        message = f"{path} exists: keys are never overwritten, since old references depend on them"
        raise AffectstreamError(message) from error
    except OSError as error:
        message = f"cannot write {path} ({error.strerror}): name another file"
        raise AffectstreamError(message) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def comes_after(
    since: dt.datetime, region: str | None, before: Iterable[tuple[dt.datetime, str | None]]
) -> bool:
    """Return whether a period that is added begins after all that hold where it will.

    ``before`` are begins and regions. One that does not would give other references to events that
    have them. A region without a period yet is under those of all others until its first begins.
    """
    begins: dict[str | None, list[dt.datetime]] = {}
    for time, where in before:
        begins.setdefault(where, []).append(time)
    held = begins.get(region) or begins.get(None, [])
    others = [] if region else [min(own) for where, own in begins.items() if where]
    return all(since > time for time in (*held, *others))


def fingerprint(key: bytes) -> str:
    """Return 32 hex digits by which a key is recognised, and from which nothing of it follows."""
    return hmac.digest(key, b"affectstream key check", "sha256").hex()[:32]


def periods_of(keys: Keys, times: pa.Array, regions: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's period and the one before it, as places in ``keys.periods``.

    The period is -1 where its key was shredded. The one before is -1 in the first period, where its
    key was shredded, and from LINKED after the period's begin on.
    """
    micros = _micros(times)
    own, prior = _along(keys.timeline(), micros)
    for region in keys.regions:
        there = pc.fill_null(pc.equal(regions, region), False).to_numpy(zero_copy_only=False)
        if there.any():
            own[there], prior[there] = _along(keys.timeline(region), micros[there])
    return own, prior


def _along(
    timeline: list[tuple[dt.datetime, int]], micros: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    starts = _micros(pa.array([since for since, _ in timeline], TIME))
    holds = np.array([place for _, place in timeline])
    at = np.maximum(np.searchsorted(starts, micros, side="right") - 1, 0)
    linked = (at > 0) & (micros - starts[at] < LINKED // dt.timedelta(microseconds=1))
    return holds[at], np.where(linked, holds[at - 1], _SHREDDED)


def _micros(times: pa.Array) -> np.ndarray:
    return times.cast(pa.int64()).fill_null(0).to_numpy()
