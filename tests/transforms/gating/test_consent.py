"""Consent as of event time against the rule itself, asked word by word."""

import datetime as dt
import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.tables import CONSENT_LEDGER
from tests.support.records import START, pseudonymous, record
from transforms.gating import consent as consent_module
from transforms.gating.consent import GRANTED, UNKNOWN, WITHDRAWN, Consents, ledger_rows
from transforms.gating.governance import ANY, END, FIRST

KNOWN = frozenset({"research", "safety"})


def second(number: int) -> dt.datetime:
    return START + dt.timedelta(seconds=number)


WORDS = st.fixed_dictionaries(
    {
        "person_ref": st.sampled_from(["ann", "Ann", "bob"]),
        "purpose": st.sampled_from([*sorted(KNOWN), ANY]),
        "modality": st.sampled_from(["text", "face", ANY]),
        "action": st.sampled_from(["granted", "withdrawn", "erasure_requested"]),
        "event_time": st.integers(0, 5).map(second),
        "recorded_at": st.integers(0, 5).map(second),
    }
)
QUESTIONS = st.tuples(
    st.sampled_from(["ann", "Ann", "bob", "eve", None]),
    st.sampled_from([*sorted(KNOWN), "selling", None]),
    st.integers(-1, 6),
)


def folded(person: str | None) -> str | None:
    return None if person is None else person.lower()


def ledger(words: list[dict[str, Any]]) -> pa.RecordBatch:
    rows = [
        {name: word.get(name) for name in CONSENT_LEDGER.names}
        | {"person_fold": folded(word["person_ref"])}
        for word in words
    ]
    return pa.RecordBatch.from_pylist(rows, schema=CONSENT_LEDGER)


def asked(questions: list[tuple[str | None, str | None, int]]) -> pa.RecordBatch:
    """The columns of a pseudonymous batch that a question is made of."""
    people = pa.array([person for person, _, _ in questions], pa.string()).dictionary_encode()
    folds = pa.array([folded(word) for word in people.dictionary.to_pylist()], pa.string())
    return pa.record_batch(
        {
            "person_ref": people,
            "person_fold": pa.DictionaryArray.from_arrays(people.indices, folds),
            "purpose": pa.array([purpose for _, purpose, _ in questions], pa.string()),
            "event_time": pa.array(
                [second(number) for _, _, number in questions],
                CONSENT_LEDGER.field("event_time").type,
            ),
        }
    )


def by_the_rule(
    words: list[dict[str, Any]], person: str | None, purpose: str | None, modality: str, now: int
) -> int:
    """A grant since after, and not recorded before, each prohibition that holds by then."""
    holding = [
        word
        for word in words
        if folded(word["person_ref"]) == folded(person)
        and (word["action"] != "granted" or word["person_ref"] == person)
        and word["purpose"] in (purpose, ANY)
        and word["modality"] in (modality, ANY)
        and word["event_time"] <= second(now)
    ]
    grants = [word for word in holding if word["action"] == "granted"]
    prohibitions = [word for word in holding if word["action"] != "granted"]
    for grant in grants:
        if all(
            grant["event_time"] > word["event_time"] and grant["recorded_at"] >= word["recorded_at"]
            for word in prohibitions
        ):
            return GRANTED
    return WITHDRAWN if holding else UNKNOWN


@given(
    st.lists(WORDS, max_size=8),
    st.integers(0, 8),
    st.lists(QUESTIONS, min_size=1, max_size=12),
    st.sampled_from(["text", "face"]),
)
def test_answers_follow_the_rule(
    words: list[dict[str, Any]], known_first: int, questions: list[tuple[Any, ...]], modality: str
) -> None:
    """Also when some words come after the first questions, in any order, and twice."""
    consents = Consents([ledger(words[:known_first])])
    for heard in (words[:known_first], words):
        expected = [by_the_rule(heard, person, *rest[:1], modality, rest[1])
                    for person, *rest in questions]  # fmt: skip
        for _ in range(2):
            assert consents.ask(asked(questions), modality).tolist() == expected
        consents.add(ledger(words[::-1]))


def test_what_is_remembered_is_bounded_and_never_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_module, "_KEPT", 3)
    words = [
        {"person_ref": f"p{n}", "purpose": ANY, "modality": ANY, "action": "granted",
         "event_time": second(n), "recorded_at": second(n)}
        for n in range(6)
    ]  # fmt: skip
    consents = Consents([ledger(words)])
    for _ in range(3):
        for number in range(6):
            questions = [(f"p{number}", "research", second) for second in range(6)]
            found = consents.ask(asked(questions), "text").tolist()
            assert found == [GRANTED if now >= number else UNKNOWN for now in range(6)]
            assert len(consents._answers) <= 3
    gone = [words[n] | {"action": "withdrawn"} for n in range(6)]
    consents.add(ledger(gone))
    assert set(consents.ask(asked([(f"p{n}", "research", n) for n in range(6)]), "text")) == {
        WITHDRAWN
    }


