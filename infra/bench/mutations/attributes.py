"""Mutations of headers, of CloudEvents attributes in either mode, and of the mode itself."""

import base64
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from infra.bench.mutations.json_text import Members, Token, parse, write
from infra.bench.mutations.odd import CONTENT_TYPES, TIMES, odd_text, odd_token, respell
from pipelines.sessionlogs.cloudevents import JSON_TYPE, STRUCTURED_TYPE, Record
from schemas.attributes import ATTRIBUTES

Mutation = Callable[[Record, Sequence[Record], random.Random], Record]
"""(a record, some others, randomness) → another record, or the same where it does not apply."""

Header = dict[str, Any]
_TYPE: Final = "content-type"


def is_structured(record: Record) -> bool:
    """Whether the headers say that the whole event is in the value."""
    return any(
        header["key"] == _TYPE and (header["value"] or b"").startswith(b"application/cloudevents")
        for header in record.headers
    )


def find_attribute(record: Record, name: str) -> str | None:
    """Return an attribute, None where it stands nowhere or is no text."""
    if is_structured(record):
        tree = parse(record.value)
        found = dict(tree).get(name) if isinstance(tree, Members) else None
        return found if isinstance(found, str) else None
    values = [header["value"] for header in record.headers if header["key"] == f"ce_{name}"]
    return values[0].decode(errors="replace") if values and values[0] else None


def set_attribute(record: Record, name: str, value: str) -> Record:
    """Return the record with another value of an attribute, in the mode that it is in."""
    if not is_structured(record):
        key, text = f"ce_{name}", value.encode("utf-8", "surrogatepass")
        others = [header for header in record.headers if header["key"] != key]
        return record._replace(headers=[*others, {"key": key, "value": text}])
    tree = parse(record.value)
    if not isinstance(tree, Members):
        return record
    members = [(known, item) for known, item in tree if known != name]
    text = write(Members([*members, (name, value)]))
    return record._replace(value=text.encode("utf-8", "surrogatepass"))


def edit_header(record: Record, others: Sequence[Record], rng: random.Random) -> Record:
    """Repeat a header, remove, rename or re-case it, or give it another value or none."""
    if not record.headers:
        return record
    headers = list(record.headers)
    place = rng.randrange(len(headers))
    headers[place : place + 1] = rng.choice(_EDITS)(headers[place], others, rng)
    return record._replace(headers=headers)


def _header(key: str, value: bytes | None) -> Header:
    return {"key": key, "value": value}


def _bytes(rng: random.Random) -> bytes | None:
    some = (None, b"", b"\xff\xfe", b"\xed\xa0\x80", rng.randbytes(8))
    return rng.choice(some) if rng.random() < 0.4 else odd_text(rng).encode()


def _change_value(header: Header, _others: Sequence[Record], rng: random.Random) -> list[Header]:
    return [_header(header["key"], _bytes(rng))]


def _repeat(header: Header, _others: Sequence[Record], rng: random.Random) -> list[Header]:
    key = rng.choice((header["key"], header["key"].upper(), header["key"].replace("_", "-")))
    again = _header(key, header["value"] if rng.random() < 0.4 else _bytes(rng))
    return rng.choice(([header, again], [again, header], [header] * rng.choice((2, 3, 1_000))))


def _remove(_header: Header, _others: Sequence[Record], _rng: random.Random) -> list[Header]:
    return []


def _rename(header: Header, _others: Sequence[Record], rng: random.Random) -> list[Header]:
    key = header["key"]
    bare = key.removeprefix("ce_")
    other = rng.choice(list(ATTRIBUTES))
    forms = (f"ce-{bare}", f"ce_{bare} ", f"ce_ce_{bare}", f"Ce_{bare}", f"ce_{other}")
    keys = (key.upper(), key.title(), bare, *forms, odd_text(rng))
    return [_header(rng.choice(keys), header["value"])]


def _take(header: Header, others: Sequence[Record], rng: random.Random) -> list[Header]:
    """Give it the value that the same header, or any, has in another record."""
    theirs = rng.choice(others).headers
    same = [found for found in theirs if found["key"] == header["key"]] or theirs
    value = rng.choice(same)["value"] if same else None
    return [_header(header["key"], value)]


def _add(header: Header, _others: Sequence[Record], rng: random.Random) -> list[Header]:
    known = ("", "ce_", "ce_specversion", "ce_dataref", "ce_signature", "ce_traceparent")
    names = (*known, odd_text(rng))
    count = rng.choice((1, 1, 1, 30, 3_000))
    more = (_header(f"{rng.choice(names)[:90]}{n or ''}", _bytes(rng)) for n in range(count))
    return [header, *more]


