"""Prohibitions close the gate however they are spelt, and permissions open it only when clear."""

import datetime as dt
import json
import unicodedata
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.config import POLICIES
from schemas.stages import DEAD, MAIN, kind_of
from schemas.tables import CONSENT_LEDGER
from tests.support.records import IDS, PSEUDONYMS, START, at, raw, record
from transforms.decode import decode_batch
from transforms.gate import Gate
from transforms.gating.consent import Consents, ledger_rows
from transforms.gating.governance import fold
from transforms.gating.policy import read_policy
from transforms.validate import validate_batch

POLICY = read_policy(POLICIES / "gate.yaml")
ALL = {"purposes": ["avatar_mirroring"], "modalities": ["text", "voice", "face", "motion"]}
NAME = "Zoë"
GRANT = record("consent", 0, {"granted": True} | ALL, subject=NAME)


def governed(*rows: dict[str, Any]) -> tuple[Consents, list[dict[str, Any]], list[dict[str, Any]]]:
    """Take records through decode, validate, pseudonymise and ledger; also rows and letters."""
    consents, ledger, letters = Consents(), [], []
    for tag, events in decode_batch(raw(*rows), IDS):
        if tag == DEAD:
            letters += events.to_pylist()
        elif events.num_rows:
            valid, dead = validate_batch(events, kind_of(events))
            letters += dead.to_pylist()
            if valid.num_rows:
                out, ignored = ledger_rows(PSEUDONYMS.batch(valid), POLICY.purposes)
                assert out.schema == CONSENT_LEDGER
                assert all(day.year in range(1970, 2100) for day in out["event_date"].to_pylist())
                consents.add(out)
                ledger += out.to_pylist()
                letters += [] if ignored is None else ignored.to_pylist()
    return consents, ledger, letters


def passes(consents: Consents, second: float, **changes: Any) -> bool:
    row = record("text", 0, {"text": "x"}, **{"subject": NAME, "time": at(second)} | changes)
    row["timestamp"] = START + dt.timedelta(seconds=second)
    (events,) = (out for _, out in decode_batch(raw(row), IDS) if out.num_rows)
    outputs = Gate(POLICY, consents).batch(PSEUDONYMS.batch(events))
    return [tag for tag, _ in outputs] == [MAIN]


def withdrawal(payload: Any = None, **changes: Any) -> dict[str, Any]:
    body = {"granted": False} | ALL if payload is None else payload
    return record("consent", 10, body, **{"subject": NAME} | changes)


def erasure(payload: Any = b"{}", **changes: Any) -> dict[str, Any]:
    return record("erasure", 10, payload, **{"subject": NAME} | changes)


