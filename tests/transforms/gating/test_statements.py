"""Withdrawals that gateways put into something else close the gate, and what is unclear is told."""

import base64
import bz2
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from tests.support.records import attributes, record
from tests.transforms.gating.test_governance import ALL, governed, passes
from transforms.gating.statements import MOST_EVENTS, read_statements

NAME = "ann lee"
NO = {"granted": False}
YES = {"granted": True} | ALL
Event = dict[str, Any]


def grant(subject: str = NAME) -> Event:
    return record("consent", 0, {"granted": True} | ALL, subject=subject)


def bare(value: bytes, headers: dict[str, bytes] | None = None, key: bytes | None = None) -> Event:
    """A record of the consent topic of which its value alone says something, or these headers."""
    pairs = [{"key": name, "value": text} for name, text in (headers or {}).items()]
    return record("consent", 10, b"", subject=NAME) | {
        "value": value, "headers": pairs, "key": key,
    }  # fmt: skip


def as_json(item: Any) -> bytes:
    return json.dumps(item).encode()


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


EVENT: Event = attributes("consent", 10, subject=NAME) | {"data": NO}
OTHER: Event = EVENT | {"subject": "zoe", "id": "other"}
JSON = as_json(EVENT)

IN_OTHERS: dict[str, bytes] = {
    "Connect, indented": json.dumps({"schema": {}, "payload": EVENT}, indent=2).encode(),
    "Connect, payload first": b'{ "payload" : %s, "schema": null }' % JSON,
    "Connect around data": as_json(EVENT | {"data": {"schema": {}, "payload": NO}}),
    "base64 for URLs": base64.urlsafe_b64encode(as_json(EVENT | {"x": "???>>>"})).rstrip(b"="),
    "base64 in lines": base64.encodebytes(JSON),
    "base64 of gzip": base64.b64encode(gzip.compress(JSON)),
    "Strimzi's bridge": as_json({"key": "k-1", "value": EVENT}),
    "a REST proxy": as_json({"records": [{"value": OTHER}, {"value": EVENT}]}),
    "a REST proxy, base64": as_json({"records": [{"key": "a", "value": encoded(JSON)}]}),
    "SNS": as_json({"Type": "Notification", "Subject": "news", "Message": JSON.decode()}),
    "SQS around SNS": as_json({"Records": [{"body": json.dumps({"Message": JSON.decode()})}]}),
    "logstash": as_json({"@timestamp": "2026-09-01T10:00:00Z", "message": JSON.decode()}),
    "Pub/Sub": as_json({"message": {"data": encoded(JSON), "attributes": {}}, "subscription": "s"}),
    "Kinesis": as_json({"Records": [{"kinesis": {"data": encoded(gzip.compress(JSON))}}]}),
    "EventBridge": as_json({"version": "0", "detail-type": "x", "detail": EVENT}),
    "Debezium": as_json({"before": None, "after": EVENT, "op": "c"}),
    "Debezium, changed": as_json({"before": EVENT | {"data": YES}, "after": EVENT, "op": "u"}),
    "Confluent's UUID": b"\1" + bytes(range(16)) + JSON,
    "NDJSON": as_json(OTHER) + b"\n" + JSON + b"\n",
    "events without a space": as_json(OTHER) + JSON,
    "JSON sequence": b"\x1e" + as_json(OTHER) + b"\n\x1e" + JSON + b"\n",
    "two members of gzip": gzip.compress(as_json(OTHER)) + gzip.compress(JSON),
    "two members of zlib": zlib.compress(as_json(OTHER)) + zlib.compress(JSON),
    "one event in two members": gzip.compress(JSON[:20]) + gzip.compress(JSON[20:]),
    "zstd": pa.Codec("zstd").compress(JSON).to_pybytes(),
    "zstd, two frames": pa.Codec("zstd").compress(as_json(OTHER)).to_pybytes()
    + pa.Codec("zstd").compress(JSON).to_pybytes(),
    "LZ4": pa.Codec("lz4").compress(JSON).to_pybytes(),
    "bzip2": bz2.compress(as_json(OTHER)) + bz2.compress(JSON),
    "a batch in a string": as_json(json.dumps([OTHER, EVENT])),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_OTHERS)
def test_a_withdrawal_within_something_else_closes_the_gate(name: str) -> None:
    consents, _, letters = governed(grant(), bare(IN_OTHERS[name]))
    assert not letters
    assert not passes(consents, 11, subject=NAME)


ENCODED: dict[str, Callable[[str], bytes]] = {
    "percents": lambda text: text.replace(" ", "%20").encode(),
    "all in percents": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()).encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 without padding": lambda text: base64.b64encode(text.encode()).rstrip(b"="),
    "UTF-16": lambda text: text.encode("utf-16"),
    "an end of C's": lambda text: text.encode() + b"\0",
    "a string of Java's": lambda text: b"\xac\xed\0\x05t\0" + bytes([len(text)]) + text.encode(),
    "a list": lambda text: as_json([text]),
    "Connect, indented": lambda text: json.dumps(
        {"schema": {"type": "string"}, "payload": text}, indent=1
    ).encode(),
}


@pytest.mark.parametrize("prefix", ["ce_", "ce-", "Ce-"])
@pytest.mark.parametrize("name", ENCODED)
def test_a_withdrawal_whose_headers_are_encoded_closes_the_gate(name: str, prefix: str) -> None:
    headers = {
        prefix + key: ENCODED[name](text)
        for key, text in attributes("consent", 10, subject=NAME).items()
    }
    consents, _, letters = governed(grant(), bare(as_json(NO), headers))
    assert not letters
    assert not passes(consents, 11, subject=NAME)


