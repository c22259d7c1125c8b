import datetime as dt
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import PAYLOADS, event_schema
from schemas.stages import DEAD, MAIN, kind_of
from tests.support.records import IDS, START, raw, record
from transforms.decode import decode_batch
from transforms.decoding.messages.wrappings import unwrap

PAYLOAD = {
    "text": {"text": "well played", "lang": "en"},
    "voice": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "face": b"\xff\xd8\xff\xe0rest of a jpeg",
    "motion": {"weights": {"jawOpen": 0.5, "mouthSmileLeft": 1}, "head": {"yaw": -0.2}},
    "context": {"scene": "arena", "game_result": "won"},
    "consent": {"granted": True, "purposes": ["safety"], "modalities": ["text", "voice"]},
    "erasure": {"reason": "left"},
}


def decode(*rows: dict) -> tuple[dict[str, list[dict]], list[dict]]:
    events: dict[str, list[dict]] = {}
    dead: list[dict] = []
    for tag, batch in decode_batch(raw(*rows), IDS):
        if tag == DEAD:
            dead += batch.to_pylist()
        elif batch.num_rows:
            assert tag == MAIN
            assert batch.schema == event_schema(kind_of(batch))
            events.setdefault(kind_of(batch), []).extend(batch.to_pylist())
    return events, dead


@pytest.mark.parametrize("kind", PAYLOAD)
def test_both_modes_give_the_same_event(kind: str) -> None:
    binary, dead_b = decode(record(kind, 1, PAYLOAD[kind]))
    structured, dead_s = decode(record(kind, 1, PAYLOAD[kind], structured=True))
    assert not dead_b
    assert not dead_s
    assert binary == structured
    (event,) = binary[kind]
    assert event["subject"] == "alice"
    if kind != "erasure":
        assert event["session_id"] == "session-1"
        assert event["age_band"] == "adult"
    assert event["event_time"].isoformat() == "2026-09-01T10:00:01+00:00"
    assert set(dict(PAYLOADS[kind])) <= set(event)


def test_payload_columns() -> None:
    events, _ = decode(*(record(kind, n, PAYLOAD[kind]) for n, kind in enumerate(PAYLOAD)))
    motion = events["motion"][0]
    assert motion["weights_given"] == 2
    assert motion["weight_max"] == 1
    assert motion["pose_max"] == pytest.approx(0.2)
    assert sum(motion["weights"]) == pytest.approx(1.3)
    assert events["voice"][0]["media_format"] == "wav"
    assert events["face"][0]["media_format"] == "jpeg"
    assert events["consent"][0]["modalities_given"] == 2


BAD = {
    "bad_json": record("text", 10, b'{"text": "half'),
    "wrong_type": record("text", 11, {"text": 42}),
    "null_value": record("text", 12, {}) | {"value": None},
    "unknown_event_type": record("text", 13, {"text": "x"}, type="session.smell.v1"),
    "unknown_topic": record("text", 14, {"text": "x"}) | {"topic": "session.smell"},
    "bad_time": record("text", 15, {"text": "x"}, time="yesterday"),
    "bad_headers": record("text", 16, {"text": "x"}, id=None),
}


def test_structured_mode_tells_its_problems_apart() -> None:
    whole = record("text", 4, {"text": "x"}, structured=True)
    cut = whole | {"value": whole["value"][:-9], "offset": 5}
    other = record("text", 6, {"text": "x"}, structured=True, type="session.smell.v1")
    letters = {
        letter["offset"]: letter
        for letter in decode(record("text", 3, {"text": 42}, structured=True), cut, other)[1]
    }
    assert {n: letter["code"] for n, letter in letters.items()} == {
        3: "wrong_type",
        5: "bad_json",
        6: "unknown_event_type",
    }
    assert letters[3]["event_id"], "the attributes were sound"
    assert letters[5]["event_id"] is None


@pytest.mark.parametrize("code", BAD)
def test_a_bad_record_is_a_dead_letter_and_its_neighbours_go_on(code: str) -> None:
    good = [record("text", n, {"text": f"line {n}", "lang": "en"}) for n in range(8)]
    events, dead = decode(*good[:4], BAD[code], *good[4:])
    assert [event["text"] for event in events["text"]] == [f"line {n}" for n in range(8)]
    (letter,) = dead
    assert (letter["code"], letter["stage"]) == (code, "DecodeEvents")
    assert letter["offset"] == BAD[code]["offset"]
    assert letter["event_date"].isoformat() == "2026-09-01"
    assert "half" not in json.dumps(letter, default=str)


