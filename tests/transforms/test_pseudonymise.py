import datetime as dt
import hashlib
import hmac

import pytest

from schemas.events import pseudonymous_schema
from schemas.keys import Keys
from tests.support.records import KEYS, START, decoded, period, record
from transforms.pseudonymise import Pseudonyms

BEGAN = "2020-01-01T00:00:00Z"
ONE = KEYS


def said(number: int, **changes: str) -> dict:
    return record("text", number, {"text": "x"}, **changes)


def test_no_raw_id_goes_on_and_references_are_stable() -> None:
    batch = decoded(said(1), said(2, subject="bob"), said(3))
    out = Pseudonyms(ONE).batch(batch)
    assert out.schema == pseudonymous_schema("text")
    first, second, third = out["subject_ref"].to_pylist()
    assert first == third != second
    assert len(first) == 32
    assert "alice" not in str(out.to_pylist())
    assert out["subject_ref"][0].as_py() != out["session_ref"][0].as_py()
    assert Pseudonyms(ONE).batch(batch).equals(out)


def test_region_and_key_change_the_reference() -> None:
    batch = decoded(said(1), said(2, region="EU"))
    refs = Pseudonyms(ONE).batch(batch)["subject_ref"].to_pylist()
    other = Pseudonyms(Keys.of([period(BEGAN, "b")])).batch(batch)["subject_ref"]
    assert len({*refs, *other.to_pylist()}) == 4


def rotated(*more: str) -> Keys:
    """Keys that change five seconds after START, and then each second."""
    begins = [START + dt.timedelta(seconds=5 + n) for n in range(1 + len(more))]
    later = zip(begins, ("second", *more), strict=True)
    return Keys.of([*ONE.periods, *(period(begin.isoformat(), name) for begin, name in later)])


def test_the_key_is_that_of_the_event_time() -> None:
    rows = [said(n) for n in (4, 5, 6)]
    refs = Pseudonyms(rotated()).batch(decoded(*rows))["subject_ref"].to_pylist()
    assert refs[0] != refs[1] == refs[2]
    assert refs[:1] == Pseudonyms(ONE).batch(decoded(rows[0]))["subject_ref"].to_pylist()


def test_after_a_rotation_the_references_of_before_are_named_and_the_shard_stays() -> None:
    rows = [said(n, subject=who) for n in (4, 5, 6) for who in ("alice", "bob")]
    rows.append(said(7 * 86_400 + 4))
    rows.append(said(7 * 86_400 + 5))
    out = Pseudonyms(rotated()).batch(decoded(*rows)).to_pylist()
    before, after = out[:2], out[2:6]
    for what in ("subject_ref", "session_ref"):
        assert [row[f"prior_{what}"] for row in before] == [None, None]
        assert [row[f"prior_{what}"] for row in after] == [row[what] for row in before] * 2
        assert [row[f"prior_{what}"] for row in out[6:]] == [before[0][what], None]
    shards = [row["shard_hash"] for row in out]
    assert shards == [shards[0], shards[1]] * 3 + [shards[0]] * 2
    assert shards[0] != shards[1]
    assert shards[0] == int(before[0]["subject_ref"][4:8], 16), "as it was without rotations"


def test_keys_of_a_region_are_for_its_events_alone() -> None:
    keys = Keys.of([*ONE.periods, period(BEGAN, "of the EU", "EU")])
    batch = decoded(said(1), said(1, region="EU"), said(1, region=None))
    plain, own = (Pseudonyms(k).batch(batch)["subject_ref"].to_pylist() for k in (ONE, keys))
    assert [one == other for one, other in zip(plain, own, strict=True)] == [True, False, True]


def test_a_person_is_the_same_under_every_key_and_in_every_region() -> None:
    changed = [
        rotated(),
        rotated("third"),
        Keys.of([*ONE.periods, period(BEGAN, "of the EU", "EU")]),
        Keys.of([period(START.isoformat(), "second")], persons=ONE.person),
    ]
    rows = decoded(*(said(n, region=region) for n in (1, 6) for region in ("US", "EU")))
    expected = hmac.digest(ONE.person, b"6:person0:5:alice", hashlib.sha256).hex()[:32]
    for keys in (ONE, *changed):
        pseudonyms = Pseudonyms(keys)
        assert set(pseudonyms.batch(rows)["person_ref"].to_pylist()) == {expected}
        assert pseudonyms.person("alice")[0] == expected
        assert pseudonyms.person(" ALICE")[1] == pseudonyms.person("alice")[1]
    other = Pseudonyms(Keys.of(ONE.periods, persons=b"other" + ONE.person))
    assert other.person("alice")[0] != expected


@pytest.mark.parametrize("keys", [ONE, rotated(), rotated("third", "fourth")])
def test_all_references_of_a_subject_are_found_again(keys: Keys) -> None:
    own = Keys.of([*keys.periods, period("2026-09-01T10:00:06.500Z", "of the EU", "EU")])
    regions = ["US", "EU", None]
    rows = decoded(*(said(n, region=region) for n in range(12) for region in regions))
    for given in (keys, own):
        pseudonyms = Pseudonyms(given)
        landed = set(pseudonyms.batch(rows)["subject_ref"].to_pylist())
        assert landed <= pseudonyms.references("alice", ["US", "EU"])
        assert len(landed) >= 3
        assert not landed & pseudonyms.references("alice ", ["US", "EU"])
        assert landed - pseudonyms.references("alice", ["US"]), "a region that is not asked for"
        assert pseudonyms.references("alice", []) < pseudonyms.references("alice", ["US"])
