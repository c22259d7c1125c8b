"""A dead letter names the one cause, and what was found where JSON belongs; nothing of it."""

import base64
import json
import pickle
import zlib

import msgspec
import pyarrow as pa
import pytest

from tests.support.records import record
from tests.transforms.decoding.test_details import letter

TEXT = {"text": "I am so happy today"}
JSON = json.dumps(TEXT).encode()

FOUND: dict[str, tuple[bytes, str]] = {
    "MessagePack": (msgspec.msgpack.encode(TEXT), "MessagePack"),
    "CBOR": (b"\xa1dtextsI am so happy today", "CBOR"),
    "BSON": (b"\x23\0\0\0\x02text\0\x14\0\0\0I am so happy today\0\0", "BSON"),
    "Protobuf": (b"\n\x13I am so happy today", "Protobuf"),
    "Protobuf, two fields": (b"\x12\x13I am so happy today\x18\x01", "Protobuf"),
    "Java": (b"\xac\xed\0\x05t\0\x13I am so happy today", "Java"),
    "pickle": (pickle.dumps(TEXT), "pickle"),
    "NiFi": (b"NiFiFF3\0\1\0\x08filename" + JSON, "NiFi"),
    "Ion": (b"\xe0\x01\0\xea\xee", "Ion"),
    "deflate": (zlib.compress(JSON)[2:-4], "deflate"),
    "Brotli": (pa.Codec("brotli").compress(JSON).to_pybytes(), "Brotli"),
    "a form": (b"text=I+am+so+happy+today&lang=en", "a form"),
    "YAML": (b"text: I am so happy today\n", "YAML"),
    "a dict's print": (repr(TEXT).encode(), "Python"),
    "an object's print": (b"[object Object]", "JavaScript"),
    "hexadecimal digits": (JSON.hex().encode(), "hexadecimal"),
    "percents": (b"%7B%22text%22%3A%22x%22%7D", "percent"),
    "entities": (JSON.replace(b'"', b"&quot;"), "HTML"),
    "curly quotes": ("{“text”: “I am so happy today”}".encode(), "curly"),
    "plain text": (b"I am so happy today", "plain text"),
    "base64 of text": (base64.b64encode(b"I am so happy today"), "base64"),
    "JSON with a comma too many": (JSON[:-1] + b",}", "trailing comma"),
    "GBK": ('{"text":"我今天好开心"}'.encode("gbk"), "UTF-8"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_named(name: str) -> None:
    value, said = FOUND[name]
    found = letter(record("text", 1, value))
    assert found["code"] == "bad_json"
    assert said in found["detail"]
    assert found["event_id"]
    assert "happy" not in found["detail"]


@pytest.mark.parametrize(
    "value",
    [
        JSON + b"\n" + JSON, JSON + JSON, b"[" + JSON + b"]", b"\x1e" + JSON + b"\n\x1e" + JSON,
        JSON + b"," + JSON, b"\0\0\0\0\x11[" + JSON + b"]",
    ],
)  # fmt: skip
def test_several_events_are_called_so(value: bytes) -> None:
    found = letter(record("text", 1, value))
    assert found["code"] == "batched_events"
    assert "each as its own record" in found["detail"]


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (None, "is missing"),
        ("", "is missing"),
        ("2026-09-01T10:00:01", "no zone"),
        ("2026-09-01 10:00:01.5", "no zone"),
        ("2026-09-01T10:00:01+0000", "no colon"),
        ("2026-09-01T10:00:01-08", "no colon"),
        ("2026-09-01T10:00:01,5Z", "comma"),
        ("2026-09-01T10:00Z", "no seconds"),
        ("2026-09-01T10:00:01Z[UTC]", "zone's name"),
        ("2026-09-01T10:00:01 +00:00", "space before its zone"),
        ("2026-09-01T10:00:01Z ", "white space"),
        ("2026-09-01T10%3A00%3A01Z", "percent-encoded"),
        ("2026-09-01T10:00:01.0123456789Z", "nine decimals"),
        ("2026-09-01", "no time of day"),
        ("1788256801", "is a number"),
        ("1788256801.5", "is a number"),
        ("Tue, 01 Sep 2026 10:00:01 GMT", "HTTP"),
        ("2026-02-30T10:00:01Z", "no day"),
        ("9999-09-01T10:00:01Z", "no day"),
        ("yesterday", "no RFC 3339 time"),
    ],
)
def test_what_is_wrong_with_a_time_is_named(time: str | None, said: str) -> None:
    found = letter(record("text", 1, TEXT, time=time))
    assert found["code"] == "bad_time"
    assert said in found["detail"]
    assert time is None or len(time) < 8 or time not in found["detail"]


@pytest.mark.parametrize("structured", [False, True])
def test_the_attribute_that_stands_twice_is_named(structured: bool) -> None:
    row = record("text", 1, TEXT, structured=structured)
    if structured:
        row["value"] = row["value"].replace(b'{"spec', b'{"ageband": "child", "spec', 1)
    else:
        row["headers"].append({"key": "Ce-AgeBand", "value": b"child"})
    found = letter(row)
    assert found["code"] == "bad_headers"
    assert found["detail"].startswith("`ageband` stands")


def test_headers_that_contradict_each_other_or_the_event_are_named() -> None:
    types = [{"key": "content-type", "value": value} for value in (b"a/b", b"application/json")]
    twice = record("text", 1, TEXT)
    twice["headers"] += types
    assert letter(twice)["detail"].startswith("`content-type` stands in two headers")
    denied = record("text", 1, TEXT, structured=True)
    denied["headers"].append({"key": "ce_subject", "value": b"bob"})
    assert letter(denied)["detail"].startswith("`subject` is another in its header")
    unreadable = record("text", 1, TEXT)
    unreadable["headers"][-1]["value"] = b"\xff"
    assert letter(unreadable)["detail"] == "`noticeid` is not UTF-8"


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (b"MS4w", "base64"),
        ("1.0".encode("utf-16-le"), "NUL"),
        (b"1.0\0", "NUL"),
        (b"'1.0'", "quotes"),
        (b'["1.0"]', "quotes or brackets"),
        (b"1%2E0", "percent"),
        (b"0.3", "is not 1.0"),
    ],
)
def test_an_encoded_version_is_called_so(version: bytes, said: str) -> None:
    row = record("text", 1, TEXT)
    row["headers"][0]["value"] = version
    found = letter(row)
    assert found["code"] == "specversion_unknown"
    assert said in found["detail"]


def test_the_id_is_kept_where_the_value_or_an_attribute_is_not_read() -> None:
    whole = letter(record("text", 1, {}, type="x"))["event_id"]
    assert whole
    assert letter(record("text", 1, TEXT) | {"value": None})["event_id"] == whole
    odd = record("text", 1, TEXT, structured=True)
    odd["value"] = odd["value"].replace(b'"noticeid": "notice-1"', b'"noticeid": ["notice-1"]')
    found = letter(odd)
    assert (found["code"], found["event_id"]) == ("wrong_type", whole)
    assert "$.noticeid" in found["detail"]