def test_another_record_at_the_same_place_is_another_dead_letter() -> None:
    """A topic that was made anew, or another log, counts its offsets from 0 again."""
    first = record("text", 1, b"{")
    others = [first, record("text", 1, b"{", id="another"), first | {"headers": []}]
    ids = [letter["dead_letter_id"] for row in others for letter in decode(row)[1]]
    assert len(set(ids)) == 3
    # The source tells no time later than its own: a time may be another when it reads again.
    again = [row | {"timestamp": START + dt.timedelta(days=1)} for row in others]
    assert [letter["dead_letter_id"] for row in again for letter in decode(row)[1]] == ids


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'{"text": NaN}', "bad_json"),
        (b"[1]", "bad_json"),
        (b'{"text": "a\nb"}', "bad_json"),
        (b"null", "null_value"),
        (b"", "null_value"),
        (b'{"text": "\xff\xfe"}', "bad_json"),
        (b'{"text": "a"}}{"z": 1', "bad_json"),
        (b'{"text": "a", "x":', "bad_json"),
        (b'}, "v": {"text": "b"}', "bad_json"),
    ],
)
def test_hostile_payloads_harm_only_themselves(payload: bytes, code: str) -> None:
    rows = [record("text", n, {"text": f"line {n}"}) for n in range(5)]
    events, dead = decode(rows[0], rows[1], record("text", 9, payload), *rows[2:])
    assert [event["text"] for event in events["text"]] == [f"line {n}" for n in range(5)]
    assert [letter["code"] for letter in dead] == [code]


_TIMES = {
    "2026-09-01T10:00:01Z": 0,
    "2026-09-01t10:00:01.5z": 500_000,
    "2026-09-01 10:00:01.123456789+00:00": 123_456,
    "2026-09-01T12:00:01+02:00": 0,
}
_NO_TIMES = (
    "2026-09-01T10:00:01+0000", "2026-09-01T10:00:01+00", "2026-09-01T10Z", "2026-09-01T10:00:01",
    "2026-09-01T10:00:01+19:00", "2026-09-31T10:00:01Z", "2026-09-01T25:00:00Z",
    "2026-09-01T10:00:01.1234567890Z", "2026-09-01", "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-18:00",
)  # fmt: skip


@pytest.mark.parametrize("beside", [[], ["yesterday"], _NO_TIMES])
def test_a_time_is_taken_or_refused_whatever_stands_beside_it(beside: list[str]) -> None:
    """As the source in Java reads them: what it could not read would never be late."""
    times = [*_TIMES, *beside]
    rows = [record("text", n, {"text": "x"}, time=time) for n, time in enumerate(times)]
    events, dead = decode(*(row | {"offset": n} for n, row in enumerate(rows)))
    found = [event["event_time"] for event in events["text"]]
    assert [time.microsecond for time in found] == list(_TIMES.values())
    assert {time.replace(microsecond=0).isoformat() for time in found} == {
        "2026-09-01T10:00:01+00:00"
    }
    assert {(letter["offset"], letter["code"]) for letter in dead} == {
        (n, "bad_time") for n in range(len(_TIMES), len(times))
    }


def test_nan_in_motion_is_no_number() -> None:
    _, dead = decode(
        record("motion", 1, b'{"weights": {"jawOpen": NaN}}'),
        record("motion", 2, b'{"weights": {"jawOpen": 1e99}}'),
        record("motion", 3, b'{"weights": {"jawOpen": "0.5"}}'),
    )
    assert [letter["code"] for letter in dead] == ["bad_json", "wrong_type", "wrong_type"]


def test_hostile_headers() -> None:
    odd = record("text", 1, {"text": "x"})
    odd["headers"] = [
        *odd["headers"],
        {"key": "ce_id", "value": b"second"},
        {"key": "", "value": None},
    ]
    broken = record("text", 2, {"text": "x"})
    broken["headers"] = [
        h | {"value": b"\xff\xfe"} if h["key"] == "ce_scenario" else h for h in broken["headers"]
    ]
    bare = record("text", 3, {"text": "x"}) | {"headers": []}
    none = record("text", 4, {"text": "x"}) | {"headers": None}
    events, dead = decode(odd, record("text", 1, {"text": "x"}), broken, bare, none)
    assert len(events["text"]) == 1
    assert Counter(letter["code"] for letter in dead) == {"bad_headers": 4}
    assert dead[0]["event_id"] is None, "it gave two"