@pytest.mark.parametrize(
    "key",
    [
        as_json(NAME),
        as_json({"schema": {"type": "string"}, "payload": NAME}),
        as_json({"subject": NAME, "tenant": "t"}),
        as_json({"userId": NAME}),
        b"\0\0\0\0\7" + as_json(NAME),
        b"\0\0\0\0\7" + bytes([2 * len(NAME)]) + NAME.encode(),
    ],
)
def test_a_record_is_keyed_by_its_subject_in_any_form(key: bytes) -> None:
    consents, _, letters = governed(grant(), bare(as_json(NO), key=key))
    assert not letters
    assert not passes(consents, 11, subject=NAME)


@pytest.mark.parametrize("name", ["BZhang", "x^2", "<bob>", "PK\x03\x04", "eyJhbGci", "[7]"])
def test_a_key_that_begins_as_a_format_does_is_a_subject(name: str) -> None:
    consents, _, letters = governed(grant(name), bare(as_json(NO), key=name.encode()))
    assert not letters
    assert not passes(consents, 11, subject=name)


def test_a_key_that_holds_no_text_names_nobody() -> None:
    _, ledger, letters = governed(bare(as_json(NO), key=b"\0\0\0\0\0\0\0\x2a"))
    assert not ledger
    assert [letter["code"] for letter in letters] == ["governance_unreadable"]


def batch(names: list[str]) -> bytes:
    return as_json([EVENT | {"id": name, "subject": name} for name in names])


@pytest.mark.parametrize("count", [17, 20, 250])
def test_everybody_in_a_batch_is_withdrawn(count: int) -> None:
    names = [f"b{number}" for number in range(count)]
    consents, _, letters = governed(*map(grant, names), bare(batch(names)))
    assert not letters
    assert not any(passes(consents, 11, subject=name) for name in names)


def test_a_batch_of_more_than_are_read_is_told() -> None:
    names = [f"b{number}" for number in range(MOST_EVENTS + 1)]
    _, ledger, letters = governed(bare(batch(names)))
    assert len(ledger) == MOST_EVENTS
    assert [letter["code"] for letter in letters] == ["governance_unreadable"]


def test_in_a_batch_each_event_says_its_own() -> None:
    yes = OTHER | {"data": {"granted": True} | ALL}
    consents, _, letters = governed(grant(), grant("zoe"), bare(as_json([EVENT, yes])))
    assert not passes(consents, 11, subject=NAME)
    assert passes(consents, 11, subject="zoe"), "her earlier grant stands"
    assert [letter["code"] for letter in letters] == ["consent_unclear"]


@pytest.mark.parametrize(
    "payload",
    [
        {"payload": YES}, {"granted": None}, {}, {"before": None, "after": YES, "op": "c"},
        {"status": "granted"}, {"consent": True}, {"granted": "perhaps"}, {"granted": 2},
        {"value": YES}, {"body": json.dumps(YES)}, {"before": NO, "after": YES},
        {"was": NO, "is": YES},
        json.dumps(YES)[:-1].encode(), b"granted=true",
    ],
)  # fmt: skip
def test_a_consent_that_is_unclear_closes_the_gate_and_is_told(payload: Any) -> None:
    consents, _, letters = governed(grant(), record("consent", 10, payload, subject=NAME))
    assert [letter["code"] for letter in letters] == ["consent_unclear"]
    assert not passes(consents, 11, subject=NAME)


@pytest.mark.parametrize("no", [False, "false", "No", 0, 0.0, "0", "withdrawn", "DENIED"])
def test_a_clear_withdrawal_is_not_told(no: Any) -> None:
    _, ledger, letters = governed(record("consent", 10, {"granted": no}, subject=NAME))
    assert not letters
    assert ledger


@pytest.mark.parametrize("layout", [{"indent": 2}, {"separators": (", ", " : ")}])
@pytest.mark.parametrize("first", ["schema", "payload"])
def test_a_grant_of_connect_is_read_in_any_layout(layout: dict[str, Any], first: str) -> None:
    members = {"schema": {}, "payload": YES}
    wrapped = dict(sorted(members.items(), reverse=first == "schema"))
    said = record("consent", 0, json.dumps(wrapped, **layout).encode(), subject=NAME)
    consents, _, letters = governed(said)
    assert not letters
    assert passes(consents, 11, subject=NAME)


def test_a_percent_encoded_grant_is_of_whom_it_names() -> None:
    said = record("consent", 0, YES, subject="ann%20lee")
    said["headers"] = [h | {"key": h["key"].replace("ce_", "Ce-")} for h in said["headers"]]
    consents, _, letters = governed(said)
    assert not letters
    assert passes(consents, 11, subject=NAME)


def test_an_erasure_whose_value_cannot_be_read_is_told() -> None:
    damaged = record("erasure", 10, gzip.compress(batch(["a", "b"]))[:-9], subject=NAME)
    consents, _, letters = governed(grant(), damaged)
    assert [letter["code"] for letter in letters] == ["governance_unreadable"]
    assert not passes(consents, 11, subject=NAME)


def test_strings_that_inflate_beyond_all_bounds_are_told_and_cost_little() -> None:
    bomb = encoded(gzip.compress(b'{"a":' + b" " * 65_000 + b"1}"))
    statements = read_statements(as_json({f"m{number}": bomb for number in range(200)}))
    assert statements.crowded
    assert len(statements.events) == 1
