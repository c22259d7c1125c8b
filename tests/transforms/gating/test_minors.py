"""Who was told to be a minor stays one, and a child's consent is its guardian's."""

import datetime as dt
import itertools
import random
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config import POLICIES
from schemas.stages import DEAD, MAIN
from tests.support.records import IDS, at, pseudonymous, raw, record
from transforms.decode import decode_batch
from transforms.gate import Gate
from transforms.gating.consent import Consents, ledger_rows
from transforms.gating.policy import read_policy
from transforms.validate import validate_batch

POLICY = read_policy(POLICIES / "gate.yaml")
ALL = {"purposes": ["avatar_mirroring"], "modalities": ["text", "voice", "face", "motion"]}


def said(second: int, *, granted: bool = True, given_by: str | None = None,
         **changes: Any) -> pa.RecordBatch:  # fmt: skip
    payload = {"granted": granted} | ALL | ({"given_by": given_by} if given_by else {})
    return ledger_rows(
        pseudonymous(record("consent", second, payload, **changes)), POLICY.purposes
    )[0]


def text(second: int, **changes: Any) -> dict[str, Any]:
    return record("text", second, {"text": "x"}, **changes)


def face(second: int, **changes: Any) -> dict[str, Any]:
    return record("face", second, b"\xff\xd8\xffx", **changes)


def codes(consents: Consents, *rows: dict[str, Any]) -> list[str | None]:
    """Code of the refusal of each row, None where it may go on; rows of one kind are one batch."""
    found: dict[str, str | None] = {}
    for topic in dict.fromkeys(row["topic"] for row in rows):
        events = pseudonymous(*(row for row in rows if row["topic"] == topic))
        for tag, out in Gate(POLICY, consents).batch(events):
            told = [None] * out.num_rows if tag == MAIN else out["code"].to_pylist()
            found |= dict(zip(out["event_id"].to_pylist(), told, strict=True))
    ids = [pseudonymous(row)["event_id"][0].as_py() for row in rows]
    return [found[event_id] for event_id in ids]


GUARDIAN = {"given_by": "guardian", "ageband": "child"}
MINOR, INSUFFICIENT = "minor_biometric", "consent_insufficient"


def test_who_was_told_to_be_a_child_stays_one_whatever_events_say() -> None:
    nothing_told = Consents([said(0)])
    assert codes(nothing_told, face(1, ageband="child"), face(2)) == [MINOR, None], "the attack"
    told = Consents([said(0, **GUARDIAN)])
    assert codes(told, face(1, ageband="child"), face(2), face(3, ageband=None)) == [MINOR] * 3
    assert codes(told, text(2), text(3, purpose="recommendation")) == [None, "purpose_prohibited"]
    assert codes(told, face(4, subject="bob")) == ["consent_unknown"], "another person"


def test_what_goes_on_and_what_is_refused_has_the_band_as_which_it_was_judged() -> None:
    """So a window, a history and whoever is handed a decision treat it as a minor's."""
    gate = Gate(POLICY, Consents([said(0, **GUARDIAN), said(0, subject="bob")]))
    texts = pseudonymous(text(1), text(2, subject="bob"), text(3, ageband=None))
    assert dict(gate.batch(texts))[MAIN]["age_band"].to_pylist() == ["child", "adult", "child"]
    faces = dict(gate.batch(pseudonymous(face(1), face(2, subject="bob"))))
    assert faces[MAIN]["age_band"].to_pylist() == ["adult"]
    assert faces["refusals"]["age_band"].to_pylist() == ["child"]


@pytest.mark.parametrize("band", ["child", "teen"])
def test_a_withdrawal_and_another_spelling_tell_of_age_too(band: str) -> None:
    told = Consents([said(0), said(5, granted=False, subject="ALICE ", ageband=band), said(6)])
    assert codes(told, face(4), face(7)) == [None, MINOR]


def test_the_strictest_band_holds_from_when_it_was_told() -> None:
    words = [said(0), said(10, ageband="teen"), said(20), said(30, **GUARDIAN), said(40)]
    for order in itertools.islice(itertools.permutations(words), 0, None, 7):
        told = Consents(order)
        assert codes(told, face(9), face(15), face(25), face(45)) == [None, MINOR, MINOR, MINOR]
        assert codes(told, text(25), text(35)) == [None, None]
    own = Consents([said(0), said(10, ageband="child"), said(20)])
    assert codes(own, text(9), text(15), text(25)) == [None, INSUFFICIENT, INSUFFICIENT]


