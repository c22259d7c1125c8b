"""Tombstones: to an erased person nothing is open but what was granted afterwards."""

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.config import POLICIES
from schemas.errors import RefusalCode
from schemas.stages import LEDGER, MAIN, REFUSED
from tests.support.records import START, pseudonymous, record
from transforms.gate import Gate
from transforms.gating.consent import Consents, ledger_rows
from transforms.gating.policy import Policy, read_policy
from transforms.gating.tombstones import Tombstones, tombstone_of

KEY = b"k" * 32
GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(POLICIES / "gate.yaml")


def consent(second: int) -> pa.RecordBatch:
    return pseudonymous(record("consent", second, GRANT))


def text(second: int, **changes: object) -> pa.RecordBatch:
    return pseudonymous(record("text", second, {"text": "x"}, **changes))


def buried(until: float, **changes: object) -> Tombstones:
    """The tombstone of the person of these records, erased until this second."""
    fold = text(0, **changes)["person_fold"][0].as_py()
    at = START + dt.timedelta(seconds=until)
    return Tombstones(KEY, {tombstone_of(KEY, fold): round(at.timestamp() * 1e6)})


def gate(policy: Policy, tombstones: Tombstones, *grants: int) -> Gate:
    rows = [ledger_rows(consent(second), policy.purposes)[0] for second in grants]
    return Gate(policy, Consents(rows, tombstones))


def code(gate: Gate, events: pa.RecordBatch) -> str | None:
    ((tag, rows),) = [(tag, rows) for tag, rows in gate.batch(events) if rows.num_rows]
    return None if tag == MAIN else rows["code"][0].as_py()


def test_an_erased_person_is_refused_before_and_after(policy: Policy) -> None:
    assert code(gate(policy, Tombstones(KEY), 0), text(5)) is None
    for second in (5, 10, 500):
        assert code(gate(policy, buried(10), 0), text(second)) == RefusalCode.ERASED


def test_a_grant_after_the_erasure_opens_for_what_comes_then(policy: Policy) -> None:
    after = gate(policy, buried(10), 0, 20)
    assert code(after, text(25)) is None
    assert code(after, text(15)) == RefusalCode.ERASED
    assert code(after, text(5)) == RefusalCode.ERASED


def test_spellings_of_the_id_are_erased_and_others_are_not(policy: Policy) -> None:
    known = gate(policy, buried(10, subject="alice"), 0)
    assert code(known, text(15, subject=" ALICE")) == RefusalCode.ERASED
    assert code(known, text(15, subject="alicia")) == RefusalCode.CONSENT_UNKNOWN


def test_a_refusal_does_not_say_who_it_was(policy: Policy) -> None:
    events = text(15)
    ((_, rows),) = [
        pair for pair in gate(policy, buried(10), 0).batch(events) if pair[0] == REFUSED
    ]
    (row,) = rows.to_pylist()
    assert (row["subject_ref"], row["session_ref"], row["scene_id"]) == (None, None, None)
    told = {str(value) for value in row.values()}
    assert events["event_id"][0].as_py() not in told
    assert row["event_id"] is not None
    assert row["content"] == 0


def test_consents_of_before_do_not_land_again_and_later_ones_do(policy: Policy) -> None:
    erased = gate(policy, buried(10))
    for second, lands in ((5, 0), (10, 0), (11, 1)):
        ((tag, rows),) = erased.batch(consent(second))
        assert tag == LEDGER
        assert rows.num_rows == lands


def test_tombstones_that_come_later_change_answers_that_were_given(policy: Policy) -> None:
    consents = Consents([ledger_rows(consent(0), policy.purposes)[0]])
    asked = Gate(policy, consents)
    assert code(asked, text(5)) is None
    consents.bury(buried(10))
    assert code(asked, text(5)) == RefusalCode.ERASED
    consents.bury(Tombstones(KEY))
    assert code(asked, text(5)) is None


def test_the_last_erasure_of_a_person_counts() -> None:
    stone = tombstone_of(KEY, "fold")
    rows = pa.record_batch(
        {
            "tombstone": [stone, stone],
            "erased_until": pc.cast(pa.array([9, 5]), pa.timestamp("us", tz="UTC")),
        }
    )
    known = Tombstones.of(KEY, [rows])
    assert known.erased_until("fold") == 9
    assert known.erased_until("another") is None
    assert Tombstones.of(b"x" * 32, [rows]).erased_until("fold") is None
