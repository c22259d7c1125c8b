"""Governance records: permission is read strictly, prohibition generously.

Whatever names a subject and is no clear grant closes the gate, however it is spelt. What an error
costs decides the reading: a grant that is taken for a withdrawal costs features until the next
grant, a withdrawal that is not understood costs a person's right.

Where sources sign (docs/adr/0021), each prohibition suspends by this reading, whoever sent it: the
gate closes, and nothing is deleted. Only a signed one also withdraws or asks for erasure, at the
time that was signed, so that a record which somebody sends again adds nothing.
"""

import datetime as dt
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import regex

from schemas.arrow import take_rows
from schemas.errors import DeadLetterCode
from schemas.events import AHEAD_S, EVENT_TYPES, event_schema, record_times
from transforms.decoding.aliases import fold_spelling, known_name
from transforms.decoding.event_ids import EventIds
from transforms.decoding.headers import unquote
from transforms.decoding.messages.encodings import (
    are_base64,
    decode_percent,
    is_of_http,
    other_readings,
)
from transforms.decoding.messages.wrappings import unwrap
from transforms.decoding.signatures import Signed
from transforms.gating.legible import UNSEEN
from transforms.gating.statements import (
    LISTS,
    Members,
    Statement,
    letters,
    parse_one,
    read_statements,
)

ANY: Final = "*"

_YES: Final = {"true", "yes", "y", "1", "on", "granted", "allow", "allowed"}
_NO: Final = {"false", "no", "n", "0", "off", "withdrawn", "revoked", "denied", "refused"}
_MOST_NAMES: Final = 100
"""More names than there are purposes or modalities: such a list means all of them."""
_LONGEST: Final = 64  # characters; no longer name is known
_MOST_SUBJECTS: Final = 16
FIRST, END = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2000, 2100))
"""What a clock that was ever set can tell, as in the expectations of event time."""
_FOR_ALL_TIME: Final = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), END)
"""How a prohibition without any time holds where nobody signs. Where sources sign it is a dead
letter alone: no grant could outlast it, and a record that anybody can write must not do that."""
_ZONES: Final = dt.timedelta(days=1)
"""Clocks that differ by less may stand in other zones; of two that differ by more one is broken."""


class Sorted(NamedTuple):
    """RAW records of one governance topic, sorted.

    All but the last are masks. ``grants`` say that they are, and are to be read strictly. Of
    ``ambiguous`` grants a member stands twice, and nobody knows which counts. ``unreadable`` are
    records that name nobody, or perhaps more people than could be read. ``unclear`` are consents
    that count as withdrawals, and do not say that they are. ``unsigned`` are prohibitions that
    ought to be signed and are not. ``prohibitions`` are EVENT batches of all withdrawals and
    erasures, with a row for each subject that is named.
    """

    grants: np.ndarray
    ambiguous: np.ndarray
    unreadable: np.ndarray
    unclear: np.ndarray
    unsigned: np.ndarray
    prohibitions: list[pa.RecordBatch]


