"""Builds records as SDKs, serialisers and gateways write them, from a row's ``send``.

``text`` is what is said; everything else has a default, that of a plain event in binary mode:
``kind``, ``mode`` (binary, structured or batch), ``attributes`` (changed ones), ``content_type``,
``spelling`` of header names (``Ce-{title}``), ``quotes`` around header values (json or connect),
``headers`` (more of them), ``copied`` (attributes that a structured event has as headers too),
``data`` (how the event carries it: plain, base64, string, connect; text of ``data_base64`` as it
is; beside its attributes), ``wrap data`` (what is around it), ``wrap`` (what is around the value,
from the inside out), ``value`` (instead of all of it), ``timestamp`` (of the record, in ms) and
``key``.
"""

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from tests.support.records import attributes, record

_SCHEMA = {"type": "string", "optional": False}
_UUID = bytes(range(16))

_AROUND: dict[str, Callable[[bytes], bytes]] = {
    "confluent": lambda value: b"\0\0\0\0\x11" + value,
    "confluent avro": lambda _: b"\0\0\0\0\x11\x02\x16I am so happy",
    "confluent protobuf": lambda _: b"\0\0\0\0\x11\0\n\rI am so happy",
    "apicurio": lambda value: b"\0" + bytes(7) + b"\x11" + value,
    "glue": lambda value: b"\3\0" + _UUID + value,
    "glue zlib": lambda value: b"\3\5" + _UUID + zlib.compress(value),
    "gzip": gzip.compress,
    "cut": lambda value: value[: len(value) // 2],
    "zlib": zlib.compress,
    "zstd": lambda value: pa.Codec("zstd").compress(value).to_pybytes(),
    "lz4": lambda value: pa.Codec("lz4").compress(value).to_pybytes(),
    "bomb": lambda value: gzip.compress(value[:-1] + b" " * 10_000_000 + b"}"),
    "connect": lambda value: b'{"schema":{"type":"struct"},"payload":' + value + b"}",
    "connect indented": lambda value: json.dumps(
        {"schema": {"type": "struct"}, "payload": json.loads(value)}, indent=2
    ).encode(),
    "connect, payload first": lambda value: b'{ "payload" : ' + value + b', "schema": null }',
    "confluent uuid": lambda value: b"\1" + _UUID + value,
    "two members": lambda value: gzip.compress(value) + gzip.compress(value.replace(b"so", b"as")),
    "in two members": lambda value: gzip.compress(value[:9]) + gzip.compress(value[9:]),
    "in two members of zlib": lambda value: zlib.compress(value[:9]) + zlib.compress(value[9:]),
    "padded": lambda value: value + bytes(20),
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(value).rstrip(b"="),
    "base64 in lines": base64.encodebytes,
    "string": lambda value: json.dumps(value.decode()).encode(),
    "base64": base64.b64encode,
    "bom": lambda value: b"\xef\xbb\xbf" + value,
    "utf-16": lambda value: value.decode().encode("utf-16"),
    "array": lambda value: b"[" + value + b"," + value.replace(b'"id": "', b'"id": "x') + b"]",
    "avro file": lambda _: b"Obj\x01\x04\x16avro.schema",
    "xml": lambda _: b"<?xml version='1.0'?><event><text>I am so happy</text></event>",
}


def make_message(send: dict[str, Any], kind: str, number: int) -> dict[str, Any]:
    """Return the record of a row."""
    given = attributes(kind, number, **send.get("attributes", {}))
    payload = send.get("payload", {"text": send.get("text", "I am so happy today")})
    made = record(kind, number, payload, subject=given["subject"])
    structured = send.get("mode", "binary") != "binary"
    value = made["value"]
    if structured:
        for name in send.get("wrap data", []):
            value = _AROUND[name](value)
        value = json.dumps(given | _DATA[send.get("data", "plain")](value)).encode()
    for name in send.get("wrap", []):
        value = _AROUND[name](value)
    if "value" in send:
        value = send["value"] and send["value"].encode()
    copied = {name: given[name] for name in send.get("copied", [])}
    headers = _headers(copied if structured else given, send)
    content_type = send.get("content_type", "application/cloudevents+json" if structured else None)
    if content_type is not None:
        headers |= {send.get("content_type_name", "content-type"): content_type}
    headers |= send.get("headers", {})
    pairs = [{"key": key, "value": text.encode()} for key, text in headers.items()]
    changes = {name: send[name] for name in ("timestamp",) if name in send}
    return made | {"value": value, "headers": pairs} | changes


_DATA: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "plain": lambda payload: {"data": json.loads(payload)},
    "base64": lambda payload: {"data_base64": base64.b64encode(payload).decode()},
    "text": lambda payload: {"data_base64": payload.decode()},
    "beside": json.loads,
    "string": lambda payload: {"data": payload.decode()},
    "connect": lambda payload: {
        "data": {"schema": {"type": "struct"}, "payload": json.loads(payload)}
    },
    "both": lambda payload: {
        "data": json.loads(payload), "data_base64": base64.b64encode(b"{}").decode(),
    },
}  # fmt: skip


def _headers(given: dict[str, str], send: dict[str, Any]) -> dict[str, str]:
    spelling, quotes = send.get("spelling", "ce_{name}"), send.get("quotes")
    headers = {
        spelling.format(name=name, title=name.title(), upper=name.upper()): text
        for name, text in given.items()
    }
    if quotes == "json":
        return {name: json.dumps(text) for name, text in headers.items()}
    if quotes == "connect":
        return {
            name: json.dumps({"schema": _SCHEMA, "payload": text}, separators=(",", ":"))
            for name, text in headers.items()
        }
    return headers
