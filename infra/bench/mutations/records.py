"""Mutations of whole records, and the choice of one to three of them for each."""

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from infra.bench.mutations.attributes import ATTRIBUTE_MUTATIONS, Mutation
from infra.bench.mutations.media import MEDIA
from infra.bench.mutations.odd import GRANTED, LISTS, STAMPS, odd_text, respell
from infra.bench.mutations.values import BYTES, JSON, Change
from pipelines.sessionlogs.cloudevents import Record
from schemas.events import GOVERNANCE, MEDIA_KINDS, TOPIC_OF, TOPICS

_MEDIA_TOPICS: Final = {TOPIC_OF[kind] for kind in MEDIA_KINDS}
_UNKNOWN: Final = ("session.gaze", "governance.deletion", "Session.Text", "x", "session.text\n")


def _change_value(
    changes: Sequence[Change], record: Record, others: Sequence[Record], rng: random.Random
) -> Record:
    change, other = rng.choice(changes), rng.choice(others)
    return record._replace(value=change(record.value or b"", other.value or b"", rng))


def change_bytes(record: Record, others: Sequence[Record], rng: random.Random) -> Record:
    """Change the value, whatever it is."""
    return _change_value(BYTES, record, others, rng)


def change_json(record: Record, others: Sequence[Record], rng: random.Random) -> Record:
    """Change the JSON that the value is."""
    return _change_value(JSON, record, others, rng)


def change_media(record: Record, others: Sequence[Record], rng: random.Random) -> Record:
    """Change the header of the media that the value is."""
    if record.topic not in _MEDIA_TOPICS:
        return record
    return _change_value(MEDIA, record, others, rng)


def remove_value(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Leave the value out, or the value and all that the headers tell."""
    return record._replace(value=None, headers=record.headers if rng.random() < 0.8 else [])


def take_value(record: Record, others: Sequence[Record], rng: random.Random) -> Record:
    """Send another record's value, with its headers or without."""
    other = rng.choice(others)
    if rng.random() < 0.5:
        return record._replace(value=other.value)
    return record._replace(value=other.value, headers=other.headers)


def change_topic(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Send the record to another topic, or one that nobody knows."""
    return record._replace(topic=rng.choice((*TOPICS, *TOPICS, *_UNKNOWN)))


def change_stamp(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Give the record a time that is none, at an edge, or hours away from the event's."""
    if rng.random() < 0.7 or record.timestamp in STAMPS:
        return record._replace(timestamp=rng.choice(STAMPS))
    hours = rng.choice((-1, 1)) * rng.randrange(10**8)
    return record._replace(timestamp=record.timestamp + hours)


def change_key(record: Record, others: Sequence[Record], rng: random.Random) -> Record:
    """Take the key away, or another's, or a spelling of it."""
    own = record.key.decode(errors="replace") if record.key else ""
    text = rng.choice((odd_text(rng), respell(own, rng), own))
    coded = text.encode(rng.choice(("utf-8", "utf-8", "utf-16", "utf-8-sig")))
    return record._replace(key=rng.choice((None, b"", rng.choice(others).key, coded, coded)))


def change_consent(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Say something else of a consent, in binary mode whatever the headers tell."""
    said = {"granted": GRANTED, "purposes": LISTS, "modalities": LISTS, "given_by": ('"self"', "1")}
    names = rng.sample(list(said), rng.randrange(len(said) + 1))
    text = ",".join(f'"{name}":{rng.choice(said[name])}' for name in names)
    return record._replace(value=f"{{{text}}}".encode())


_OF_RECORDS: Final[tuple[Mutation, ...]] = (
    change_bytes, change_json, change_json, change_media, change_stamp, change_key,
)  # fmt: skip
_RARE: Final[tuple[Mutation, ...]] = (remove_value, take_value, change_topic)
_LARGEST: Final = 1 << 20
"""Bytes of a mutated record: larger ones would cost a run its number of records."""


def mutate(record: Record, others: Sequence[Record], rng: random.Random) -> Record:
    """Return the record changed one to three times; it never comes back as it was.

    ``others`` are some records of the same stream, which parts are taken from.
    """
    found = record
    while found == record:
        for _ in range(rng.choices((1, 2, 3), (6, 3, 1))[0]):
            mutation = _draw(record, rng)
            with suppress(RecursionError):  # a value that is nested too deeply to be changed
                changed = mutation(found, others, rng)
                found = changed if _size(changed) <= _LARGEST else found
    return found


def _size(record: Record) -> int:
    headers = sum(len(header["key"]) + len(header["value"] or b"") for header in record.headers)
    return len(record.value or b"") + headers


def _draw(record: Record, rng: random.Random) -> Mutation:
    chance = rng.random()
    if chance < 0.05:
        return rng.choice(_RARE)
    if record.topic in _MEDIA_TOPICS and chance < 0.4:
        return change_media
    if record.topic in GOVERNANCE and chance < 0.3:
        return change_consent
    return rng.choice(_OF_RECORDS if chance < 0.55 else ATTRIBUTE_MUTATIONS)