def sort_governance(
    kind: str, raw: pa.RecordBatch, ids: EventIds, signed: Sequence[Signed | None] | None = None
) -> Sorted:
    """Tell grants from prohibitions, and read the prohibitions.

    ``signed`` is what the signature of each record covers, None where it has none that holds; it is
    None as a whole where nobody signs.
    """
    grants = np.array([_is_plain_grant(value) for value in raw["value"].to_pylist()], bool)
    grants &= kind == "consent"
    ambiguous, unreadable, unclear, unsigned = np.zeros((4, raw.num_rows), bool)
    rows: list[dict[str, Any]] = []
    suspended: list[dict[str, Any]] = []
    places = np.flatnonzero(~grants)
    rest = take_rows(raw, places)
    times = record_times(rest["timestamp"])[0].to_pylist()
    records = rest.drop_columns("timestamp").to_pylist()  # which may be no time that Python knows
    for row, record, recorded in zip(places.tolist(), records, times, strict=True):
        events, complete, crowded = read_statements(record["value"])
        if kind == "consent" and all(map(_is_grant, events)):
            ambiguous[row] = any(each.repeated for event in events for each in event.stated)
            grants[row] = not ambiguous[row]
            continue
        unreadable[row] = crowded or not (complete or kind == "consent")
        unclear[row] = kind == "consent" and not (complete and _is_withdrawal(record, events))
        for event in events:
            if kind == "consent" and _is_grant(event):  # in a batch, which is told
                continue
            subjects, made = _read_event(kind, record, event, recorded, suspend=signed is not None)
            unreadable[row] |= not 0 < len(subjects) <= _MOST_SUBJECTS
            if signed is None:
                rows += made
                continue
            suspended += made
            sure = len(events) == 1 and _signed_row(kind, record, signed[row], subjects, recorded)
            rows += [sure] if sure else []
            unsigned[row] |= not (sure or unreadable[row])
    prohibitions = [_with_ids("consent", suspended, ids), _with_ids(kind, rows, ids)]
    return Sorted(grants, ambiguous, unreadable, unclear, unsigned, prohibitions)


def _read_event(
    kind: str, record: dict[str, Any], event: Statement, recorded: dt.datetime | None, *,
    suspend: bool,
) -> tuple[list[str], list[dict[str, Any]]]:  # fmt: skip
    """Return whom one prohibition names, and its rows; of many they are bounded."""
    attributes = _with_members(_of_headers(record["headers"] or ()), event)
    subjects = _subjects(attributes, event, record["key"])
    moments = _moments(attributes.get("time", []), recorded)
    if suspend:
        lists = event if kind == "consent" else Statement([], [])
        known = _row("consent", record, attributes, lists) | {"suspends": True}
        return subjects, _rows_for(known, subjects, moments)
    known = _row(kind, record, attributes, event)
    return subjects, _rows_for(known, subjects, moments or [_FOR_ALL_TIME])


def _signed_row(
    kind: str, record: dict[str, Any], signed: Signed | None, subjects: list[str],
    recorded: dt.datetime | None,
) -> dict[str, Any] | None:  # fmt: skip
    """Return the row of what was signed alone, None where that is no prohibition of one person.

    What stands around it may name others, be on the topic of another kind, or make a withdrawal of
    a grant.
    """
    if signed is None:
        return None
    given, payload = signed.attributes, parse_one(signed.data)
    payloads = [payload] if isinstance(payload, Members) else []
    event = Statement(payloads, payloads)
    since = _parse_moment(given.get("time", ""))
    another_kind = given.get("type") != EVENT_TYPES[kind] or _is_grant(event)
    if since is None or another_kind or subjects != [given.get("subject")]:
        return None
    if recorded is not None and since > recorded + dt.timedelta(seconds=AHEAD_S):
        return None
    attributes = {name: [value] for name, value in given.items()}
    row = _row(kind, record, attributes, event)
    return row | {"subject": given["subject"], "event_time": since, "recorded_at": since}


_read_plain = msgspec.json.Decoder(dict[str, Any]).decode


def _is_plain_grant(value: bytes | None) -> bool:
    """Whether a payload is a grant without doubt: most are, and the slow look takes 60 µs.

    It has the members of a consent and no other, each once, and nothing in it is escaped.
    """
    if not value or not value.isascii() or b"\\" in value:
        return False
    if any(value.count(b'"%s"' % name.encode()) != 1 for name in ("granted", *LISTS)):
        return False
    if value.count(b'"given_by"') > 1:
        return False
    try:
        found = _read_plain(value)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return found.keys() - {"given_by"} == {"granted", *LISTS} and found["granted"] is True


def _with_ids(kind: str, rows: list[dict[str, Any]], ids: EventIds) -> pa.RecordBatch:
    """Return EVENT rows; the id is null where the record gave none."""
    events = pa.RecordBatch.from_pylist(rows, event_schema(kind))
    source, given = (pa.array([row[n] for row in rows], pa.string()) for n in ("source", "id"))
    who, when, where = (events[name] for name in ("subject", "event_time", "region"))
    made, _ = ids.of(kind, who, source, given, when, where)
    named = pc.and_(source.is_valid(), given.is_valid())
    place = events.schema.get_field_index("event_id")
    field = events.schema.field(place)
    return events.set_column(place, field, pc.if_else(named, made, None))