def ledger_id(row: dict[str, Any], action: str) -> str:
    micros = [str(round(row[n].timestamp() * 1e6)) for n in ("event_time", "recorded_at")]
    parts = [row["person_ref"], *micros, row["purpose"], row["modality"], action]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def test_a_ledger_row_says_who_said_what_when() -> None:
    for granted, action in ((True, "granted"), (False, "withdrawn")):
        said = {"granted": granted, "purposes": ["safety", "research", "safety"]}
        said |= {"modalities": ["voice", "text"]}
        events = pseudonymous(record("consent", 7, said), record("consent", 9, said))
        rows, ignored = ledger_rows(events, KNOWN)
        assert rows.schema == CONSENT_LEDGER
        assert ignored is None
        found = rows.to_pylist()
        assert len(found) == 8
        pairs = {(row["event_time"], row["purpose"], row["modality"]) for row in found}
        assert pairs == {
            (second(n), p, m) for n in (7, 9) for p in KNOWN for m in ("text", "voice")
        }
        for row in found:
            assert row["action"] == action
            assert row["ledger_id"] == ledger_id(row, action)
            assert row["event_date"] == START.date()
            assert row["region"] == "US"
            assert row["notice_id"] == ("notice-1" if granted else None)
            assert row["recorded_at"] == row["event_time"]
        people = [row[name] for row in found for name in ("person_ref", "person_fold")]
        assert all(len(person) == 32 for person in people)


def test_an_erasure_is_one_row_of_every_purpose_and_modality() -> None:
    events = pseudonymous(record("erasure", 3, {"reason": "left"}), record("erasure", 4, {}))
    rows, ignored = ledger_rows(events, KNOWN)
    assert ignored is None
    found = [(r["purpose"], r["modality"], r["action"], r["event_time"]) for r in rows.to_pylist()]
    assert found == [(ANY, ANY, "erasure_requested", second(n)) for n in (3, 4)]


@pytest.mark.parametrize(
    ("recorded", "used"),
    [
        (second(40), second(40)),
        (FIRST, FIRST),
        (END, END),
        (FIRST - dt.timedelta(microseconds=1), second(5)),
        (END + dt.timedelta(microseconds=1), second(5)),
        (None, second(5)),
    ],
)
def test_a_record_time_of_no_clock_gives_way_to_the_event_time(
    recorded: dt.datetime | None, used: dt.datetime
) -> None:
    said = {"granted": True, "purposes": ["safety"], "modalities": ["text"]}
    events = pseudonymous(record("consent", 5, said))
    place = events.schema.get_field_index("recorded_at")
    field = events.schema.field(place)
    events = events.set_column(place, field, pa.array([recorded], field.type))
    (row,) = ledger_rows(events, KNOWN)[0].to_pylist()
    assert row["recorded_at"] == used


@pytest.mark.parametrize(
    ("purposes", "modalities"),
    [
        (["selling"], ["text"]),
        (["text"], ["text"]),  # which is known, but no purpose
        (["safety"], ["safety"]),
    ],
)
def test_a_grant_of_nothing_known_makes_no_row_and_one_letter(
    purposes: list[str], modalities: list[str]
) -> None:
    said = {"granted": True, "purposes": purposes, "modalities": modalities}
    good = {"granted": True, "purposes": ["safety"], "modalities": ["text"]}
    events = pseudonymous(record("consent", 5, said), record("consent", 6, good))
    rows, ignored = ledger_rows(events, KNOWN)
    assert [row["event_time"] for row in rows.to_pylist()] == [second(6)]
    assert ignored is not None
    (letter,) = ignored.to_pylist()
    assert (letter["stage"], letter["code"], letter["offset"]) == (
        "GateByPolicy", "grant_unknown_name", 5,
    )  # fmt: skip
    assert "holds for the others alone" in letter["detail"]
    none, _ = ledger_rows(events.slice(0, 1), KNOWN)
    assert (none.num_rows, none.schema) == (0, CONSENT_LEDGER)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"purposes": ["Safety "], "modalities": ["TEXT"]}, {("safety", "text")}),
        ({"purposes": ["safety", "selling"], "modalities": ["text"]}, {(ANY, "text")}),
        ({"purposes": [ANY], "modalities": ["text", "gaze"]}, {(ANY, ANY)}),
        ({"purposes": ["research", "safety"], "modalities": [ANY]},
         {("research", ANY), ("safety", ANY)}),
    ],
)  # fmt: skip
def test_a_withdrawal_of_a_name_that_nobody_knows_is_one_of_all(
    said: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    events = pseudonymous(record("consent", 1, {"granted": False} | said))
    rows, ignored = ledger_rows(events, KNOWN)
    assert ignored is None
    assert {(row["purpose"], row["modality"]) for row in rows.to_pylist()} == expected


def test_an_answer_is_one_number_a_row() -> None:
    consents = Consents([ledger([])])
    answer = consents.ask(asked([("ann", None, 0)] * 3), "text")
    assert isinstance(answer, np.ndarray)
    assert answer.tolist() == [UNKNOWN] * 3
