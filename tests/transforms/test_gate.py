import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from records import pseudonymous, record

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError
from schemas.tables import CONSENT_LEDGER, REFUSALS
from transforms.consent import Consents, ledger_rows
from transforms.gate import LEDGER, Case, Gate, Policy, read_policy
from transforms.stage import MAIN, REFUSED


def consent(second: float, *, granted: bool = True, **changes) -> pa.RecordBatch:
    payload = {
        "granted": granted,
        "purposes": ["avatar_mirroring", "workplace_monitoring", "recommendation"],
        "modalities": ["text", "voice", "face", "motion"],
    }
    return ledger_rows(pseudonymous(record("consent", int(second), payload, **changes)))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(POLICIES / "gate.yaml")


def codes(gate: Gate, *rows: dict) -> list[str | None]:
    """Code of the refusal of each row, None where it may go on."""
    events = pseudonymous(*rows)
    found = dict.fromkeys(events["event_id"].to_pylist(), "lost")
    for tag, out in gate.batch(events):
        if tag == MAIN:
            found |= dict.fromkeys(out["event_id"].to_pylist())
        else:
            assert tag == REFUSED
            assert out.schema == REFUSALS
            assert all(out["article"].to_pylist())
            found |= dict(zip(out["event_id"].to_pylist(), out["code"].to_pylist(), strict=True))
    return list(found.values())


def text(second: int, **changes) -> dict:
    return record("text", second, {"text": "x"}, **changes)


def face(second: int, **changes) -> dict:
    return record("face", second, b"\xff\xd8\xffx", **changes)


def test_unknown_means_refuse(policy: Policy) -> None:
    gate = Gate(policy, Consents.of([consent(0)]))
    assert codes(gate, text(1)) == [None]
    assert codes(gate, text(2, subject="stranger")) == ["consent_unknown"]
    assert codes(gate, text(3, purpose="selling")) == ["purpose_unknown"]
    assert codes(gate, text(4, region="MARS")) == ["region_unknown"]
    assert codes(gate, text(5, noticeid=None)) == ["notice_missing"]
    assert codes(gate, text(6, noticeid="")) == ["notice_missing"]
    assert codes(gate, text(7, purpose="a\x1fb", scenario="\x1f\x1f")) == ["purpose_unknown"]
    assert codes(Gate(policy, Consents.of([])), text(8)) == ["consent_unknown"]


def test_consent_holds_as_of_event_time(policy: Policy) -> None:
    ledger = [consent(10), consent(20, granted=False), consent(30)]
    for order in (ledger, ledger[::-1], ledger * 2):
        gate = Gate(policy, Consents.of(order))
        seen = codes(gate, *(text(s) for s in (9, 10, 19, 20, 29, 30)))
        assert seen == [
            "consent_unknown",
            None,
            None,
            "consent_withdrawn",
            "consent_withdrawn",
            None,
        ]


def test_a_withdrawal_at_the_same_instant_wins(policy: Policy) -> None:
    gate = Gate(policy, Consents.of([consent(10, granted=False), consent(10)]))
    assert codes(gate, text(11)) == ["consent_withdrawn"]


def test_an_erasure_request_closes_the_gate(policy: Policy) -> None:
    erasure = ledger_rows(pseudonymous(record("erasure", 15, {"reason": "left"})))
    assert erasure["action"].to_pylist() == ["erasure_requested"]
    gate = Gate(policy, Consents.of([consent(0), erasure]))
    assert codes(gate, text(14), text(15)) == [None, "consent_withdrawn"]


@pytest.mark.parametrize("age", ["child", "teen", "unknown", None])
def test_minors_have_no_biometric_branch(policy: Policy, age: str | None) -> None:
    gate = Gate(policy, Consents.of([consent(0)]))
    assert codes(gate, face(1, ageband=age)) == ["minor_biometric"]
    assert codes(gate, text(2, ageband=age)) == [None]


def test_work_and_school_in_the_union(policy: Policy) -> None:
    eu = {"region": "EU"}
    gate = Gate(policy, Consents.of([consent(0), consent(0, **eu)]))
    assert codes(gate, face(1, **eu)) == [None]
    assert codes(gate, face(2, scenario="learning", **eu)) == ["purpose_prohibited"]
    assert codes(gate, text(3, scenario="learning", **eu)) == [None]
    assert codes(gate, face(4, purpose="workplace_monitoring", **eu)) == ["purpose_prohibited"]
    early = Case("workplace_monitoring", "EU", "social", "adult", "face", dt.date(2025, 2, 1))
    assert policy.judge(early)[1] != "EU AI Act Art. 5(1)(f)"


def test_governance_becomes_ledger_rows(policy: Policy) -> None:
    events = pseudonymous(
        record("consent", 1, {"granted": True, "purposes": ["a", "b"], "modalities": ["x", "y"]}),
        record("consent", 2, {"granted": False, "purposes": ["c"], "modalities": ["x"]}),
    )
    ((tag, rows),) = Gate(policy, Consents.of([])).batch(events)
    assert tag == LEDGER
    assert rows.schema == CONSENT_LEDGER
    pairs = [(r["purpose"], r["modality"], r["action"]) for r in rows.to_pylist()]
    assert pairs == [
        ("a", "x", "granted"),
        ("a", "y", "granted"),
        ("b", "x", "granted"),
        ("b", "y", "granted"),
        ("c", "x", "withdrawn"),
    ]
    assert len(set(rows["ledger_id"].to_pylist())) == 5


def test_a_policy_that_is_wrong_says_so(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("version: x\nregions: []\npurposes: []\nrules: [{verdict: refuse, article: a}]")
    with pytest.raises(AffectstreamError, match="not a policy table"):
        read_policy(path)