def _rows_for(
    row: dict[str, Any], subjects: list[str], moments: list[tuple[dt.datetime, dt.datetime]]
) -> list[dict[str, Any]]:
    """Return a prohibition's row once for each subject and moment."""
    return [
        row | {"subject": subject, "event_time": since, "recorded_at": said}
        for subject in subjects[:_MOST_SUBJECTS]
        for since, said in moments
    ]


def _row(
    kind: str, record: dict[str, Any], attributes: Mapping[str, list[str]], event: Statement
) -> dict[str, Any]:
    regions = [known_name("region", value) for value in attributes.get("region", [])]
    bands = {known_name("ageband", value) for value in attributes.get("ageband", [])}
    row = {name: record[name] for name in ("topic", "partition", "offset")} | {
        "id": next(iter(attributes.get("id", [])), None),
        "source": next(iter(attributes.get("source", [])), None),
        "event_type": EVENT_TYPES[kind],
        "region": next(filter(None, regions), None),
        "age_band": next((band for band in ("child", "teen", "adult") if band in bands), None),
    }
    if kind == "erasure":
        return row
    listing = [*event.stated, *(each for each in event.objects if each.named("granted"))]
    names = {name: _names(listing, name) for name in LISTS}
    return row | names | {"granted": False}


def _of_headers(headers: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """Return every value of each attribute in headers, and every other that may be meant."""
    attributes: dict[str, list[str]] = {}
    pairs = [(_attribute(each["key"]), _plain(each)) for each in headers if each]
    base64 = are_base64(value for _, value in pairs)
    for name, value in pairs:
        texts = [_text(each) for each in (value, *other_readings(value, base64=base64))]
        attributes.setdefault(name, []).extend(filter(None, texts))
    return attributes


def _plain(header: Mapping[str, Any]) -> bytes:
    value = unquote(header["value"] or b"")
    return decode_percent(value) if is_of_http(header["key"] or "") else value


def _attribute(header: str | None) -> str:
    return letters(header or "").removeprefix("cloudevents").removeprefix("ce")


def _with_members(said: Mapping[str, list[str]], event: Statement) -> dict[str, list[str]]:
    """Return the attributes that headers and the objects of an event tell."""
    outer = event.stated[:1] or event.objects[:1]
    objects = [*outer, *(each for each in event.objects if each.named("subject"))]
    found = {name: list(texts) for name, texts in said.items()}
    for item in objects:
        for name in ("id", "source", "time", "region", "ageband"):
            texts = [_text(value) for value in item.named(name)]
            found.setdefault(name, []).extend(filter(None, texts))
    return found


def _is_grant(event: Statement) -> bool:
    """Whether all that an event says of granting is a yes, be it well formed or not."""
    said = [value for payload in event.stated for value in payload.named("granted")]
    return bool(said) and all(_is_yes(value) for value in said)


def _is_withdrawal(record: Mapping[str, Any], events: list[Statement]) -> bool:
    """Whether each event of a record says no, and none yes; a record without value is a no."""
    if not record["value"]:
        return True
    said = [
        [value for each in event.objects for value in each.named("granted")] for event in events
    ]
    return all(values and all(map(_is_no, values)) for values in said)


def _is_no(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST and fold_spelling(value) in _NO
    return isinstance(value, int | float) and value == 0


def _is_yes(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST and fold_spelling(value) in _YES
    return isinstance(value, int | float) and value == 1


def _subjects(
    attributes: Mapping[str, list[str]], event: Statement, key: bytes | None
) -> list[str]:
    """Return everybody who is named, by the record's key too, which is a subject's id."""
    inside = [_text(value) for each in event.objects for value in each.named("subject")]
    named = [*attributes.get("subject", []), *inside, *_key_names(key or b"")]
    return list(dict.fromkeys(name for name in named if name and not name.isspace()))


def _key_names(key: bytes) -> list[str | None]:
    """Return whom a record's key names: as text, as JSON, or behind the id of a registry."""
    bare = unwrap(key)
    if bare == DeadLetterCode.SCHEMA_REGISTRY_FORMAT:
        return [_text(_avro_string(key[5:]))]
    bare = bare if isinstance(bare, bytes) else key
    found = parse_one(unquote(bare)) if bare.lstrip()[:1] == b"{" else None
    if not isinstance(found, Members):
        return [_text(unquote(bare))]
    ids = found.named("subject") or found.named("payload") or [value for _, value in found]
    return [_text(value) for value in ids if isinstance(value, str)]


def _avro_string(value: bytes) -> bytes | None:
    """Return Avro's string: its length, as a zigzag number of one byte, and its bytes."""
    whole = len(value) > 1 and value[0] == 2 * (len(value) - 1)
    return value[1:] if whole else None


def _names(payloads: list[Members], what: str) -> list[str]:
    """Return the names that a withdrawal lists; ANY where it lists none that can be read."""
    listed: list[Any] = []
    for payload in payloads:
        for value in payload.named(what):
            listed += value if type(value) is list else [value]
    names = [
        _whole_text(name) for name in listed if isinstance(name, str) and len(name) <= _LONGEST
    ]
    if not names or len(names) < len(listed) or len(names) > _MOST_NAMES:
        return [ANY]
    return list(dict.fromkeys(names))


def _moments(
    given: list[str], recorded: dt.datetime | None
) -> list[tuple[dt.datetime, dt.datetime]]:
    """Return from when a prohibition holds, and when it was said; nothing where no time is told.

    It holds from the earlier of event and record time on, and was said when it was recorded. An
    event time a day or more after the record's means that one clock is broken, and nobody knows
    which. So the prohibition is said at both: a grant opens that was recorded after the first, and
    at the second the gate closes once more, to all grants of before.
    """
    usable = recorded is not None and FIRST <= recorded < END
    known = [*filter(None, map(_parse_moment, given)), *([recorded] if recorded and usable else [])]
    if not known:
        return []
    first, last = min(known), max(known)
    said = recorded if recorded and usable else last if last - first < _ZONES else first
    return [(first, said)] + ([(last, last)] if last - said >= _ZONES else [])


def _parse_moment(text: str) -> dt.datetime | None:
    """Read a time of any ISO form; one without a zone is taken for UTC."""
    try:
        found = dt.datetime.fromisoformat(text.strip().upper())
        found = found.replace(tzinfo=found.tzinfo or dt.UTC).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
    return found if FIRST <= found < END else None


_AROUND: Final = r"[\s\p{Z}\p{Pi}\p{Pf}\"'`´′″‵‶‚„＂＇]+"
_EDGES: Final = regex.compile(rf"^{_AROUND}|{_AROUND}$")
_LONGEST_SUBJECT: Final = 512
"""Twice what an event's subject may have; marks without number are ordered in quadratic time."""


def fold(subject: str) -> str:
    """Return a subject id without case, Unicode form, and quotes and white space around it.

    What cannot be seen is taken out; a subject of nothing else stays as it is.
    """
    bare = _EDGES.sub("", UNSEEN.sub("", subject.strip()[:_LONGEST_SUBJECT]))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", bare).casefold())
    return _EDGES.sub("", UNSEEN.sub("", folded)) or subject[:_LONGEST_SUBJECT]


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        for encoding in (json.detect_encoding(value), "utf-8-sig"):
            with suppress(UnicodeDecodeError):
                return value.decode(encoding)
        return value.decode("latin-1")
    if isinstance(value, str):
        return _whole_text(value)
    return str(value) if isinstance(value, int | float) else None


def _whole_text(text: str) -> str:
    """Return a text that UTF-8 can write: JSON may escape half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