def bare(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return row | changes


_SPELT: dict[str, dict[str, Any]] = {
    "region us": {"region": "us"},
    "region US-CA": {"region": "US-CA"},
    "another region": {"region": "EU"},
    "no region": {"region": None},
    "a region of nowhere": {"region": "E U!"},
    "trailing space": {"subject": f"{NAME} "},
    "quotes": {"subject": f'"{NAME}"'},
    "curly quotes": {"subject": f"“{NAME}”"},
    "other case": {"subject": NAME.upper()},
    "NFD": {"subject": unicodedata.normalize("NFD", NAME)},
    "full width": {"subject": "Ｚoë"},
    "a BOM": {"subject": f"\ufeff{NAME}"},
    "a zero-width space": {"subject": "Zo\u200bë"},
    "a clock 61 s ahead": {"time": at(71)},
    "a clock an hour ahead": {"time": at(3610)},
    "a clock of the next century": {"time": "2099-01-01T00:00:00Z"},
    "a clock that was never set": {"time": "1970-01-01T00:00:00Z"},
    "a clock an hour behind": {"time": at(-3590)},
    "no zone": {"time": at(10).removesuffix("Z")},
    "a zone of the west": {"time": at(10 - 8 * 3600).removesuffix("Z")},
    "a time that is none": {"time": "yesterday"},
    "no time": {"time": None},
    "an age band of none": {"ageband": "senior"},
    "no id": {"id": None},
    "an empty id": {"id": ""},
    "the grant's id": {"id": "consent-0"},
    "no source": {"source": None},
    "no type": {"type": None},
    "another type": {"type": "governance.consent.v9"},
    "no notice": {"noticeid": None},
    "a long notice": {"noticeid": "n" * 1000},
    "a scenario of none": {"scenario": "\x1f"},
}


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("make", [withdrawal, erasure])
@pytest.mark.parametrize("name", _SPELT)
def test_a_prohibition_closes_the_gate_however_it_is_spelt(
    name: str, make: Callable[..., dict[str, Any]], structured: bool
) -> None:
    said = make(structured=structured, **_SPELT[name]) if make is withdrawal else make(
        {"reason": "left"}, structured=structured, **_SPELT[name]
    )  # fmt: skip
    consents, ledger, letters = governed(GRANT, said)
    assert not letters
    assert not passes(consents, 11)
    assert not passes(consents, 11, region="EU")
    assert not passes(consents, 4000)
    assert len([row for row in ledger if row["action"] != "granted"]) >= 1
    assert passes(governed(GRANT)[0], 11), "the grant alone opens it"


_PAYLOADS: dict[str, Any] = {
    "every purpose": {"granted": False, "purposes": ["*"], "modalities": ["text"]},
    "every modality": {"granted": False, "purposes": ["avatar_mirroring"], "modalities": ["*"]},
    "case of a purpose": {"granted": False, "purposes": ["Avatar_Mirroring"]},
    "separator of a purpose": {"granted": False, "purposes": ["avatar-mirroring"]},
    "an unknown purpose": {"granted": False, "purposes": ["selling"], "modalities": ["text"]},
    "an unknown modality": ALL | {"granted": False, "modalities": ["gaze"]},
    "case of a modality": ALL | {"granted": False, "modalities": ["Text"]},
    "no purposes": {"granted": False, "modalities": ["text"]},
    "no modalities": {"granted": False, "purposes": ["avatar_mirroring"]},
    "empty lists": {"granted": False, "purposes": [], "modalities": []},
    "null lists": {"granted": False, "purposes": None, "modalities": None},
    "numbers": {"granted": False, "purposes": [1], "modalities": [[]]},
    "a text for a list": {"granted": False, "purposes": "avatar_mirroring", "modalities": "text"},
    "a text for a truth": ALL | {"granted": "false"},
    "a null": ALL | {"granted": None},
    "a zero": ALL | {"granted": 0},
    "nothing granted": ALL,
    "an empty object": {},
    "a list": [],
    "another case of its name": ALL | {"Granted": False},
    "a whole event inside": {"data": ALL | {"granted": False}},
    "a BOM": b"\xef\xbb\xbf" + json.dumps(ALL | {"granted": False}).encode(),
    "UTF-16": json.dumps(ALL | {"granted": False}).encode("utf-16"),
    "no JSON": b"withdraw me",
    "half a JSON": b'{"granted": false, "purposes": ["avatar',
    "said twice, last yes": b'{"granted": false, "granted": true, "purposes": ["*"]}',
    "said twice, last no": b'{"granted": true, "granted": false, "purposes": ["*"]}',
    "deep": b"[" * 100_000,
    "a huge number": b'{"granted": ' + b"9" * 10_000 + b"}",
    "half a surrogate": b'{"granted": false, "purposes": ["\\ud800"]}',
    "half a surrogate for its data": b'{"granted": false, "data": "\\ud800"}',
    "many names": ALL | {"granted": False, "purposes": [f"p{n}" for n in range(100_000)]},
    "nothing": b"",
    "no outside, yes inside": {"granted": False, "data": {"granted": True}} | ALL,
    "yes outside, no inside": {"granted": True, "data": {"granted": False}} | ALL,
    "another separator": {"granted": True, "gran_ted": False} | ALL,
    "another width": {"granted": True, "ｇranted": False} | ALL,
    "a name with a tail": ALL | {"granted": False, "purposes": ["safety" + " " * 90 + "and more"]},
    "deep members": b'{"granted": "yes", "x": ' + b'{"x":' * 600 + b"1" + b"}" * 601,
    "a batch": [{"subject": NAME, "data": {"granted": False}}],
}


_UNCLEAR = {
    "a null", "nothing granted", "an empty object", "a list", "no JSON", "half a JSON",
    "said twice, last yes", "said twice, last no", "deep", "a huge number",
    "no outside, yes inside", "yes outside, no inside", "another separator", "another width",
}  # fmt: skip


@pytest.mark.parametrize("name", _PAYLOADS)
def test_a_withdrawal_closes_the_gate_whatever_its_payload(name: str) -> None:
    consents, ledger, letters = governed(GRANT, withdrawal(_PAYLOADS[name]))
    if name != "deep members":  # which is no clear grant, and no withdrawal
        told = ["consent_unclear"] if name in _UNCLEAR else []
        assert [letter["code"] for letter in letters] == told
        assert not passes(consents, 11)
    assert len(ledger) <= 4 + 30


@pytest.mark.parametrize(
    "said",
    [
        bare(erasure(), value=None),
        bare(erasure(), value=None, headers=[], key=NAME.encode()),
        bare(erasure(), value=None, headers=None, key=f" {NAME}\n".encode()),
        bare(withdrawal(), value=None, headers=[], key=NAME.encode()),
        bare(erasure(), headers=[{"key": "CE_Subject", "value": NAME.encode()}], key=None),
        bare(erasure(), headers=[{"key": "ce_subject", "value": NAME.encode("latin-1")}]),
        bare(erasure(), headers=[{"key": "ce_subject", "value": b"  "}], key=NAME.encode()),
        bare(erasure(), headers=[], key=None, value=json.dumps({"subject": NAME}).encode()),
        erasure({"reason": "x" * 1001}),
        erasure({"reason": 7}),
        erasure(b"please"),
        *(bare(erasure(time=None), timestamp=when) for when in (None, START)),
    ],
)
def test_whatever_names_a_subject_closes_the_gate(said: dict[str, Any]) -> None:
    consents, _, letters = governed(GRANT, said)
    assert not letters
    assert not passes(consents, 11)


@pytest.mark.parametrize(
    "milliseconds", [-(2**62), -90_000_000_000_000, 2**63 - 1, 9 * 10**15, -1, 0]
)
def test_a_strange_record_time_is_none(milliseconds: int) -> None:
    rows = raw(GRANT, withdrawal(), withdrawal(time=None, id="other"))
    times = pa.array([milliseconds] * 3).cast(rows.schema.field("timestamp").type)
    rows = rows.set_column(3, rows.schema.field("timestamp"), times)
    consents, _, letters = governed(*[GRANT])
    for tag, events in decode_batch(rows, IDS):
        assert tag == MAIN
        if events.num_rows:
            consents.add(ledger_rows(PSEUDONYMS.batch(events), POLICY.purposes)[0])
    assert not letters
    assert not passes(consents, 11)


def test_the_withdrawal_holds_from_the_earlier_time_and_for_whom_it_names() -> None:
    late = withdrawal(time=at(3610))
    consents, *_ = governed(GRANT, bare(GRANT, headers=record("consent", 0, {})["headers"]), late)
    assert passes(consents, 9)
    assert not passes(consents, 10)
    assert passes(consents, 11, subject="alice"), "another person"
    only_voice = withdrawal(ALL | {"granted": False, "modalities": ["Voice"]})
    assert passes(governed(GRANT, only_voice)[0], 11), "a known name widens nothing"


def test_a_new_grant_opens_the_gate_again() -> None:
    again = record("consent", 20, {"granted": True} | ALL, subject=NAME)
    for said in (erasure(), withdrawal(), withdrawal(time=at(3610)), withdrawal(time=at(-3600))):
        consents, *_ = governed(again, said, GRANT)
        assert not passes(consents, 19)
        assert passes(consents, 20)
        assert not passes(consents, 21, subject=NAME.upper()), "permission is for one spelling"
    older = bare(again, timestamp=START + dt.timedelta(seconds=5))
    assert not passes(governed(GRANT, erasure(), older)[0], 21), "recorded before the erasure"


_NO_GRANTS: dict[str, Any] = {
    "a text": {"granted": "true"} | ALL,
    "a number": {"granted": 1} | ALL,
    "a BOM": b"\xef\xbb\xbf" + json.dumps({"granted": True} | ALL).encode(),
    "names that stand twice": b'{"granted": true, "granted": true, "purposes": ["*"], "modalities":'
    b' ["*"]}',
    "no purposes": {"granted": True, "modalities": ["text"]},
    "an unknown purpose": ALL | {"granted": True, "purposes": ["Avatar_Mirroring"]},
    "an unknown modality": ALL | {"granted": True, "modalities": ["Text", "gaze", ""]},
    "null": {"granted": True, "purposes": [None], "modalities": [None]},
}


@pytest.mark.parametrize("name", _NO_GRANTS)
def test_a_grant_that_is_not_clear_opens_nothing_and_closes_nothing(name: str) -> None:
    unclear = record("consent", 5, _NO_GRANTS[name], subject=NAME)
    consents, _, letters = governed(unclear)
    assert not passes(consents, 6)
    assert len(letters) == 1
    assert passes(governed(GRANT, unclear)[0], 6)


def test_every_purpose_and_modality_may_be_granted_at_once() -> None:
    every = {"granted": True, "purposes": ["*"], "modalities": ["*"]}
    consents, ledger, letters = governed(record("consent", 0, every, subject=NAME))
    assert not letters
    assert len(ledger) == 1
    assert passes(consents, 1)
    assert not passes(governed(GRANT, withdrawal())[0], 11)


def test_a_record_that_names_nobody_is_a_row_of_its_own_kind() -> None:
    nobody = bare(erasure(), headers=[], key=None, value=b'{"who": "me"}')
    empty = bare(withdrawal(subject=" "), key=b"\xef\xbb\xbf", value=b"", offset=11)
    _, ledger, letters = governed(nobody, empty)
    assert not ledger
    assert [(row["code"], row["offset"]) for row in letters] == [
        ("governance_unreadable", 11), ("governance_unreadable", 10),
    ] or {row["code"] for row in letters} == {"governance_unreadable"}  # fmt: skip


def test_one_record_lets_no_other_pass() -> None:
    stranger = withdrawal({"granted": False, "data": {"granted": True}} | ALL, subject="mallory")
    nowhere = record("consent", 1, {"granted": True} | ALL, subject=NAME, region=None)
    for rows in ((nowhere,), (stranger, nowhere), (nowhere, stranger)):
        consents, _, letters = governed(*rows)
        assert not passes(consents, 11)
        unclear = ["consent_unclear"] if stranger in rows else []
        assert [letter["code"] for letter in letters] == [*unclear, "expectation_failed"]


@pytest.mark.parametrize("name", ["'", "»", "\u200b", "\x00", "´x`"])
def test_whoever_can_grant_can_withdraw(name: str) -> None:
    given = record("consent", 0, {"granted": True} | ALL, subject=name)
    assert passes(governed(given)[0], 11, subject=name)
    for said in (withdrawal(subject=name), erasure(subject=name)):
        assert not passes(governed(given, said)[0], 11, subject=name)


@pytest.mark.parametrize(
    "letter", [*"\u3164\uffa0\u115f\u180b\u2800\u0085\u1680\u001f\u007f´′", "\U000e0100"]
)
def test_what_cannot_be_seen_changes_nobody(letter: str) -> None:
    assert not passes(governed(GRANT, withdrawal(subject=NAME + letter))[0], 11)


def test_a_record_names_no_crowd() -> None:
    crowd = {"granted": False} | ALL
    crowd = json.dumps(crowd)[:-1] + "".join(f', "subject": "{n}"' for n in range(9000)) + "}"
    consents, ledger, letters = governed(GRANT, withdrawal(crowd.encode()))
    assert [letter["code"] for letter in letters] == ["governance_unreadable"]
    assert not passes(consents, 11)
    assert len(ledger) <= 4 + 16 * 4


def test_folding_costs_no_more_than_an_id_may_have() -> None:
    assert len(fold("a" + "\u0316\u0301" * 100_000)) <= 512 * 3
    assert fold("  " * 5000 + NAME) == fold(NAME)


def test_a_large_consent_is_bounded_by_what_is_known() -> None:
    many = [f"name-{n}" for n in range(1000)]
    for granted in (True, False):
        names = {"purposes": [*many, "safety", "safety"], "modalities": [*many, "text", "text"]}
        _, ledger, _ = governed(record("consent", 1, {"granted": granted} | names))
        assert len(ledger) == 1


@given(st.text(min_size=1, max_size=12), st.sampled_from([str.upper, str.lower, str.title]))
def test_folding_is_stable_and_blind_to_spelling(name: str, change: Callable[[str], str]) -> None:
    assume(any(letter.isalnum() for letter in name))
    folded = fold(name)
    assert fold(folded) == folded
    for other in (unicodedata.normalize("NFD", name), f' "{name}" ', f"\u200b{name}\ufeff"):
        assert fold(other) == folded
    if change(name).casefold() == name.casefold():
        assert fold(change(name)) == folded


@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["granted", "purposes", "modalities", "data", "subject"]), inner
                )
            ),
            max_leaves=6,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from(["consent", "erasure"]),
)
def test_any_record_is_a_ledger_row_or_a_dead_letter(value: bytes, kind: str) -> None:
    _, ledger, letters = governed(record(kind, 3, value))
    assert ledger or letters
