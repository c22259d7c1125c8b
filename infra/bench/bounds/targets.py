"""The stages that a search attacks: what a benign record is there, and what hostile ones are of."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import pyarrow as pa

from infra.bench.bounds import media
from infra.bench.bounds.patterns import Pattern, Pieces
from infra.bench.bounds.records import Headers, records, structured
from pipelines.config import POLICIES
from pipelines.govern.ledger import LedgerReader
from schemas.arkit import BLENDSHAPES
from schemas.stages import MAIN
from tests.support.records import IDS, PSEUDONYMS
from transforms.decode import decode_batch
from transforms.gate import Gate
from transforms.gating.consent import Consents
from transforms.gating.policy import read_policy
from transforms.scrub import scrub
from transforms.validate import validate_batch

MOST_TEXT: Final = 4_000
"""Characters of the longest text that validation lets through to the scrubber."""
_LINE: Final = b"I scored 1200 points, mail jo@example.com or call 415-555-2671 now! "


@dataclass(frozen=True, slots=True)
class Target:
    """A stage and a kind of record.

    ``benign`` returns an ordinary record's payload of some size, ``prepare`` makes what the stage
    gets of payloads, and ``run`` is the stage. ``sizes`` are those of records, in bytes, and how
    many of them are one batch; of a ``single`` one memory is measured alone, too.
    """

    benign: Callable[[int], bytes]
    prepare: Callable[[Sequence[bytes]], Any]
    run: Callable[[Any], Any]
    alphabet: Pieces
    seeds: tuple[Pattern, ...]
    sizes: tuple[tuple[int, int], ...] = ((1_000, 16), (60_000, 2))
    single: bool = False


def _decode(raw: pa.RecordBatch) -> list[Any]:
    return list(decode_batch(raw, IDS))


def _events(raw: pa.RecordBatch) -> pa.RecordBatch:
    """Return the events among records of one kind, without those that cannot be read."""
    found = [out for tag, out in _decode(raw) if tag == MAIN]
    return max(found, key=lambda batch: batch.num_rows)


def _read_governance(raw: pa.RecordBatch) -> list[pa.RecordBatch]:
    purposes = read_policy(POLICIES / "gate.yaml").purposes
    reader = LedgerReader(PSEUDONYMS, IDS, purposes)
    return reader.rows([raw])


def _padded(payload: Mapping[str, Any]) -> Callable[[int], bytes]:
    """Return what makes a payload as long as it is asked for, by a field that nobody reads."""

    def make(size: int) -> bytes:
        bare = json.dumps(payload).encode()[:-1]
        room = max(0, size - len(bare) - 12)
        return b'%s, "note": "%s"}' % (bare, (_LINE * (room // len(_LINE) + 1))[:room])

    return make


_JSON: Final = tuple(
    piece.encode()
    for piece in (
        *('"#"', '"#":0', '"k#":', ",", ":", "{", "}", "[", "]", "{}", "[]", '""', "0", "-1", " "),
        *("1e999", "1" * 60, "0." + "7" * 60, "1e-400", "true", "null", "\\u0041", "\\ud800", "#"),
        *('"id":"#"', '"data":{}', '"data":', '"subject":"s#"', '"text":"#"', '"lang":"en"'),
        *('"granted":true', '"granted":false', '"purposes":["#"]', '"modalities":["text"]', "é"),
        *('"weights":{}', '"jawOpen":0.1', '"a#":true', '"f#":"c#"', "\n", '"time":"#"', "\\"),
    )
)


def _object(*unit: str, head: str = "{", tail: str = '"z":0}') -> Pattern:
    return Pattern((*(piece.encode() for piece in unit),), (head.encode(),), (tail.encode(),))


_OBJECTS: Final = (
    _object("[", head='{"a":', tail=""),
    _object('{"a":', head="", tail="1"),
    _object("[],", head='{"a":[', tail="0]}"),
    _object("{},", head='{"a":[', tail="0]}"),
    _object('{"":0},', head='{"a":[', tail="0]}"),
    _object('"k#":0,'),
    _object('"k#":"c#",'),
    _object('"f#":true,'),
    _object('"":0,'),
    _object('"id":"#",'),
    _object('"granted":false,'),
    _object('"purposes":["#"],'),
    _object('"subject":"s#",', head='{"granted":false,'),
    _object('"p#",', head='{"granted":false,"modalities":["*"],"purposes":[', tail='"p"]}'),
    _object('"n#",', head='{"granted":true,"modalities":["*"],"purposes":[', tail='"p"]}'),
    _object('"a#":0,', head='{"weights":{', tail='"jawOpen":1}}'),
    _object("7", head='{"text":', tail="}"),
    _object("7", head='{"weights":{"jawOpen":', tail="}}"),
    _object("\\ud800", head='{"text":"', tail='"}'),
    _object("\\u0041", head='{"text":"', tail='"}'),
    _object(" ", head='{"text"', tail=':"a"}'),
)


def _json(
    kind: str,
    payload: Mapping[str, Any],
    run: Callable[[Any], Any],
    make: Callable[[str, Sequence[bytes]], pa.RecordBatch] = records,
) -> Target:
    return Target(_padded(payload), partial(make, kind), run, _JSON, _OBJECTS)


def _headers(payloads: Sequence[bytes], kind: str) -> pa.RecordBatch:
    """Return records whose headers, beside the ordinary ones, are lines ``name=value``."""
    more: list[Headers] = []
    for payload in payloads:
        lines = [line.partition(b"=") for line in payload.split(b"\n") if line]
        more.append([(name.decode("utf-8", "ignore"), value) for name, _, value in lines])
    value = {"text": b'{"text": "hi"}', "consent": b'{"granted": false}'}[kind]
    return records(kind, [value] * len(payloads), more)


def _header_target(kind: str, run: Callable[[Any], Any]) -> Target:
    return Target(_one_header, partial(_headers, kind=kind), run, _HEADER_PIECES, _MANY_HEADERS)


def _one_header(size: int) -> bytes:
    return b"trace=" + (_LINE * (size // len(_LINE) + 1))[: size - 6]


_CASE: Final = b"avatar_mirroring|social|US|arena-1|notice-1"
_HEADER_PIECES: Final = tuple(
    piece.encode()
    for piece in ("x#=\n", "ce_id=#\n", "ce_subject=s#\n", "ce_", "-", ".", "_", "id", "subject",
                  "CE", "ß", "é", "=", "\n", "a", "content-type=x\n", "ce.i.d#=\n", "#")
)  # fmt: skip
_MANY_HEADERS: Final = tuple(
    Pattern((unit.encode(),))
    for unit in ("x#=\n", "é#=\n", "ce_#=\n", "ce_subject=s#\n", "c-#e_id=#\n", "-#=\n", "=\n")
)


def _codes(payloads: Sequence[bytes]) -> pa.RecordBatch:
    return _events(records("context", payloads))


_CONTEXT: Final = {"activity": "duel", "game_result": "won", "lesson_state": "started"}
_CODE_PIECES: Final = tuple(
    piece.encode()
    for piece in ('"f#":"', '",', "#", "a", "_at_", "_dot_", ".", "-", "_", "1", "20260901", "com",
                  "YWxpY2U", "616c", '"activity":"', '"game_result":"', '"lesson_state":"')
)  # fmt: skip


def _cases(payloads: Sequence[bytes]) -> pa.RecordBatch:
    """Return pseudonymous events whose purpose, region, scenario and scene are of the payload."""
    parts = [payload.decode("utf-8", "ignore").split("|") for payload in payloads]
    raw = records("text", [b'{"text": "hi"}'] * len(parts))
    events = _events(raw)
    for place, (name, longest) in enumerate(
        (("purpose", 64), ("scenario", 64), ("region", 16), ("scene_id", 128), ("notice_id", 128))
    ):
        values = [each[place][-longest:] if place < len(each) else None for each in parts]
        at = events.schema.get_field_index(name)
        events = events.set_column(at, events.schema.field(name), pa.array(values, pa.string()))
    return PSEUDONYMS.batch(events)


def _attributes(payloads: Sequence[bytes]) -> pa.RecordBatch:
    """Return events whose attributes are all the payload."""
    events = _events(records("text", [b'{"text": "hi"}'] * len(payloads)))
    values = pa.array([payload.decode("utf-8", "ignore") for payload in payloads], pa.string())
    for name in ("subject", "session_id", "scenario", "purpose", "region", "scene_id", "notice_id"):
        at = events.schema.get_field_index(name)
        events = events.set_column(at, events.schema.field(name), values)
    return events


def _texts(payloads: Sequence[bytes]) -> pa.Array:
    return pa.array([payload.decode("utf-8", "ignore")[:MOST_TEXT] for payload in payloads])


_LOOKED_FOR: Final = tuple(
    piece.encode()
    for piece in (
        *("13812345678", "1234567", "2025550123", "020", "1", "0", "#", "+", "(", ")", "-", "."),
        *("/", "@", "a", "b.com", "www.", "://", "微信", "QQ", "call ", "DE89", "AB12", "：", " "),
        *("号", "[at]", "（", "１", "．", "＠", "\u200b", "\u0301", "é", "x", "_", "wechat:", "id"),
        *("xn--", "http://", "2026-09-01", "4111 1111 1111 1111", "A1234567", "\ufdfa", "①"),
        *("℀", "ﬃ", "ssn ", "<phone>"),
    )
)  # fmt: skip
_TEXTS: Final = tuple(
    Pattern((unit.encode(),), (head.encode(),))
    for head, unit in (
        *(("13812345678 ", "1234567 "), ("", "13812345678."), ("", "13812345678,"), ("", "1-")),
        *(("", "2025550123x"), ("", "020 1234 9999 x "), ("", "AB12C"), ("", "a@b.com")),
        *(("@", "a-"), ("", "www."), ("", "wechat:"), ("", "ssn 1"), ("a", "\u0301")),
        *(("", "\u200b1"), ("", "1# 12000#"), ("", "a@b.c"), ("a@b.cc", ".c"), ("", "１＠")),
        ("", "\ufdfa"),
    )
)  # fmt: skip


def _text(size: int) -> bytes:
    return (_LINE * (size // len(_LINE) + 1))[:size]


def _gate_target() -> Target:
    pieces = (b"|", b"#", b"a", b"school", b"work", b"-", b"avatar_mirroring|", b"social|", b"US|")
    seeds = Pattern((b"p#|s#|R#|c#|n#|",)), Pattern((b"school#|",)), Pattern((b"a",), (b"#|",))
    judge = Gate(read_policy(POLICIES / "gate.yaml"), Consents())
    return Target(lambda _: _CASE, _cases, judge.batch, pieces, seeds, ((60, 256),))


def _code_target() -> Target:
    seeds = (
        _object('"f#":"c#",', head='{"activity":"a","f":"x",'),
        _object('"f#":"ab_at_c#",'),
        _object('"f#":"YWxpY2U#",'),
    )
    sizes = ((400, 32),)
    return Target(_padded(_CONTEXT), _codes, PSEUDONYMS.batch, _CODE_PIECES, seeds, sizes)


def _media_target(make: Callable[[], media.Format]) -> Target:
    found = make()
    return Target(found.benign, list, found.run, found.alphabet, found.seeds, ((60_000, 1),), True)


_SAID: Final = {"text": "good game", "lang": "en"}
_MOVED: Final = {"weights": dict.fromkeys(BLENDSHAPES, 0.25), "head": {"pitch": 0.1}}
_ASKED: Final = {"granted": False, "purposes": ["research"], "modalities": ["text"]}
_MAKERS: Final[Mapping[str, Callable[[], Target]]] = {
    "decode text": lambda: _json("text", _SAID, _decode),
    "decode structured": lambda: _json("text", _SAID, _decode, structured),
    "decode motion": lambda: _json("motion", _MOVED, _decode),
    "decode context": lambda: _json("context", _CONTEXT, _decode),
    "decode headers": lambda: _header_target("text", _decode),
    "read consents": lambda: _json("consent", _ASKED, _read_governance),
    "read consents structured": lambda: _json("consent", _ASKED, _read_governance, structured),
    "read consent headers": lambda: _header_target("consent", _read_governance),
    "validate": lambda: Target(
        _text, _attributes, partial(validate_batch, kind="text"), _LOOKED_FOR, _TEXTS
    ),
    "pseudonymise attributes": lambda: Target(
        _text, _attributes, PSEUDONYMS.batch, _LOOKED_FOR, _TEXTS
    ),
    "pseudonymise codes": _code_target,
    "gate": _gate_target,
    "scrub": lambda: Target(_text, _texts, scrub, _LOOKED_FOR, _TEXTS, ((300, 32), (MOST_TEXT, 2))),
    **{name: partial(_media_target, make) for name, make in media.FORMATS.items()},
}
NAMES: Final = tuple(_MAKERS)


@cache
def target_of(name: str) -> Target:
    """Return what is attacked under one of NAMES."""
    return _MAKERS[name]()