def test_a_guardian_corrects_a_band() -> None:
    words = [said(0, **GUARDIAN), said(10, given_by="guardian", ageband="teen"), said(10)]
    words += [said(20, given_by="guardian", ageband="adult"), said(20)]
    told = Consents(words)
    assert codes(told, face(5), face(15), face(25)) == [MINOR, MINOR, None]
    unsure = Consents([said(0, **GUARDIAN), said(20, given_by="guardian", ageband="unknown")])
    assert codes(unsure, face(25), text(26)) == [MINOR, None]
    assert dict(Gate(POLICY, unsure).batch(pseudonymous(text(26))))[MAIN][
        "age_band"
    ].to_pylist() == ["child"]
    hers = Consents([said(0, **GUARDIAN), said(20, ageband="adult")])
    assert codes(hers, face(25)) == [MINOR], "an adult's word about herself corrects nothing"


def test_a_late_correction_holds_from_its_record_and_a_late_warning_from_its_time() -> None:
    hour = dt.timedelta(hours=1)

    def later(**changes: Any) -> pa.RecordBatch:
        payload = {"granted": True} | ALL | {"given_by": changes.pop("given_by", "self")}
        row = record("consent", 10, payload, **changes)
        row["timestamp"] += hour
        return ledger_rows(pseudonymous(row), POLICY.purposes)[0]

    corrected = Consents(
        [said(0, **GUARDIAN), said(1), later(given_by="guardian", ageband="adult")]
    )
    assert codes(corrected, face(20)) == [MINOR]
    warned = Consents([said(0), later(ageband="teen")])
    assert codes(warned, face(9), face(20)) == [None, MINOR]


def test_a_grant_of_names_that_nobody_knows_tells_of_a_minor_too() -> None:
    for names in ({"purposes": ["nonsense"]}, {"modalities": ["gaze"]}):
        payload = {"granted": True} | ALL | names
        told, adult = (
            ledger_rows(pseudonymous(record("consent", 5, payload, ageband=band)), POLICY.purposes)
            for band in ("child", "adult")
        )
        assert adult[0].num_rows == 0
        (row,) = told[0].to_pylist()
        assert (row["purpose"], row["modality"], row["age_band"]) == ("unlisted", "*", "child")
        assert codes(Consents([said(0), told[0]]), face(1), face(6)) == [None, MINOR]
        assert codes(Consents([told[0]]), text(6)) == ["consent_unknown"], "it opens nothing"


def test_a_text_of_before_that_comes_late_lands_as_of_who_is_known_to_be_a_child() -> None:
    gate = Gate(POLICY, Consents([said(0), said(3000, **GUARDIAN)]))

    def band(at: int, recorded: int, **changes: Any) -> str | None:
        row = text(at, **changes)
        row["timestamp"] += dt.timedelta(seconds=recorded - at)
        return dict(gate.batch(pseudonymous(row)))[MAIN]["age_band"][0].as_py()

    assert band(20, 20) == "adult"
    assert band(20, 4000) == "child"
    assert band(20, 4000, ageband=None) == "child"
    corrected = said(5000, given_by="guardian", ageband="adult")
    gate = Gate(POLICY, Consents([said(0), said(3000, **GUARDIAN), corrected]))
    assert band(4000, 6000) == "child", "the stricter of both times"
    assert band(6000, 6000) == "adult"


def test_unknown_and_strange_bands_of_events_are_not_raised() -> None:
    told = Consents([said(0), said(1, ageband="teen")])
    assert codes(told, face(5, ageband="senior"), text(6, ageband="unknown")) == [
        "age_band_unknown", None,
    ]  # fmt: skip
    assert codes(Consents([said(0, ageband="unknown")]), face(5)) == [None], (
        "an age that was learnt"
    )


def test_the_views_of_two_workers_agree_however_events_and_words_come() -> None:
    """Each worker reads all words, in whatever batches, and gets some of the events."""
    people = [f"p{n}" for n in range(6)]
    chance = random.Random(7)
    words = [
        said(second, subject=who, ageband=chance.choice(["child", "teen", "adult", None]),
             given_by=chance.choice([None, "guardian"]), granted=chance.random() < 0.8)
        for who in people for second in (0, 10, 20, 30)
    ]  # fmt: skip
    events = [
        make(second, subject=who, ageband=chance.choice(["child", "teen", "adult", "unknown"]),
             id=f"{who}-{second}-{make.__name__}")
        for who in people for second in range(0, 40, 3) for make in (text, face)
    ]  # fmt: skip
    texts, faces = ([e for e in events if e["topic"].endswith(end)] for end in ("text", "face"))
    for rows in (texts, faces):
        whole = codes(Consents(words), *rows)
        assert len(set(whole)) > 1
        shuffled = words[:]
        chance.shuffle(shuffled)
        one, two = Consents(shuffled), Consents()
        for word in reversed(shuffled):
            two.add(word)
        half = len(rows) // 3
        assert codes(one, *rows[:half]) + codes(two, *rows[half:]) == whole


