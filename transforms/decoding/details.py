"""What dead letters of decoding say: a sentence for the code, and what is wrong in the record."""

from collections.abc import Iterable, Mapping
from typing import Final

import pyarrow as pa

from schemas.errors import Code, DeadLetterCode
from schemas.events import AHEAD_S
from schemas.media.formats import FormatCode, explain

_DETAIL: Final[Mapping[str, str]] = {
    DeadLetterCode.UNKNOWN_TOPIC: "no kind of event belongs to this topic",
    DeadLetterCode.UNKNOWN_EVENT_TYPE: "the CloudEvents type is not the one of this topic",
    DeadLetterCode.NULL_VALUE: "the record has no value",
    DeadLetterCode.BAD_HEADERS: "id or source is missing or empty, or an attribute is not UTF-8 "
    "or stands twice with different values",
    DeadLetterCode.BAD_TIME: "the time attribute is no RFC 3339 time with a zone, of 1000 to 8999, "
    "or the record's own time is none of those years",
    DeadLetterCode.CLOCK_AHEAD: f"the event's time is {AHEAD_S:.0f} s ahead of its record's, or a "
    "day ahead of this machine's clock",
    DeadLetterCode.KEY_SHREDDED: "the key of that time was removed: nobody can be referred to",
    DeadLetterCode.BAD_JSON: "the payload is not one JSON object",
    DeadLetterCode.WRONG_TYPE: "a payload field has another type than its schema says",
    DeadLetterCode.BATCHED_EVENTS: "several events in one record: send each as its own",
    DeadLetterCode.COMPRESSED_VALUE: "the value is compressed otherwise than by gzip, or its gzip "
    "is damaged or inflates to more than 64 KiB",
    DeadLetterCode.SCHEMA_REGISTRY_FORMAT: "after a schema registry's id comes no JSON, but Avro "
    "or Protobuf",
    DeadLetterCode.FORMAT_UNSUPPORTED: "the event or its data are Avro, Protobuf, XML or another "
    "format that is not JSON",
    DeadLetterCode.SPECVERSION_UNKNOWN: "specversion is not 1.0",
    DeadLetterCode.DATASCHEMA_UNKNOWN: "dataschema names another major version than 1",
    DeadLetterCode.UNKNOWN_SHAPES: "no name among the weights is a shape of a known vocabulary",
    DeadLetterCode.UNKNOWN_UNIT: "the unit of the weights is not known: send `unit` as fraction, "
    "percent, byte or signed",
    DeadLetterCode.GOVERNANCE_UNREADABLE: "neither an attribute nor the record's key names a "
    "subject, or more than 16 are named: somebody may have withdrawn, and nobody knows who",
    DeadLetterCode.SIGNATURE_MISSING: "the grant has no signature",
    DeadLetterCode.SIGNATURE_UNKNOWN_KEY: "the grant's source has no key of this id",
    DeadLetterCode.SIGNATURE_INVALID: "the signature is malformed, or not of this grant",
    DeadLetterCode.PROHIBITION_UNSIGNED: "it suspends if it tells a time, and deletes nothing: no "
    "signature of its source makes sure that the person whom it names has asked for it",
    **{code: explain(code) for code in FormatCode},
}


class Explained(str):
    """A code with words about one record, none of which come from it; it compares as the code."""

    words: str

    def __new__(cls, code: Code, words: str) -> "Explained":
        """Return the code with these words."""
        made = str.__new__(cls, code)
        made.words = words
        return made


def details_of(problems: Iterable[str]) -> pa.Array:
    """Return the detail of each problem, which is a code or an explained one."""
    return pa.array(map(_detail, problems), pa.string())


def _detail(problem: str) -> str:
    said = _DETAIL[problem]
    return f"{said}: {problem.words}" if isinstance(problem, Explained) else said
