"""The envelope of a structured CloudEvent: its attributes, and its data as JSON."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from schemas.attributes import ATTRIBUTES
from schemas.errors import Code, DeadLetterCode
from transforms.decoding.details import Explained
from transforms.decoding.media import decode_base64
from transforms.decoding.messages.parsing import ABSENT, parse_json
from transforms.decoding.messages.wrappings import is_of_connect, unwrap

_DATA: Final = [("data", msgspec.Raw, msgspec.Raw()), ("data_base64", msgspec.Raw, msgspec.Raw())]
_Envelope: Any = msgspec.defstruct(
    "Envelope",
    [
        *((name, str | None, None) for name in ATTRIBUTES),
        ("specversion", str | float | None, None),  # as YAML has it
        *_DATA,
    ],
)
_AnyEnvelope: Any = msgspec.defstruct(
    "AnyEnvelope",
    [*((name, msgspec.Raw, msgspec.Raw()) for name in (*ATTRIBUTES, "specversion")), *_DATA],
)
_read_text = msgspec.json.Decoder(str).decode
_read_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_envelopes(values: list[bytes]) -> tuple[list[Any], np.ndarray]:
    """Return the envelope of each structured event, and its problem or None.

    A number or truth is taken for the text that it is in a header; of an envelope with an attribute
    of another type the others are read.
    """
    envelopes, problems = parse_json(values, _Envelope)
    for row in np.flatnonzero(problems == DeadLetterCode.WRONG_TYPE):
        (loose,), _ = parse_json([values[row]], _AnyEnvelope)
        given = {name: bytes(getattr(loose, name)) for name in (*ATTRIBUTES, "specversion")}
        texts = {name: _text(value) for name, value in given.items() if value not in ABSENT}
        if None not in texts.values():
            problems[row] = None
        envelopes[row] = _Envelope(**texts, data=loose.data, data_base64=loose.data_base64)
    return envelopes, problems


def _text(value: bytes) -> str | None:
    """Return what a header has for a JSON string, number or truth; None for anything else."""
    try:
        found = _read_scalar(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if isinstance(found, str) else value.decode()


def read_data(envelopes: Sequence[Any]) -> tuple[list[bytes], np.ndarray]:
    """Return the JSON data of events, and each row's problem or None.

    They stand there as they are, in a string, beside a schema, or in base64, compressed or not.
    """
    data = [bytes(envelope.data) for envelope in envelopes]
    problems = np.full(len(data), None, object)
    for row, value in enumerate(data):
        if value.startswith(b"{") and not is_of_connect(value):
            continue
        given = value
        if value in ABSENT and bytes(envelopes[row].data_base64) not in ABSENT:
            decoded = _decode_base64(bytes(envelopes[row].data_base64))
            if decoded is None:
                words = "`data_base64` is no string of base64"
                problems[row] = Explained(DeadLetterCode.BAD_JSON, words)
            given = decoded or b""
        bare = unwrap(given)
        if isinstance(bare, DeadLetterCode):
            problems[row] = bare
        data[row] = given if isinstance(bare, DeadLetterCode) else bare
    return data, problems


def _decode_base64(value: bytes) -> bytes | None:
    try:
        return decode_base64(_read_text(value).encode(), least=1)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def explain_absence(envelope: bytes, fields: Collection[str]) -> Code | Explained:
    """Return the problem of an event that has no data.

    There are none at all, or under another name, or they stand beside its attributes.
    """
    try:
        names = _read_members(envelope).keys()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return DeadLetterCode.NULL_VALUE
    spelt = {name.lower() for name in names} - names
    other = [name for name in (*ATTRIBUTES, "specversion", "data") if name in spelt]
    if other:
        words = f"`{other[0]}` is spelt with capitals: CloudEvents has small letters alone"
        return Explained(DeadLetterCode.NULL_VALUE, words)
    beside = sorted(names & {*fields})
    if beside:
        words = f"the event has no `data`: `{beside[0]}` stands beside its attributes"
        return Explained(DeadLetterCode.NULL_VALUE, words)
    return Explained(DeadLetterCode.NULL_VALUE, "the event has no `data`")