@given(
    st.lists(
        st.one_of(
            st.builds(lambda t: json.dumps({"text": t}).encode(), st.text(max_size=20)),
            st.binary(max_size=12).filter(lambda value: unwrap(value) == value),
            st.sampled_from([b'{"text":', b"}", b'{"text":"a"}{"text":"b"}', b'{"v":{}}', b"{}"]),
        ),
        max_size=24,
    )
)
def test_payloads_parse_as_the_standard_library_does(payloads: list[bytes]) -> None:
    events, dead = decode(*(record("text", n, payload) for n, payload in enumerate(payloads)))
    expected = [_text_of(payload) for payload in payloads]
    assert [event["text"] for event in events.get("text", [])] == [
        text for text, code in expected if code is None
    ]
    assert [letter["code"] for letter in dead] == [code for _, code in expected if code]


def _text_of(payload: bytes) -> tuple[str | None, str | None]:
    def refuse(name: str) -> None:
        raise ValueError(name)  # NaN and Infinity are no JSON

    if payload in (b"", b"null"):
        return None, "null_value"
    if payload == b'{"text":"a"}{"text":"b"}':
        return None, "batched_events"
    try:
        found = json.loads(payload.decode(), parse_constant=refuse)
    except ValueError:
        return None, "bad_json"
    if not isinstance(found, dict):
        return None, "bad_json"
    return found.get("text"), None


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("kind", ["voice", "face"])
def test_media_may_be_named_instead_of_sent(kind: str, structured: bool) -> None:
    place = "https://media.example/clips/7"
    named = record(kind, 1, PAYLOAD[kind], structured=structured, dataref=place)
    if structured:
        envelope = json.loads(named["value"])
        del envelope["data_base64"]
        named["value"] = json.dumps(envelope).encode()
        variants = [named]
    else:
        variants = [named | {"value": None}, named | {"value": b"", "offset": 2}]
    events, dead = decode(*variants)
    assert not dead
    for event in events[kind]:
        assert event["media_ref"] == place
        assert {event[name] for name in ("media", "media_format", "media_bytes")} == {None}


def test_what_is_sent_is_not_fetched_and_text_is_never_named() -> None:
    both = record("voice", 1, PAYLOAD["voice"], dataref="https://media.example/clips/7")
    text = record("text", 2, {}, dataref="https://media.example/texts/7") | {"value": None}
    events, dead = decode(both, text, record("voice", 3, b"") | {"value": None})
    assert events["voice"][0]["media"] == PAYLOAD["voice"]
    assert [letter["code"] for letter in dead] == ["null_value", "null_value"]


JUDGED = ("id", "source", "type", "subject", "time", "sessionid", "scenario", "purpose", "region",
          "ageband", "noticeid")  # fmt: skip


def told_again(row: dict, key: str, value: bytes | None, *, first: bool) -> dict:
    more = {"key": key, "value": value}
    headers = [more, *row["headers"]] if first else [*row["headers"], more]
    return row | {"headers": headers}


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", JUDGED)
def test_an_attribute_that_is_sent_twice_is_one_if_it_is_the_same(name: str, first: bool) -> None:
    rows = [record("text", n, {"text": f"line {n}"}) for n in range(6)]
    own = [{h["key"]: h["value"] for h in row["headers"]}[f"ce_{name}"] for row in rows]
    other = b"child" if name == "ageband" else own[5]
    changed = [
        told_again(rows[0], f"ce_{name}", own[0], first=first),
        told_again(rows[1], f"ce_{name}", other + b"x", first=first),
        told_again(rows[2], f"ce_{name}", None, first=first),
        told_again(rows[3], f"CE-{name.title()}", other + b"x", first=first),
        rows[4],
    ]
    events, dead = decode(*changed)
    assert [event["text"] for event in events["text"]] == ["line 0", "line 4"]
    assert [letter["code"] for letter in dead] == ["bad_headers"] * 3
    only, dead = decode(changed[1], changed[1] | {"offset": 9})
    assert not only
    assert [letter["code"] for letter in dead] == ["bad_headers"] * 2


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    "other", [b"application/json", b"application/cloudevents+json; charset=x", None]
)
def test_an_event_of_two_modes_is_of_none(
    structured: bool, first: bool, other: bytes | None
) -> None:
    row = record("text", 1, {"text": "x"}, structured=structured)
    if not structured:
        row = told_again(row, "content-type", b"text/plain", first=False)
    events, dead = decode(told_again(row, "content-type", other, first=first))
    assert not events
    assert [letter["code"] for letter in dead] == ["bad_headers"]


