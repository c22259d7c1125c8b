import base64
import gzip
import json
import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DeadLetterCode
from transforms.decoding.messages.wrappings import LARGEST, inflate, unwrap, unwrap_values

PAYLOAD = json.dumps({"text": "well played", "n": [1, 2]}).encode()

WRAPPED = {
    "Confluent": b"\0" + (17).to_bytes(4, "big") + PAYLOAD,
    "Confluent, a high id": b"\0" + (2**31 - 1).to_bytes(4, "big") + PAYLOAD,
    "Apicurio, ids of 8 bytes": b"\0" + (17).to_bytes(8, "big") + PAYLOAD,
    "Glue": b"\3\0" + bytes(range(16)) + PAYLOAD,
    "Glue, zlib": b"\3\5" + bytes(range(16)) + zlib.compress(PAYLOAD),
    "gzip": gzip.compress(PAYLOAD),
    "zlib": zlib.compress(PAYLOAD),
    "zlib, fast": zlib.compress(PAYLOAD, 1),
    "Connect": b'{"schema":{"type":"map"},"payload":' + PAYLOAD + b"}",
    "Connect, a string": b'{"schema":{"type":"string"},"payload":'
    + json.dumps(PAYLOAD.decode()).encode() + b"}",
    "Connect, bytes": json.dumps(base64.b64encode(PAYLOAD).decode()).encode(),
    "a string": json.dumps(PAYLOAD.decode()).encode(),
    "base64": base64.b64encode(PAYLOAD),
    "a mark": b"\xef\xbb\xbf" + PAYLOAD,
    "UTF-16": PAYLOAD.decode().encode("utf-16"),
    "UTF-16 without a mark": PAYLOAD.decode().encode("utf-16-be"),
    "a registry's gzip": gzip.compress(b"\0\0\0\0\5" + PAYLOAD),
    "white space": b" \r\n" + json.dumps(PAYLOAD.decode()).encode(),
}  # fmt: skip


UNREADABLE = {
    "Confluent's Avro": (b"\0\0\0\0\7\x02\x16well played", DeadLetterCode.SCHEMA_REGISTRY_FORMAT),
    "Confluent's Protobuf": (b"\0\0\0\0\7\0\n\x0bplayed", DeadLetterCode.SCHEMA_REGISTRY_FORMAT),
    "Glue's Avro": (b"\3\0" + bytes(16) + b"\x16well", DeadLetterCode.SCHEMA_REGISTRY_FORMAT),
    "Zstandard": (pa.Codec("zstd").compress(PAYLOAD).to_pybytes(), DeadLetterCode.COMPRESSED_VALUE),
    "gzip that was cut": (gzip.compress(PAYLOAD)[:-12], DeadLetterCode.COMPRESSED_VALUE),
    "a bomb": (gzip.compress(b" " * (LARGEST + 1)), DeadLetterCode.COMPRESSED_VALUE),
    "an Avro file": (b"Obj\x01\x04\x16avro.schema", DeadLetterCode.FORMAT_UNSUPPORTED),
    "XML": (b"<?xml version='1.0'?><text/>", DeadLetterCode.FORMAT_UNSUPPORTED),
    "a batch": (b'[{"specversion": "1.0", "id": "1"}]', DeadLetterCode.BATCHED_EVENTS),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_is_around_json_is_taken_off(name: str) -> None:
    found = unwrap(WRAPPED[name])
    assert isinstance(found, bytes)
    assert json.loads(found) == json.loads(PAYLOAD)


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_taken_off_is_named(name: str) -> None:
    value, code = UNREADABLE[name]
    assert unwrap(value) == code


@pytest.mark.parametrize(
    "value", [b"", b"\0", b"null", b"[1]", b'"a"', b"eyes", b"\x1f", b"{", b"eyJ"]
)
def test_anything_else_is_left_to_its_reader(value: bytes) -> None:
    assert unwrap(value) == value


def test_each_row_is_looked_at_alone() -> None:
    rows = [PAYLOAD, WRAPPED["gzip"], None, UNREADABLE["Zstandard"][0], WRAPPED["gzip"], b"{"]
    mask = [True, True, True, True, False, True]
    values, problems = unwrap_values(pa.array(rows, pa.binary()), pa.array(mask).to_numpy(False))
    assert values.to_pylist() == [rows[0], PAYLOAD, *rows[2:]]
    assert problems.tolist() == [None, None, None, DeadLetterCode.COMPRESSED_VALUE, None, None]


def test_inflating_stops_at_the_bound() -> None:
    assert inflate(gzip.compress(bytes(LARGEST))) == bytes(LARGEST)
    assert inflate(gzip.compress(bytes(LARGEST + 1))) == DeadLetterCode.COMPRESSED_VALUE


@given(
    st.sampled_from(
        [b"", b"\0", b"\3", b'"', b"ey", b"\x1f\x8b", b'{"schema":', b"[", b"\xff\xfe"]
    ),
    st.binary(),
)
def test_no_value_makes_it_raise(start: bytes, rest: bytes) -> None:
    assert isinstance(unwrap(start + rest), bytes | DeadLetterCode)
