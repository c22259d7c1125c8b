"""Session events as Kafka would carry them: CloudEvents 1.0 in binary and structured mode."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from schemas.events import EVENT_TYPES, TOPIC_OF
from schemas.modalities import MODALITIES

NOTICE: Final = "notice-2026-08"
JSON_TYPE: Final = "application/json"
STRUCTURED_TYPE: Final = "application/cloudevents+json"
BIOMETRIC: Final = frozenset(name for name, its in MODALITIES.items() if its.biometric)
SESSION: Final = frozenset({*MODALITIES, "context"})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Subject:
    """One person in one scene: what the attributes of the person's events say.

    ``consented`` false: the log holds no consent of this subject. ``withdraws_ms``: from this
    event time on the consent is withdrawn.
    """

    id: str
    scene: str
    scenario: str
    lang: str
    region: str
    purpose: str = "avatar_mirroring"
    age_band: str = "adult"
    consented: bool = True
    withdraws_ms: int | None = None

    @property
    def session(self) -> str:
        """A session is one scene's run: its subjects share the id."""
        return f"{self.scene}-run-1"

    @property
    def undisputed(self) -> bool:
        """Every event of this subject may be recognised, so a fault in it meets no gate."""
        lawful = self.age_band == "adult" and not self.prohibited("face")
        return lawful and self.consented and self.withdraws_ms is None

    def refusal(self, kind: str, time_ms: int) -> str | None:
        """Return the code with which an event of this kind at this time has to be refused."""
        if kind not in SESSION:
            return None
        if self.prohibited(kind):
            return "purpose_prohibited"
        if self.age_band != "adult" and kind in BIOMETRIC:
            return "minor_biometric"
        if not self.consented:
            return "consent_unknown"
        withdrawn = self.withdraws_ms is not None and time_ms >= self.withdraws_ms
        return "consent_withdrawn" if withdrawn else None

    def prohibited(self, kind: str) -> bool:
        """Biometric inference in education is banned in the EU: AI Act, Art. 5(1)(f)."""
        return self.region == "EU" and self.scenario == "learning" and kind in BIOMETRIC


@dataclass(frozen=True, slots=True)
class Event:
    """One event before it is encoded: ``payload`` is None for a null value.

    ``attributes`` overrides CloudEvents attributes, None removes one. ``expression`` is the
    ground truth, None where the event shows none or can not be recognised. ``planted`` is the
    code of the dead letter or refusal that the pipeline owes for it. ``stand_in`` says what the
    payload is where it only stands in for what its recogniser is made for, so that no score is
    taken of it.
    """

    kind: str
    id: str
    subject: Subject
    time_ms: int
    arrival_ms: int
    payload: bytes | None
    content_type: str = JSON_TYPE
    structured: bool = False
    expression: str | None = None
    lang: str | None = None
    corpus: str = "sample"
    stand_in: str | None = None
    planted: str | None = None
    attributes: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """URI of the scene that sent it; source and id together name an event."""
        return f"https://worlds.example/scenes/{self.subject.scene}"


class Record(NamedTuple):
    """A RAW row without its partition and offset."""

    topic: str
    timestamp: int
    key: bytes
    headers: list[dict[str, Any]]
    value: bytes | None


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return compact UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def rfc3339(time_ms: int) -> str:
    """Return a time in milliseconds since 1970 as RFC 3339 with a Z."""
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def attributes_of(event: Event) -> dict[str, str]:
    """Return the CloudEvents attributes and extensions of an event, overrides applied."""
    subject = event.subject
    attributes: dict[str, str | None] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": EVENT_TYPES[event.kind],
        "subject": subject.id,
        "time": rfc3339(event.time_ms),
        "dataschema": dataschema(event.kind),
        "sessionid": subject.session,
        "sceneid": subject.scene,
        "scenario": subject.scenario,
        "purpose": subject.purpose,
        "region": subject.region,
        "ageband": subject.age_band,
        "noticeid": NOTICE,
        **event.attributes,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def dataschema(kind: str) -> str:
    """Return the URI of the payload's JSON Schema."""
    return f"https://schemas.affectstream.example/{TOPIC_OF[kind]}.v1.json"


def encode(event: Event) -> Record:
    """Return the record that Kafka would hold: binary mode, or structured JSON mode if asked."""
    attributes = attributes_of(event)
    if event.structured:
        content_type, value = STRUCTURED_TYPE, _structured_json(attributes, event)
        headers = []
    else:
        content_type, value = event.content_type, event.payload
        headers = [{"key": f"ce_{k}", "value": v.encode()} for k, v in attributes.items()]
    headers.append({"key": "content-type", "value": content_type.encode()})
    key = event.subject.id.encode()
    return Record(TOPIC_OF[event.kind], event.arrival_ms, key, headers, value)


def _structured_json(attributes: Mapping[str, str], event: Event) -> bytes | None:
    if event.payload is None:
        return None
    whole: dict[str, Any] = {**attributes, "datacontenttype": event.content_type}
    if event.content_type == JSON_TYPE:
        whole["data"] = json.loads(event.payload)
    else:
        whole["data_base64"] = base64.b64encode(event.payload).decode()
    return json_bytes(whole)


def consent(subject: Subject, event_id: str, time_ms: int, *, granted: bool) -> Event:
    """Return the event by which a subject grants or withdraws every purpose and modality used."""
    payload: dict[str, Any] = {
        "granted": granted,
        "purposes": ["avatar_mirroring", "show_to_others", "recommendation"],
        "modalities": list(MODALITIES),
    }
    if granted and subject.age_band == "child":
        payload["given_by"] = "guardian"
    return Event("consent", event_id, subject, time_ms, time_ms + 20, json_bytes(payload))


def mark_refusal(event: Event) -> Event:
    """Return the event with the refusal code that its subject's consent and age ask for."""
    code = event.subject.refusal(event.kind, event.time_ms)
    return event if code is None else replace(event, planted=code)