def with_member(number: int, member: str, *, kind: str = "text", before: bool = False) -> dict:
    """A structured record whose JSON has one more member."""
    row = record(kind, number, PAYLOAD[kind], structured=True)
    text = row["value"].decode()
    more = "{" + member + ", " + text[1:] if before else text[:-1] + ", " + member + "}"
    return row | {"value": more.encode()}


DENIED = [
    '"ageband": "child"',
    '"ageband" \t: "child"',
    '"age\\u0062and": "child"',
    '"\\u0061\\u0067\\u0065band": "child"',
    '"AgeBand": "child"',
    '"ageband": null',
    '"purpose": "research"',
    '"subject": "bob"',
    '"time": "2026-09-01T10:01:00Z"',
    '"id": "another"',
    '"data": {"text": "another"}',
    '"data": {"text": "well played", "lang": ["en"]}',
    '"ageband": "child", "x": ' + "[" * 100_000 + "]" * 100_000,
]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("member", DENIED, ids=lambda member: member[:30])
def test_an_envelope_that_says_two_things_is_not_read(member: str, before: bool) -> None:
    good = [record("text", n, PAYLOAD["text"], structured=True) for n in range(3)]
    events, dead = decode(good[0], with_member(9, member, before=before), *good[1:])
    assert len(events["text"]) == 3
    (letter,) = dead
    if "[[" not in member:
        assert letter["code"] == "bad_headers"
        assert (letter["offset"], letter["event_id"], letter["event_time"]) == (9, None, None)


@pytest.mark.parametrize(
    "member",
    [
        '"ageband": "adult"',
        '"ageband": "\\u0061dult"',
        '"data": {"text": "well played", "lang": "\\u0065n"}',
        '"note": {"ageband": "child", "subject": "bob", "data": 1}',
        '"note": [{"ageband": "child"}, {"ageband": "teen"}]',
        r'"note": "\"ageband\": \"child\", \"ageband\": \"teen\""',
        '"note": "\\u0022ageband\\u0022: 1"',
        '"agebands": "child", "band": 2, "": 3, "": 4',
    ],
    ids=lambda member: member[:30],
)
def test_what_says_one_thing_is_read_however_it_is_written(member: str) -> None:
    rows = [with_member(n, member, before=before) for n, before in enumerate((False, True))]
    events, dead = decode(*rows)
    assert not dead
    assert [event["age_band"] for event in events["text"]] == ["adult"] * 2


@pytest.mark.parametrize("kind", ["voice", "face", "context", "motion"])
def test_other_kinds_are_not_read_either(kind: str) -> None:
    rows = [with_member(1, '"ageband": "child"', kind=kind), with_member(2, '"x": 1', kind=kind)]
    events, dead = decode(*rows)
    assert len(events[kind]) == 1
    assert [(letter["offset"], letter["code"]) for letter in dead] == [(1, "bad_headers")]


def test_headers_may_repeat_an_envelope_but_not_deny_it() -> None:
    rows = [record("text", n, PAYLOAD["text"], structured=True) for n in range(5)]
    changed = [
        told_again(rows[0], "ce_ageband", b"adult", first=True),
        told_again(rows[1], "ce_ageband", b"child", first=True),
        told_again(rows[2], "ce_subject", b"bob", first=False),
        told_again(rows[3], "ce_time", b"2026-09-01T12:00:03.000+02:00", first=False),
        told_again(told_again(rows[4], "ce_id", b"1", first=True), "ce_id", b"2", first=True),
    ]
    events, dead = decode(*changed)
    assert len(events["text"]) == 2
    assert {letter["offset"]: letter["code"] for letter in dead} == dict.fromkeys(
        (1, 2, 4), "bad_headers"
    )


def test_a_structured_event_without_any_value_is_a_dead_letter() -> None:
    """Its header names media, so it is looked at; but it has no envelope to be read."""
    row = record("voice", 1, PAYLOAD["voice"], structured=True) | {"value": None}
    row = told_again(row, "ce_dataref", b"https://media.example/clips/7", first=False)
    events, dead = decode(row, record("voice", 2, PAYLOAD["voice"], structured=True))
    assert len(events["voice"]) == 1
    assert [(letter["offset"], letter["code"]) for letter in dead] == [(1, "null_value")]
