"""DecodeEvents: Kafka records → EVENT batches of one kind each, both CloudEvents modes."""

import datetime as dt
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zlib import crc32

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import take_rows
from schemas.attributes import ATTRIBUTES, COLUMN_OF
from schemas.dead_letters import dead_letters
from schemas.errors import Code, DeadLetterCode
from schemas.events import (
    EVENT_TYPES,
    GOVERNANCE_KINDS,
    MEDIA_KINDS,
    TIME,
    TOPICS,
    event_schema,
    record_times,
)
from schemas.stages import DEAD, MAIN, Stage, Tagged, kind_of
from transforms.decoding.aliases import canonical
from transforms.decoding.details import Explained, details_of
from transforms.decoding.event_ids import EventIds, masked
from transforms.decoding.followed_keys import FollowedKeys
from transforms.decoding.headers import explain_headers, read_headers
from transforms.decoding.messages.delays import measure_delays, sieve_behind
from transforms.decoding.messages.encodings import name_encoding
from transforms.decoding.messages.kinds import explain_unreadable
from transforms.decoding.messages.modes import Modes, read_modes
from transforms.decoding.messages.times import explain_time, find_ahead, of_set_clocks, read_times
from transforms.decoding.messages.versions import find_other_schemas, find_other_specs
from transforms.decoding.payloads import Columns, decode_payload, decode_structured
from transforms.decoding.signatures import Signed, Signers, read_signers
from transforms.gating.governance import sort_governance
from transforms.stage import Outputs, run_stage

_NO_UNITS: Mapping[str, str] = MappingProxyType({})
_DAY: Final = dt.timedelta(days=1)
_RELEASED: Final = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
"""A machine whose clock stands before this version still replays the logs that came with it."""
_READ = (*ATTRIBUTES, "specversion")
_HEADERS = ("content-type", *map("ce_{}".format, _READ))
_ALIASED = tuple(name for name, each in ATTRIBUTES.items() if each.aliases)
_RECORD_TIME: Final = "the record's own Kafka time is outside the years 1000 to 8999"
_FACTORS = {
    name: np.uint32(pow(31, each.checksum_power, 2**32))
    for name, each in ATTRIBUTES.items()
    if each.checksum_power is not None
}
"""Attribute → its factor in the content checksum."""


