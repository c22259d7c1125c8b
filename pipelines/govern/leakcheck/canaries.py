"""Canaries: one record for each topic, field and encoding, with a token of its own in the field."""

import datetime as dt
import io
import json
import secrets
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipelines.govern.leakcheck.encodings import ENCODINGS, make_token
from schemas.attributes import ATTRIBUTES
from schemas.events import (
    CONTEXT_FIELDS,
    EVENT_TYPES,
    GOVERNANCE_KINDS,
    KINDS,
    MEDIA_KINDS,
    PAYLOADS,
    TOPIC_OF,
)
from schemas.modalities import MODALITIES

_PURPOSE: Final = "avatar_mirroring"
_EVERY: Final = dt.timedelta(seconds=6)  # longer than a window: each canary has one of its own
_ATTRIBUTES: Final = (*ATTRIBUTES, "datacontenttype", "traceparent")
_AROUND: Final = ("key", "header name", "topic name")
_INSIDE: Final = ("unknown field", "unknown name")
_PLACE: Final = '"\\u0000"'  # stands in a JSON text where the encoded token goes

PAYLOADS_SENT: Final[Mapping[str, dict[str, Any]]] = MappingProxyType(
    {
        "text": {"text": "well done, that was fun", "lang": "en"},
        "motion": {"weights": {"jawOpen": 0.5}, "head": {"pitch": 0.1}},
        "context": {"activity": "duel"},
        "consent": {"granted": True, "purposes": [_PURPOSE], "modalities": list(MODALITIES)},
        "erasure": {"reason": "asked"},
    }
)
"""Kind → what else its payload says; media have none."""

_CODES: Final = frozenset({*((TOPIC_OF["context"], name) for name in CONTEXT_FIELDS)}) | {
    (TOPIC_OF["consent"], "noticeid")
}
"""Topic and field of what lands where it is a code that names nobody by any rule."""
_AS_CODES: Final = frozenset({"plain", "upper case", "reversed", "JSON escapes"})
"""Encodings that leave a token a code; a JSON parser undoes its own escapes."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A token, and where it was put."""

    token: str
    topic: str
    place: str
    encoding: str

    @property
    def allowed(self) -> bool:
        """Whether its field and form let it land: as a code of a context field or a notice."""
        return (self.topic, self.place) in _CODES and self.encoding in _AS_CODES


@dataclass(slots=True)
class CanaryLog:
    """RAW rows of a log with canaries in it, made in order; ``key`` makes the tokens of a run."""

    start: dt.datetime
    encodings: Sequence[str] = tuple(ENCODINGS)
    kinds: Sequence[str] = KINDS
    key: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    canaries: list[Canary] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def fill(self) -> None:
        """Make a record for each kind, place and encoding, and the consents that let it pass."""
        self._consent(b"leak-subject")
        for kind in self.kinds:
            for place in places(kind):
                for encoding in self.encodings:
                    self._add(kind, place, encoding)

    def _add(self, kind: str, place: str, encoding: str) -> None:
        token = make_token(len(self.canaries), self.key)
        self.canaries.append(Canary(token, TOPIC_OF[kind], place, encoding))
        written = ENCODINGS[encoding](token)
        value = written.encode() if isinstance(written, str) else written
        if place == "subject" and kind not in GOVERNANCE_KINDS:
            self._consent(token.encode() if encoding == "JSON escapes" else value)
        headers = self._attributes(kind)
        topic, key, payload = TOPIC_OF[kind], headers["subject"], self._payload(kind, place, value)
        if place in _ATTRIBUTES:
            headers[place] = value
        elif place == "header name":
            headers[value.decode("latin-1")] = value
        elif place == "topic name":
            topic = f"{topic}.{value.decode('latin-1')}"
        elif place == "key":
            key = value
        if encoding == "JSON escapes" and place in _ATTRIBUTES and kind in PAYLOADS_SENT:
            self._row(topic, key, *_structured(headers, payload))
        else:
            self._row(topic, key, _as_headers(headers), payload)
        if kind == "context":  # a window lands where something was shown in it
            seen = self._attributes("text")
            self._row(TOPIC_OF["text"], key, _as_headers(seen), _payload("text"))

    def _consent(self, subject: bytes) -> None:
        headers = self._attributes("consent") | {"subject": subject}
        headers["time"] = _rfc3339(self.start).encode()
        self._row(TOPIC_OF["consent"], subject, _as_headers(headers), _payload("consent"))

    def _attributes(self, kind: str) -> dict[str, bytes]:
        number = len(self.rows)
        # What closes a gate is about somebody else.
        subject = f"leak-other-{number}" if kind in GOVERNANCE_KINDS else "leak-subject"
        told = {
            "specversion": "1.0", "id": f"leak-{number}", "source": "leakcheck",
            "type": EVENT_TYPES[kind], "subject": subject, "time": _rfc3339(self._now()),
            "sessionid": "leak-session", "sceneid": "leak-scene", "scenario": "social",
            "purpose": _PURPOSE, "region": "US", "ageband": "adult", "noticeid": "leak-notice",
        }  # fmt: skip
        return {name: value.encode() for name, value in told.items()}

    def _payload(self, kind: str, place: str, value: bytes) -> bytes:
        if kind == "voice":
            return value if place == "media" else _clip(value)
        if kind == "face":
            return value if place == "media" else _picture(value)
        return _payload(kind, place, value)

    def _row(self, topic: str, key: bytes, headers: list[dict[str, Any]], value: bytes) -> None:
        self.rows.append(
            {
                "topic": topic, "partition": 0, "offset": len(self.rows),
                "timestamp": self._now(), "key": key,
                "headers": headers, "value": value,
            }
        )  # fmt: skip

    def _now(self) -> dt.datetime:
        return self.start + len(self.canaries) * _EVERY