@pytest.mark.parametrize("given_by", [None, "self"])
def test_a_childs_own_grant_counts_for_nothing_and_says_so(given_by: str | None) -> None:
    payload = {"granted": True} | ALL | ({"given_by": given_by} if given_by else {})
    events = pseudonymous(record("consent", 3, payload, ageband="child"))
    found = dict(Gate(POLICY, Consents()).batch(events))
    (letter,) = found[DEAD].to_pylist()
    assert (letter["code"], letter["topic"], letter["offset"]) == (
        "grant_needs_guardian", "governance.consent", 3,
    )  # fmt: skip
    known = Consents([found["consent_ledger"]])
    assert codes(known, text(4, ageband="child"), text(5), face(6)) == [
        "consent_unknown", "consent_unknown", MINOR,
    ]  # fmt: skip


def test_a_child_needs_a_guardians_consent_in_every_region() -> None:
    grown = Consents([said(0)])
    guarded = Consents([said(0, given_by="guardian")])
    for region in sorted(POLICY.regions):
        event = text(1, region=region, ageband="child")
        assert codes(grown, event) == [INSUFFICIENT]
        assert codes(guarded, event) == [None]
        assert codes(grown, text(1, region=region, ageband="teen")) == [None]
    withdrawn = Consents([said(0, given_by="guardian"), said(2, granted=False), said(4)])
    assert codes(withdrawn, text(3, ageband="child"), text(5, ageband="child")) == [
        "consent_withdrawn", INSUFFICIENT,
    ]  # fmt: skip


@pytest.mark.parametrize("given_by", ["Guardian", "parent", "", "guardian ", 1, ["guardian"], True])
def test_a_guardian_is_spelt_exactly_so(given_by: Any) -> None:
    payload = {"granted": True, "given_by": given_by} | ALL
    good = dead = 0
    for tag, out in decode_batch(raw(record("consent", 1, payload, ageband="child")), IDS):
        if tag == DEAD:
            dead += out.num_rows
        elif out.num_rows:
            valid, letters = validate_batch(out, "consent")
            good, dead = good + valid.num_rows, dead + letters.num_rows
    assert (good, dead) == (0, 1)


def test_consents_of_other_kinds() -> None:
    """A written release in Illinois; in China, and to train, a consent by its own name."""
    every = {"granted": True, "purposes": ["*"], "modalities": ["*"]}
    named = {"granted": True, "purposes": ["avatar_mirroring", "training"]} | {
        "modalities": ["text", "face"]
    }

    def given(payload: dict[str, Any], **changes: Any) -> Consents:
        events = pseudonymous(record("consent", 0, payload, **changes))
        return Consents([ledger_rows(events, POLICY.purposes)[0]])

    illinois, china = {"region": "US-IL"}, {"region": "CN"}
    assert codes(given(named, noticeid=None), face(1, **illinois)) == [INSUFFICIENT]
    assert codes(given(named, noticeid=" "), face(1, **illinois)) == [INSUFFICIENT]
    assert codes(given(named, noticeid=None, region="US"), face(1, **illinois)) == [INSUFFICIENT]
    assert codes(given(named, noticeid=None), text(1, **illinois)) == [None]
    assert codes(given(named), face(1, **illinois)) == [None]
    assert codes(given(every), face(1, **china)) == [INSUFFICIENT]
    assert codes(given(every), text(1, **china), text(2, purpose="training", **china)) == [
        None, INSUFFICIENT,
    ]  # fmt: skip
    assert codes(given(named), face(1, **china), face(2, purpose="training", **china)) == [None] * 2
    assert codes(given(every), text(1, purpose="training")) == [INSUFFICIENT]


def test_a_refusal_names_the_articles_that_ask_for_another_consent() -> None:
    child = {"region": "CN", "ageband": "child", "time": at(1)}
    ((_, rows),) = [
        (tag, out)
        for tag, out in Gate(POLICY, Consents([said(0)])).batch(pseudonymous(text(1, **child)))
        if out.num_rows
    ]
    assert rows["article"].to_pylist() == ["PIPL Art. 31"]