class DecodeEvents(beam.PTransform):
    """RAW batches → EVENT batches of one kind each, and dead letters.

    ``keys`` is the key file: an event has its row id, which is keyed, from here on. ``signers`` is
    the file of the keys that governance records are signed with; without it nobody has to sign.
    ``units`` is the unit of motion by source, where events do not say it, and ``behind_s`` how many
    seconds an event's time may lie behind its record's, 0 for any.
    """

    def __init__(
        self, *, keys: Path, signers: Path | None = None, units: Mapping[str, str] = _NO_UNITS,
        behind_s: float = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self._keys, self._signers = keys, signers
        self._units, self._behind_s = dict(units), behind_s

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        make = functools.partial(_load, self._keys, self._signers, self._units, self._behind_s)
        return run_stage(pcoll, Stage.DECODE, make)


def _load(
    keys: Path, signers: Path | None, units: Mapping[str, str], behind_s: float
) -> Callable[[pa.RecordBatch], Tagged]:
    ids, known = FollowedKeys(keys, EventIds), read_signers(signers) if signers else None

    def decode(batch: pa.RecordBatch) -> Tagged:
        decoded = decode_batch(batch, ids.newest(), known, units)
        return sieve_behind(without_future(decoded, dt.datetime.now(dt.UTC)), behind_s)

    return decode


class _Attributes(NamedTuple):
    """What the headers of some records tell: a column for each name, and each row's problem."""

    columns: Columns
    problems: np.ndarray

    @property
    def attributes(self) -> Columns:
        return {name: self.columns[f"ce_{name}"] for name in _READ}

    def of(self, rows: np.ndarray) -> "_Attributes":
        """Return what those of the rows tell in which this mask is true."""
        if rows.all():
            return self
        mask = pa.array(rows)
        columns = {name: column.filter(mask) for name, column in self.columns.items()}
        return _Attributes(columns, self.problems[rows])


def _read_attributes(headers: pa.Array) -> _Attributes:
    columns, broken = read_headers(headers, _HEADERS)
    problems = np.full(len(headers), None, object)
    for row in np.flatnonzero(broken):
        pairs = [(each["key"], each["value"]) for each in headers[row].as_py()]
        problems[row] = Explained(DeadLetterCode.BAD_HEADERS, explain_headers(pairs))
    return _Attributes(columns, problems)


def decode_batch(
    raw: pa.RecordBatch,
    ids: EventIds,
    signers: Signers | None = None,
    units: Mapping[str, str] = _NO_UNITS,
) -> Tagged:
    """Decode one RAW batch into a few EVENT batches a kind, and its dead letters."""
    topics = raw["topic"].dictionary_encode()
    codes = topics.indices.to_numpy(zero_copy_only=False)
    told = _read_attributes(raw["headers"])
    plain = raw.drop_columns(["headers", "key"])  # to copy headers costs as much as to read them
    for code, topic in enumerate(topics.dictionary.to_pylist()):
        mine = codes == code
        if topic not in TOPICS:
            rows = take_rows(plain, mine)
            hidden = pa.repeat(ids.pseudonym("topic", topic or ""), rows.num_rows)
            rows = rows.set_column(rows.schema.get_field_index("topic"), "topic", hidden)
            yield DEAD, _dead(rows, _all(rows, DeadLetterCode.UNKNOWN_TOPIC))
        elif TOPICS[topic] in GOVERNANCE_KINDS:
            rows = take_rows(raw, mine)
            yield from _decode_governance(TOPICS[topic], rows, told.of(mine), ids, signers)
        else:
            rows = take_rows(plain, mine)
            yield from _decode_kind(TOPICS[topic], rows, told.of(mine), ids, units)


def read_sources(kind: str, raw: pa.RecordBatch) -> Iterator[tuple[str | None, bytes]]:
    """Yield the source and the JSON data of RAW rows, as decoding reads them, in no fixed order."""
    told = _Attributes(*read_headers(raw["headers"], _HEADERS))
    modes = read_modes(kind, raw["value"].fill_null(b""), told.columns)
    for mode, structured in _masks(modes):
        values, beside = modes.values.filter(pa.array(mode)), told.of(mode).attributes
        data, sources = values.to_pylist(), beside["source"]
        if structured:
            data, attributes, _, _ = decode_structured(kind, values, beside)
            sources = attributes["source"]
        yield from zip(sources.to_pylist(), data, strict=True)


def _decode_governance(
    kind: str, raw: pa.RecordBatch, told: _Attributes, ids: EventIds, signers: Signers | None
) -> Tagged:
    """Read grants as strictly as all events, and whatever may be a prohibition as it is."""
    raw = _with_values(raw, read_modes(kind, raw["value"], told.columns).values)
    signed, problems = None, np.full(raw.num_rows, None, object)
    if signers is not None:
        signed, problems = _check_signatures(kind, raw, told, signers)
    found = sort_governance(kind, raw, ids, signed)
    refused = found.grants & (problems != None)  # noqa: E711  element-wise
    problems[found.ambiguous] = DeadLetterCode.BAD_JSON
    problems[found.unclear] = DeadLetterCode.CONSENT_UNCLEAR
    for row in np.flatnonzero(found.unreadable):
        problems[row] = explain_unreadable(raw["value"][row].as_py())
    problems[found.unsigned] = DeadLetterCode.PROHIBITION_UNSIGNED
    dead = refused | found.ambiguous | found.unreadable | found.unclear | found.unsigned
    if dead.any():
        yield DEAD, _dead(take_rows(raw, dead), problems[dead])
    yield from ((MAIN, batch) for batch in found.prohibitions if batch.num_rows)
    grants = found.grants & ~refused
    if grants.any():
        decoded = _decode_kind(kind, take_rows(raw, grants), told.of(grants), ids)
        for tag, batch in decoded:
            yield tag, _said_as_signed(batch) if tag == MAIN and signers else batch


def without_future(decoded: Tagged, now: dt.datetime) -> Tagged:
    """Make dead letters of session events of a day that has not begun yet, whatever their record.

    A broker may bound the times of records (message.timestamp.after.max.ms), and in a log nothing
    does. The letter has no time, so that it is of no day to come either.
    """
    latest = pa.scalar(max(now, _RELEASED) + _DAY, TIME)
    for tag, events in decoded:
        if tag != MAIN or kind_of(events) in GOVERNANCE_KINDS:
            yield tag, events
            continue
        late = pc.fill_null(pc.greater(events["event_time"], latest), False)
        ahead = late.to_numpy(zero_copy_only=False)
        if not ahead.any():
            yield tag, events
            continue
        yield tag, take_rows(events, ~ahead)
        rows = take_rows(events.select(["topic", "partition", "offset", "event_id"]), ahead)
        yield DEAD, _dead(rows, _all(rows, DeadLetterCode.CLOCK_AHEAD))


def _check_signatures(
    kind: str, raw: pa.RecordBatch, told: _Attributes, signers: Signers
) -> tuple[list[Signed | None], np.ndarray]:
    """Return what each record's signature covers, None where none holds, and then why."""
    signed: list[Signed | None] = [None] * raw.num_rows
    problems = np.full(raw.num_rows, None, object)
    modes = read_modes(kind, raw["value"], told.columns)
    for mode, structured in _masks(modes):
        values, beside = raw["value"].filter(pa.array(mode)).fill_null(b""), told.of(mode)
        columns, data = beside.attributes, values.to_pylist()
        if structured:
            data, columns, _, unread = decode_structured(kind, values, columns)
            data = [
                b"" if problem == DeadLetterCode.NULL_VALUE else value
                for value, problem in zip(data, unread, strict=True)
            ]
        rows = pa.RecordBatch.from_pydict(columns).to_pylist()
        for place, attributes, value in zip(np.flatnonzero(mode), rows, data, strict=True):
            problems[place] = signers.check(attributes, value)
            if problems[place] is None:
                sent = {name: text for name, text in attributes.items() if text is not None}
                signed[place] = Signed(sent, value)
    return signed, problems


def _said_as_signed(grants: pa.RecordBatch) -> pa.RecordBatch:
    """Let a grant count as said at its signed time: sent again it is no later word."""
    place = grants.schema.get_field_index("recorded_at")
    times = (grants[name].cast(pa.int64()) for name in ("recorded_at", "event_time"))
    said = pc.min_element_wise(*times).cast(TIME)
    return grants.set_column(place, grants.schema.field(place), said)


def _with_values(raw: pa.RecordBatch, values: pa.Array) -> pa.RecordBatch:
    place = raw.schema.get_field_index("value")
    return raw.set_column(place, raw.schema.field(place), values)


def _masks(modes: Modes) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield a mask of the records in structured mode, and one of the others, but no empty one."""
    both = ((modes.structured, True), (~modes.structured, False))
    yield from (found for found in both if found[0].any())


def _decode_kind(
    kind: str,
    raw: pa.RecordBatch,
    told: _Attributes,
    ids: EventIds,
    units: Mapping[str, str] = _NO_UNITS,
) -> Tagged:
    modes = read_modes(kind, raw["value"], told.columns)
    raw = _with_values(raw, modes.values)
    for mode, structured in _masks(modes):
        rows, beside = take_rows(raw, mode), told.of(mode)
        if structured:
            read = decode_structured(kind, rows["value"], beside.attributes, units)
        else:
            data, payload, problems = decode_payload(
                kind, rows["value"], beside.attributes["source"], units
            )
            read = data, beside.attributes, payload, problems
        unread = modes.problems[mode]
        read[-1][unread != None] = unread[unread != None]  # noqa: E711  element-wise
        read[-1][beside.problems != None] = beside.problems[beside.problems != None]  # noqa: E711
        yield from _assemble(kind, rows, ids, *read)


def _assemble(
    kind: str, raw: pa.RecordBatch, ids: EventIds, data: Sequence[bytes | None],
    attributes: Columns, payload: Columns, problems: np.ndarray,
) -> Tagged:  # fmt: skip
    """Join attributes and payload to EVENT rows; a row with a problem becomes a dead letter.

    The problems of the attributes outrank those of the payload, since a record of an unknown type
    has a payload that nobody can judge; but where no attribute could be read at all (JSON that
    is none), that is the problem.
    """
    if kind in MEDIA_KINDS:
        payload = _without_references(payload, attributes["dataref"], problems)
    read = ~np.logical_and.reduce([_nulls(column) for column in attributes.values()])
    read |= problems == None  # noqa: E711  element-wise
    attributes |= {name: canonical(name, attributes[name]) for name in _ALIASED}
    times = read_times(attributes["time"])
    recorded, impossible = record_times(raw["timestamp"])
    recorded = of_set_clocks(recorded)
    impossible &= kind not in GOVERNANCE_KINDS
    measure_delays(attributes["source"], times, recorded, ids)
    known = pc.equal(attributes["type"], EVENT_TYPES[kind]).fill_null(False)
    absent = {name: ~_non_empty(attributes[name]) for name in ("source", "id")}
    named = ~(absent["source"] | absent["id"])
    keyless = ids.shredded(times, attributes["region"])
    keyless &= kind not in GOVERNANCE_KINDS  # a withdrawal of any time counts
    problems[read & keyless] = DeadLetterCode.KEY_SHREDDED
    for row in np.flatnonzero(read & (_nulls(times) | impossible)):
        words = (
            _RECORD_TIME if times[row].is_valid else explain_time(attributes["time"][row].as_py())
        )
        problems[row] = Explained(DeadLetterCode.BAD_TIME, words)
    problems[read & find_ahead(times, recorded)] = DeadLetterCode.CLOCK_AHEAD
    other = find_other_schemas(kind, attributes["dataschema"])
    problems[read & other] = DeadLetterCode.DATASCHEMA_UNKNOWN
    words = f"the CloudEvents `type` is not this topic's: write {EVENT_TYPES[kind]}"
    wanted = Explained(DeadLetterCode.UNKNOWN_EVENT_TYPE, words)
    problems[read & ~known.to_numpy(zero_copy_only=False)] = wanted
    other = find_other_specs(attributes["specversion"])
    for row in np.flatnonzero(read & other):
        problems[row] = _explain_version(attributes["specversion"][row].as_py())
    for name, rows in absent.items():
        problems[read & rows] = Explained(DeadLetterCode.BAD_HEADERS, f"`{name}` is missing")
    columns = {column: attributes[name] for name, column in COLUMN_OF.items()}
    columns |= {name: raw[name] for name in ("topic", "partition", "offset", "timestamp")}
    subject, source, given = (attributes[name] for name in ("subject", "source", "id"))
    made, bits = ids.of(kind, subject, source, given, times, attributes["region"])
    columns |= {"event_id": pc.if_else(pa.array(named & ~keyless), made, None)}
    columns |= {"event_time": times}
    columns |= {"content": masked(_checksums(data, attributes), bits)}
    columns |= {"recorded_at": recorded, **payload}
    bad = problems != None  # noqa: E711  element-wise
    schema = event_schema(kind)
    events = pa.record_batch([columns[name] for name in schema.names], schema=schema)
    yield MAIN, take_rows(events, ~bad)
    if bad.any():
        place = ("topic", "partition", "offset", "timestamp", "event_id", "event_time")
        rows = pa.record_batch({name: columns[name] for name in place})
        yield DEAD, _dead(take_rows(rows, bad), problems[bad])


def _explain_version(given: str) -> Code | Explained:
    encoding = name_encoding(given)
    if encoding is None:
        return DeadLetterCode.SPECVERSION_UNKNOWN
    words = f"`specversion` is 1.0 in {encoding}: send header values as plain UTF-8"
    return Explained(DeadLetterCode.SPECVERSION_UNKNOWN, words)


def _checksums(data: Sequence[Any], attributes: Columns) -> np.ndarray:
    """Return a checksum of each event's data, or of where its data are, and of its attributes.

    It is the CRC-32 of the data, begun with the sum of the attributes' CRC-32, each times its
    factor. An attribute that is absent adds 0.
    """
    begun = np.zeros(len(data), np.uint32)
    for name, factor in _FACTORS.items():
        coded = attributes[name].dictionary_encode(null_encoding="encode")
        known = [crc32((value or "").encode()) for value in coded.dictionary.to_pylist()]
        begun += factor * np.array(known, np.uint32)[coded.indices.to_numpy()]  # modulo 2^32
    if not all(data):  # media that are only named
        places = zip(data, attributes["dataref"].to_pylist(), strict=True)
        data = [value or (place or "").encode() for value, place in places]
    sums = [crc32(value, start) for value, start in zip(data, begun.tolist(), strict=True)]
    return np.array(sums, np.uint32)


def _without_references(payload: Columns, place: pa.Array, problems: np.ndarray) -> Columns:
    """Blank the payload of events that only name their media; to have no value is right then."""
    absent = pc.equal(pc.fill_null(payload["media_bytes"], 0), 0)
    named = pc.and_(place.is_valid(), absent)
    mask = named.to_numpy(zero_copy_only=False)
    problems[mask & (problems == DeadLetterCode.NULL_VALUE)] = None
    return {name: pc.if_else(named, None, column) for name, column in payload.items()}


def _non_empty(column: pa.Array) -> np.ndarray:
    """Return which strings hold more than nothing."""
    some = pc.greater(pc.binary_length(column), 0).fill_null(False)
    return some.to_numpy(zero_copy_only=False)


def _nulls(column: pa.Array) -> np.ndarray:
    return column.is_null().to_numpy(zero_copy_only=False)


def _all(rows: pa.RecordBatch, code: DeadLetterCode) -> np.ndarray:
    problems = np.full(rows.num_rows, None, object)
    problems[:] = code  # which np.full would make a plain string of
    return problems


def _dead(rows: pa.RecordBatch, problems: np.ndarray) -> pa.RecordBatch:
    codes = pa.array([str(code) for code in problems], pa.string())
    return dead_letters(rows, stage=Stage.DECODE, code=codes, detail=details_of(problems))