def places(kind: str) -> Iterator[str]:
    """Yield the places of a kind's records that a client writes."""
    yield from (*_ATTRIBUTES, *_AROUND)
    if kind in MEDIA_KINDS:
        yield from ("media", "media comment")
        return
    yield from (name for name, _ in PAYLOADS[kind] if name in _WRITTEN[kind])
    yield from _INSIDE


_WRITTEN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "text": ("text", "lang"),
        "motion": (),
        "context": ("scene", *CONTEXT_FIELDS, "details"),
        "consent": ("purposes", "modalities", "given_by"),
        "erasure": ("reason",),
    }
)
"""Kind → the columns of its payload that hold what a client wrote as a text."""


def _payload(kind: str, place: str = "", value: bytes = b"") -> bytes:
    told = dict(PAYLOADS_SENT[kind])
    mark = json.loads(_PLACE)
    if place in ("purposes", "modalities"):
        told[place] = [*told[place], mark]
    elif place == "details":
        told["door"] = mark
    elif place == "unknown field":
        told["nobodyKnows"] = {"deep": [mark]}
    elif place == "unknown name":
        told[mark] = "x"
    elif place in _WRITTEN[kind]:
        told[place] = mark
    return json.dumps(told).encode().replace(_PLACE.encode(), _json_text(value))


def _json_text(value: bytes) -> bytes:
    """Return a JSON string of these bytes; one of JSON's own escapes stays as it is."""
    text = value.decode("latin-1")
    return f'"{text}"'.encode() if text.startswith("\\u00") else json.dumps(text).encode()


def _structured(headers: Mapping[str, bytes], payload: bytes) -> tuple[list[dict[str, Any]], bytes]:
    members = [f'"{name}": '.encode() + _json_text(value) for name, value in headers.items()]
    kind = {"key": "content-type", "value": b"application/cloudevents+json"}
    return [kind], b"{" + b", ".join([*members, b'"data": ' + payload]) + b"}"


def _as_headers(attributes: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [{"key": f"ce_{name}", "value": value} for name, value in attributes.items()]


def _rfc3339(time: dt.datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _clip(comment: bytes) -> bytes:
    """Return a WAV clip of half a second with a comment behind it, as recorders write it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(16_000)
        clip.writeframes(bytes(range(1, 251)) * 64)
    padded = comment + b"\x00" * (len(comment) % 2)
    size = len(padded).to_bytes(4, "little")
    return (
        file.getvalue()
        + b"LIST"
        + (len(padded) + 12).to_bytes(4, "little")
        + b"INFOICMT"
        + size
        + padded
    )


def _picture(comment: bytes) -> bytes:
    """Return a grey PNG with a comment in it."""
    file, info = io.BytesIO(), PngInfo()
    info.add_text("Comment", comment.decode("latin-1").replace("\x00", " "))
    Image.new("L", (64, 64), 128).save(file, "PNG", pnginfo=info)
    return file.getvalue()