_EDITS: Final = (_change_value, _change_value, _repeat, _remove, _rename, _take, _add)


def change_content_type(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Let the headers tell another type than the value is of; the mode may change with it."""
    others = [header for header in record.headers if header["key"] != _TYPE]
    kind = rng.choice(CONTENT_TYPES).encode()
    return record._replace(headers=[*others, _header(_TYPE, kind)])


def change_time(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Give the event a time at an edge, or one that is none."""
    return set_attribute(record, "time", rng.choice(TIMES))


def change_subject(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Spell the subject otherwise."""
    subject = find_attribute(record, "subject")
    return set_attribute(record, "subject", respell(subject, rng)) if subject else record


def change_attribute(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Give any attribute an odd text, or another spelling."""
    name = rng.choice(list(ATTRIBUTES))
    found = find_attribute(record, name)
    other = respell(found, rng) if found and rng.random() < 0.5 else odd_text(rng)
    return set_attribute(record, name, other)


_FARTHER: Final = ("research", "training")
_ALLOWED: Final = {
    "purpose": ("avatar_mirroring", "show_to_others", "recommendation", *_FARTHER, "*"),
    "region": ("US", "EU", "CN", "US-IL", "us", "China", "DE", "OTHER", "EU,US"),
    "ageband": ("child", "teen", "adult", "unknown", "Minor", "17", "13-17"),
    "scenario": ("game", "social", "learning", "support", "work", "Schule", "game/learning"),
    "dataref": ("file:///etc/passwd", "http://127.0.0.1:1/x", "https://[::1", "s3://a/b", "../x"),
    "type": ("session.text.v1", "session.face.v1", "governance.consent.v1", "session.text.v2"),
}


def change_case(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Move the event to another case that law and consent judge, or name its media elsewhere."""
    name = rng.choice(list(_ALLOWED))
    return set_attribute(record, name, rng.choice(_ALLOWED[name]))


def reuse_id(record: Record, others: Sequence[Record], rng: random.Random) -> Record:
    """Take the id of another record, and often all that the row id is made of."""
    other = rng.choice(others)
    names = rng.choice((("id",), ("id", "source"), ("id", "source", "subject", "time")))
    for name in names:
        value = find_attribute(other, name)
        record = set_attribute(record, name, value) if value else record
    return record


def switch_mode(record: Record, _others: Sequence[Record], rng: random.Random) -> Record:
    """Write a structured event in binary mode, or the other way round; some headers may stay."""
    if is_structured(record):
        return _to_binary(record)
    names = {f"ce_{name}": name for name in (*ATTRIBUTES, "specversion", "datacontenttype")}
    said = [
        (names[header["key"]], (header["value"] or b"").decode(errors="replace"))
        for header in record.headers
        if header["key"] in names
    ]
    tree, value = parse(record.value), record.value or b""
    data: tuple[str, Any] = ("data", tree)
    if tree is None or rng.random() < 0.1:
        data = ("data_base64", base64.b64encode(value).decode())
    more = []
    if rng.random() < 0.1:
        more = [(rng.choice(("data", "data_base64")), Token(odd_token(rng)))]
    text = write(Members([*said, data, *more])).encode("utf-8", "surrogatepass")
    beside = [header for header in record.headers if header["key"] != _TYPE]
    kept = rng.sample(beside, rng.randrange(len(beside) + 1)) if rng.random() < 0.3 else []
    return record._replace(headers=[*kept, _header(_TYPE, STRUCTURED_TYPE.encode())], value=text)


def _to_binary(record: Record) -> Record:
    tree = parse(record.value)
    if not isinstance(tree, Members):
        return record
    members = dict(tree)
    value = write(members.pop("data", None)).encode("utf-8", "surrogatepass")
    encoded = members.pop("data_base64", None)
    if isinstance(encoded, str):
        with suppress(ValueError):  # damaged before
            value = base64.b64decode(encoded)
    texts = ((name, text) for name, text in members.items() if isinstance(text, str))
    headers = [_header(f"ce_{name}", text.encode("utf-8", "surrogatepass")) for name, text in texts]
    return record._replace(headers=[*headers, _header(_TYPE, JSON_TYPE.encode())], value=value)


ATTRIBUTE_MUTATIONS: Final[tuple[Mutation, ...]] = (
    edit_header, edit_header, edit_header, change_content_type, change_time, change_time,
    change_subject, change_attribute, change_attribute, change_case, reuse_id, switch_mode,
)  # fmt: skip
