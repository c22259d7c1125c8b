"""Builds records as SDKs, serialisers and gateways write them, from a row's ``send``.

``text`` is what is said; everything else has a default, that of a plain event in binary mode:
``kind``, ``mode`` (binary, structured or batch), ``attributes`` (changed ones), ``content_type``,
``spelling`` of header names (``Ce-{title}``), ``quotes`` around header values (json or connect),
``headers`` (more of them), ``data`` (how the event carries it: plain, base64, string, connect),
``wrap`` (what is around the value, from the inside out), ``value`` (instead of all of it),
``timestamp`` (of the record, in ms) and ``key``.
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
        value = json.dumps(given | _data(value, send.get("data", "plain"))).encode()
    for name in send.get("wrap", []):
        value = _AROUND[name](value)
    if "value" in send:
        value = send["value"].encode()
    headers = {} if structured else _headers(given, send)
    content_type = send.get("content_type", "application/cloudevents+json" if structured else None)
    if content_type is not None:
        headers |= {send.get("content_type_name", "content-type"): content_type}
    headers |= send.get("headers", {})
    pairs = [{"key": key, "value": text.encode()} for key, text in headers.items()]
    changes = {name: send[name] for name in ("timestamp",) if name in send}
    return made | {"value": value, "headers": pairs} | changes


def _data(payload: bytes, how: str) -> dict[str, Any]:
    if how == "base64":
        return {"data_base64": base64.b64encode(payload).decode()}
    if how == "string":
        return {"data": payload.decode()}
    if how == "connect":
        return {"data": {"schema": {"type": "struct"}, "payload": json.loads(payload)}}
    if how == "both":
        return {"data": json.loads(payload), "data_base64": base64.b64encode(b"{}").decode()}
    return {"data": json.loads(payload)}


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
