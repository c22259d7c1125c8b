"""A stream of mutated records: the built-in sample's, of many persons, some of them left as is."""

import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from infra.bench.mutations.records import mutate
from pipelines.sessionlogs.cloudevents import Event, Record, consent, encode
from pipelines.sessionlogs.sample import START_MS, SUBJECTS, sample_events
from schemas.events import KINDS, RAW

BULK: Final[Mapping[str, int]] = {
    "text": 40, "motion": 14, "context": 14, "consent": 14, "erasure": 4, "voice": 7, "face": 7,
}  # fmt: skip
"""Kind → its share of the records, where the models are constant."""
MEDIA: Final[Mapping[str, int]] = {
    "text": 15, "motion": 15, "context": 5, "consent": 4, "erasure": 1, "voice": 30, "face": 30,
}  # fmt: skip
"""Kind → its share where the models that ship recognise what is left to recognise."""

_CASTS: Final = 40
_WITHDRAWING: Final = 10
"""Of so many casts of the sample's persons some have the records of consents and erasures, so that
the gate stays open for the others, unless a mutation names them."""
_INTACT: Final = 0.1
_AGAIN: Final = 0.02
"""Shares of records that are left as they are, and of those that are sent twice."""
_SPREAD_MS: Final = 60_000
_OTHERS: Final = 64
_ROWS: Final = 2_000


def write_mutated(log: Path, count: int, seed: str, mix: Mapping[str, int]) -> int:
    """Write a recorded log of mutated records and some others; return how many are mutated.

    There are ``count`` mutated ones, and the seed decides everything. The log begins with the
    consents of all persons, and each record's offset is its place in it.
    """
    log.mkdir(parents=True)
    records = mutated = 0
    with pq.ParquetWriter(log / "part-0.parquet", RAW, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for record, changed in _stream(count, random.Random(seed), mix):
            rows.append(_row(record, records))
            records, mutated = records + 1, mutated + changed
            if len(rows) == _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, RAW))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, RAW))
    return mutated


def _row(record: Record, offset: int) -> dict[str, Any]:
    return record._asdict() | {"partition": 0, "offset": offset}


def _stream(
    count: int, rng: random.Random, mix: Mapping[str, int]
) -> Iterator[tuple[Record, bool]]:
    """Yield records, and whether each is mutated."""
    others = deque[Record](maxlen=_OTHERS)
    for number, event in enumerate(_consents()):
        others.append(encode(replace(event, id=f"consent-{number}")))
        yield others[-1], False
    kinds = rng.choices(list(mix), list(mix.values()), k=2 * count)
    made = 0
    for number, kind in enumerate(kinds):
        sound = encode(_draw(kind, number, rng))
        left = rng.random() < _INTACT
        record = sound if left else mutate(sound, others, rng)
        others.append(sound)
        for _ in range(1 + (rng.random() < _AGAIN)):
            if made == count:
                return
            made += not left
            yield record, not left


def _consents() -> Iterator[Event]:
    """Yield the grants of all persons who consented."""
    for cast in range(_CASTS):
        for subject in SUBJECTS:
            if subject.consented:
                known = replace(subject, id=f"{subject.id}-{cast}")
                yield consent(known, "", START_MS - 60_000, granted=True)


def _draw(kind: str, number: int, rng: random.Random) -> Event:
    """Return an event of the sample, as that of a person of one of the casts."""
    event = rng.choice(_events()[kind])
    withdrawing = kind in ("consent", "erasure")
    cast = rng.randrange(_CASTS - _WITHDRAWING if withdrawing else 0, _CASTS)
    subject = replace(event.subject, id=f"{event.subject.id}-{cast}")
    structured = event.structured or (event.planted is None and rng.random() < 0.3)
    later = rng.randrange(_SPREAD_MS)  # or one person's withdrawals would all be the same word
    return replace(
        event,
        id=f"{kind}-{number}",
        subject=subject,
        time_ms=event.time_ms + later,
        arrival_ms=event.arrival_ms + later,
        structured=structured,
    )


@cache
def _events() -> Mapping[str, list[Event]]:
    """Return the sample's events by kind."""
    found: dict[str, list[Event]] = {kind: [] for kind in KINDS}
    for event in sample_events():
        found[event.kind].append(event)
    return found
