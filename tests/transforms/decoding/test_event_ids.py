"""Row ids of events: bound to subject, kind and time, and never made of a separator."""

import re

import pytest

from schemas.keys import Keys, ShreddedPeriod, fingerprint
from tests.support.records import IDS, KEYS, decoded, period, raw, record
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds


def text(number: int = 1, said: str = "x", **changes: str) -> dict:
    return record("text", number, {"text": said}, **changes)


def test_ids_are_of_all_that_names_an_event_and_of_nothing_else() -> None:
    others = [
        text(id="a"),
        text(id="a", subject="bob"),
        text(id="a", source="world/other"),
        text(id="b"),
        text(id="world\x1fchat", source="world"),
        text(id="chat", source="world\x1fworld"),
        text(id="5:a", source="w"),
        text(id="a", source="w5:"),
        text(61, id="a"),
    ]
    ids = [decoded(row)["event_id"][0].as_py() for row in others]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)
    again = [text(id="a", scenario="game"), text(2, id="a"), text(59, id="a", region="EU")]
    assert {decoded(row)["event_id"][0].as_py() for row in again} == {ids[0]}
    voice = decoded(record("voice", 1, b"RIFF....WAVE", id="a"))["event_id"][0].as_py()
    assert voice not in ids


def test_ids_are_keyed_by_the_period_of_event_time() -> None:
    late = period("2026-09-01T10:00:30Z", "second")
    both = EventIds(Keys.of([*KEYS.periods, late]))
    rows = raw(text(1), text(31, id="text-1"))

    def made(ids: EventIds) -> list[str]:
        return next(iter(decode_batch(rows, ids)))[1]["event_id"].to_pylist()

    assert made(IDS)[0] == made(IDS)[1], "the same minute"
    assert made(both)[0] == made(IDS)[0]
    assert made(both)[1] == made(EventIds(Keys.of([late])))[1] != made(IDS)[1]


def test_ids_of_a_region_with_keys_of_its_own_need_those_keys() -> None:
    own = period("2020-01-01T00:00:00Z", "of the EU", "EU")
    both = EventIds(Keys.of([*KEYS.periods, own]))
    rows = raw(text(1), text(1, region="EU"), text(1, region="eu"), text(1, region=None))
    (here, there, spelt, nowhere) = next(iter(decode_batch(rows, both)))[1]["event_id"].to_pylist()
    assert here == nowhere == decoded(text(1))["event_id"][0].as_py()
    assert there == spelt != here


def test_events_of_a_shredded_period_are_dead_letters_and_withdrawals_count() -> None:
    gone = {"since": "2020-01-01T00:00:00Z", "check": fingerprint(KEYS.periods[0].key)}
    late = period("2026-09-01T10:00:30Z", "second")
    shredded = [ShreddedPeriod.model_validate(gone)]
    ids = EventIds(Keys.of([late], persons=KEYS.person, shredded=shredded))
    (_, alive), (_, dead) = decode_batch(raw(text(1), text(31), text(2, time="never")), ids)
    assert alive["offset"].to_pylist() == [31]
    letters = {row["offset"]: row["code"] for row in dead.to_pylist()}
    assert letters == {1: "key_shredded", 2: "bad_time"}
    assert dead["event_id"].to_pylist()[0] is None, "another key would make another id"
    withdrawn = record("consent", 1, {"granted": False})
    ((_, rows),) = decode_batch(raw(withdrawn), ids)
    assert rows["granted"].to_pylist() == [False]


@pytest.mark.parametrize("change", [{"id": ""}, {"id": None}, {"source": ""}, {"source": None}])
def test_an_event_without_a_name_is_a_dead_letter(change: dict) -> None:
    (_, none), (_, dead) = decode_batch(raw(text(**change)), IDS)
    assert none.num_rows == 0
    assert dead["code"].to_pylist() == ["bad_headers"]
    assert dead["event_id"].to_pylist() == [None]


def test_content_tells_what_is_said_and_is_no_checksum_of_it_alone() -> None:
    rows = [text(id="a"), text(id="a"), text(id="a", said="y"), text(id="a", ageband="child")]
    same, again, other, child = (decoded(row)["content"][0].as_py() for row in rows)
    assert same == again
    assert len({same, other, child}) == 3
    assert decoded(text(id="b"))["content"][0].as_py() != same, "masked by the id's key"


def test_media_that_are_named_differ_by_their_place() -> None:
    def content(place: str, *, structured: bool) -> int:
        row = record("face", 1, b"", id="a", dataref=place, structured=structured)
        if structured:
            row["value"] = row["value"].replace(b', "data_base64": ""', b"")
        return decoded(row | ({} if structured else {"value": None}))["content"][0].as_py()

    places = ["https://one/", "https://two/"]
    found = [[content(place, structured=mode) for mode in (False, True)] for place in places]
    assert found[0][0] == found[0][1] != found[1][0] == found[1][1]
    told = [text(id="a"), text(id="a", noticeid="other")]
    assert len({decoded(row)["content"][0].as_py() for row in told}) == 2
