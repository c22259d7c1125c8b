import datetime as dt
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError, RefusalCode
from schemas.modalities import MODALITIES
from schemas.stages import DEAD, LEDGER, MAIN, REFUSED
from schemas.tables import CONSENT_LEDGER, REFUSALS, on_its_way
from tests.support.records import pseudonymous, record
from transforms.gate import Gate, GateByPolicy
from transforms.gating.consent import Consents, ledger_rows
from transforms.gating.policy import Policy, read_policy
from transforms.gating.rules import Case, Rule

PURPOSES = read_policy(POLICIES / "gate.yaml").purposes


def consent(second: float, *, granted: bool = True, **changes) -> pa.RecordBatch:
    payload = {
        "granted": granted,
        "purposes": ["avatar_mirroring", "workplace_monitoring", "recommendation"],
        "modalities": ["text", "voice", "face", "motion"],
    }
    events = pseudonymous(record("consent", int(second), payload, **changes))
    return ledger_rows(events, PURPOSES)[0]


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
            assert out.schema == on_its_way(REFUSALS)
            assert all(out["article"].to_pylist())
            found |= dict(zip(out["event_id"].to_pylist(), out["code"].to_pylist(), strict=True))
    return list(found.values())


def text(second: int, **changes) -> dict:
    return record("text", second, {"text": "x"}, **changes)


def face(second: int, **changes) -> dict:
    return record("face", second, b"\xff\xd8\xffx", **changes)


def test_unknown_means_refuse(policy: Policy) -> None:
    gate = Gate(policy, Consents([consent(0)]))
    assert codes(gate, text(1)) == [None]
    assert codes(gate, text(2, subject="stranger")) == ["consent_unknown"]
    assert codes(gate, text(3, purpose="selling")) == ["purpose_unknown"]
    assert codes(gate, text(4, region="MARS")) == ["region_unknown"]
    assert codes(gate, text(5, noticeid=None)) == ["notice_missing"]
    assert codes(gate, text(6, noticeid="")) == ["notice_missing"]
    assert codes(gate, text(7, purpose="a\x1fb", scenario="\x1f\x1f")) == ["purpose_unknown"]
    assert codes(Gate(policy, Consents([])), text(8)) == ["consent_unknown"]


@pytest.mark.parametrize("blank", [" ", "\u200b", "\u2800", "\u3164", "\u00a0\u2060", "-"])
def test_a_notice_that_nobody_can_read_is_none(policy: Policy, blank: str) -> None:
    gate = Gate(policy, Consents([consent(0), consent(0, region="US-IL")]))
    assert codes(gate, text(1, noticeid=blank)) == ["notice_missing"]
    assert codes(gate, text(2, noticeid=f"{blank}告知")) == [None]
    released = Gate(policy, Consents([consent(0, region="US-IL", noticeid=blank)]))
    assert codes(released, face(3, region="US-IL")) == ["consent_insufficient"]


def test_consent_holds_as_of_event_time(policy: Policy) -> None:
    ledger = [consent(10), consent(20, granted=False), consent(30)]
    for order in (ledger, ledger[::-1], ledger * 2):
        gate = Gate(policy, Consents(order))
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
    gate = Gate(policy, Consents([consent(10, granted=False), consent(10)]))
    assert codes(gate, text(11)) == ["consent_withdrawn"]


def test_an_erasure_request_closes_the_gate(policy: Policy) -> None:
    erasure, _ = ledger_rows(pseudonymous(record("erasure", 15, {"reason": "left"})), PURPOSES)
    assert erasure["action"].to_pylist() == ["erasure_requested"]
    gate = Gate(policy, Consents([consent(0), erasure, consent(30)]))
    seen = codes(gate, text(14), text(15), text(29), text(30))
    assert seen == [None, "consent_withdrawn", "consent_withdrawn", None], "a new grant opens it"


@pytest.mark.parametrize("age", ["child", "teen", "unknown", None])
def test_minors_have_no_biometric_branch(policy: Policy, age: str | None) -> None:
    gate = Gate(policy, Consents([consent(0)]))
    assert codes(gate, face(1, ageband=age)) == ["minor_biometric"]
    own = "consent_insufficient" if age == "child" else None  # whose consent is a guardian's
    assert codes(gate, text(2, ageband=age)) == [own]


def test_work_and_school_in_the_union(policy: Policy) -> None:
    eu = {"region": "EU"}
    gate = Gate(policy, Consents([consent(0)]))
    assert codes(gate, face(1, **eu)) == [None]
    for n, name in enumerate(("learning", "Learning", "classroom", "school", "work", "Office")):
        assert codes(gate, face(n + 2, scenario=name, **eu)) == ["purpose_prohibited"]
        assert codes(gate, text(n + 2, scenario=name, **eu)) == [None]
        assert codes(gate, face(n + 2, scenario=name, region="de-BY")) == ["purpose_prohibited"]
    assert codes(gate, face(4, purpose="workplace_monitoring", **eu)) == ["purpose_prohibited"]
    early = Case("workplace_monitoring", "EU", "social", "adult", "face", dt.date(2025, 2, 1))
    assert policy.judge(early)[1] != "EU AI Act Art. 5(1)(f)"


def test_nothing_is_allowed_that_nobody_listed(policy: Policy) -> None:
    day = dt.date(2026, 9, 1)
    good = ("avatar_mirroring", "US", "social", "adult", "text", day)
    assert policy.judge(Case(*good)) is None
    for place, code in enumerate(
        ("purpose_unknown", "region_unknown", "scenario_unknown", "age_band_unknown",
         "modality_unknown")
    ):  # fmt: skip
        for value in ("gaze", "", None, good[place].upper() + " "):
            case = Case(*(value if at == place else told for at, told in enumerate(good)))
            assert policy.judge(case)[0] == code, value


@pytest.mark.parametrize("scenario", ["casino", "workshop", "learning_", "LEARNING\u200b", "nap"])
def test_an_unknown_scenario_is_refused_or_read_as_what_it_means(
    policy: Policy, scenario: str
) -> None:
    gate = Gate(policy, Consents([consent(0)]))
    (code,) = codes(gate, face(1, scenario=scenario, region="EU"))
    assert code in ("scenario_unknown", "purpose_prohibited")


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("region", "no-consent"), ("region", "is unknown"), ("region", "De-facto unknown"),
        ("region", "OTHER region, EU"), ("region", "other-eu"),
        ("region", "OTHER" + " " * 260 + "EU"),
        ("scenario", "social" + " " * 260 + "learning"), ("scenario", "social-learning"),
        ("ageband", "adult" + " " * 251 + "or child"), ("ageband", "not adult"),
        ("purpose", "avatar_mirroring" + " " * 260 + "workplace_monitoring"),
    ],
)  # fmt: skip
def test_a_value_is_read_whole_or_not_at_all(policy: Policy, attribute: str, value: str) -> None:
    gate = Gate(policy, Consents([consent(0)]))
    (code,) = codes(gate, face(1, **{attribute: value}))
    name = "age_band" if attribute == "ageband" else attribute
    assert code == f"{name}_unknown"


def test_the_gate_ends_what_says_whose_consent_counts(policy: Policy) -> None:
    ((_, allowed),) = Gate(policy, Consents([consent(0)])).batch(pseudonymous(text(1)))
    assert not {"person_ref", "person_fold"} & set(allowed.schema.names)


def test_governance_becomes_ledger_rows(policy: Policy) -> None:
    modes = ["text", "voice"]
    given = {"granted": True, "purposes": ["safety", "research"], "modalities": modes}
    ((tag, rows),) = Gate(policy, Consents()).batch(pseudonymous(record("consent", 1, given)))
    assert tag == LEDGER
    assert rows.schema == CONSENT_LEDGER
    pairs = [(r["purpose"], r["modality"], r["action"]) for r in rows.to_pylist()]
    assert pairs == [(p, m, "granted") for p in ("research", "safety") for m in modes]
    assert len(set(rows["ledger_id"].to_pylist())) == 4


def test_a_grant_holds_for_what_is_known_and_says_what_is_not(policy: Policy) -> None:
    given = {"granted": True, "purposes": ["selling", "safety"], "modalities": ["Text", "face"]}
    found = dict(Gate(policy, Consents()).batch(pseudonymous(record("consent", 7, given))))
    pairs = [(r["purpose"], r["modality"]) for r in found[LEDGER].to_pylist()]
    assert pairs == [("safety", "face")], "permission is read strictly"
    (letter,) = found[DEAD].to_pylist()
    assert (letter["code"], letter["topic"], letter["offset"]) == (
        "grant_unknown_name", "governance.consent", 7,
    )  # fmt: skip
    assert "selling" not in str(letter)


def test_a_policy_that_is_wrong_says_so(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("version: x\nregions: []\npurposes: []\nrules: [{verdict: refuse, article: a}]")
    with pytest.raises(AffectstreamError, match="not a policy table"):
        read_policy(path)
    whole = (POLICIES / "gate.yaml").read_text(encoding="utf-8")
    for old, new, said in (
        ("    regions: [EU]", "    regions: [Eu]", r"rule 1 names \['Eu'\]: list it in regions"),
        (
            "    scenarios: [game, social, learning, support, work, intimacy]\n",
            "",
            "must list its scenarios",
        ),
        ("age_bands: [child, teen, adult, unknown]\nm", "age_bands: [adult]\nm", "in age_bands"),
        (
            "    age_bands: [child, teen, unknown]\n",
            "    age_bands: []\n",
            "age_bands is empty and matches nothing: leave it out to match all, or list",
        ),
        (
            "    since: 2025-02-02\n",
            "    since: 2025-02-02\n    until: 2025-02-01\n",
            "since 2025-02-02 is after until 2025-02-01: swap",
        ),
        (
            "\nmodalities: [text, voice, face,",
            "\nmodalities: [text, voice, fcae,",
            "modalities lists 'fcae', which is none: did you mean `face`",
        ),
        ("\nmodalities: [", "\nmodalities: ['', ", "modalities lists '', which is none: name one"),
        ("\nrules:", "\njudged_as: {'': game}\nrules:", "a scenario has an empty name"),
        ("\nrules:", "\njudged_as: {school: game}\nrules:", "'school' are read as learning"),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new))
        with pytest.raises(AffectstreamError, match=said):
            read_policy(path)


RULE = {
    "verdict": "refuse", "code": "purpose_prohibited", "article": "a law of one month",
    "since": dt.date(2026, 9, 1), "until": dt.date(2026, 9, 30),
}  # fmt: skip


@pytest.mark.parametrize(
    ("day", "article"),
    [
        (dt.date(2026, 8, 31), None),
        (dt.date(2026, 9, 1), RULE["article"]),
        (dt.date(2026, 9, 30), RULE["article"]),
        (dt.date(2026, 10, 1), None),
    ],
)
def test_a_rule_holds_on_its_first_and_last_day(
    policy: Policy, day: dt.date, article: str | None
) -> None:
    rules = [RULE, *(rule.model_dump() for rule in policy.rules)]
    dated = Policy.model_validate(policy.model_dump() | {"rules": rules})
    verdict = dated.judge(Case("avatar_mirroring", "US", "social", "adult", "text", day))
    assert verdict == (article and (RULE["code"], article))


def test_context_goes_on_by_the_consent_to_text(policy: Policy) -> None:
    """It is no biometric: a yes to the voice says nothing of it."""
    said = {"granted": True, "purposes": ["avatar_mirroring"]}
    for modality, code in (("text", None), ("voice", "consent_unknown")):
        given = pseudonymous(record("consent", 0, said | {"modalities": [modality]}))
        gate = Gate(policy, Consents([ledger_rows(given, PURPOSES)[0]]))
        assert codes(gate, record("context", 1, {"activity": "duel"})) == [code]
        assert codes(gate, text(2)) == [code]


def test_a_biometric_rule_holds_for_every_modality_about_the_body() -> None:
    biometric = Rule(verdict="refuse", article="a", code="minor_biometric", biometric=True)
    policy = read_policy(POLICIES / "gate.yaml")
    changes = {"rules": (biometric,), "modalities": policy.modalities | {"gaze"}}
    policy = policy.model_copy(update=changes)
    refused = {
        modality: policy.judge(
            Case("safety", "EU", "game", "adult", modality, dt.date(2026, 9, 1))
        )[0]
        for modality in (*MODALITIES, "context", "gaze")
    }
    found = {name for name, code in refused.items() if code == "minor_biometric"}
    assert found == {"voice", "face", "motion", "gaze"}, "a name that is not known counts as such"


@pytest.mark.parametrize("scenario", [None, ""])
def test_an_event_without_a_scenario_is_judged_as_none(
    policy: Policy, scenario: str | None
) -> None:
    lax = policy.model_copy(update={"judged_as": {"": "game"}})
    case = Case("safety", "US", scenario, "adult", "text", dt.date(2026, 9, 1))
    assert lax.judge(case) == (RefusalCode.SCENARIO_UNKNOWN, "no rule for this scenario")


def test_cases_that_differ_are_judged_apart_within_a_batch(policy: Policy) -> None:
    """Of two in one batch neither is allowed, or refused, for the other."""
    gate = Gate(policy, Consents([consent(0)]))
    found = codes(
        gate,
        face(1),
        face(2, purpose="workplace_monitoring"),
        face(3, region="MARS"),
        face(4, scenario="casino"),
        face(5, ageband="child"),
        face(6, ageband="senior"),
        face(7),
    )
    assert found == [
        None, "purpose_prohibited", "region_unknown", "scenario_unknown", "minor_biometric",
        "age_band_unknown", None,
    ]  # fmt: skip
    rules = [RULE, *(rule.model_dump() for rule in policy.rules)]
    dated = Policy.model_validate(policy.model_dump() | {"rules": rules})
    next_day = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)
    last = next_day - dt.timedelta(seconds=1)
    days = [
        text(n, time=when.isoformat()) | {"timestamp": when}
        for n, when in enumerate((next_day, last, next_day))
    ]
    assert codes(Gate(dated, Consents([consent(0)])), *days) == [None, "purpose_prohibited", None]


def granted_to_alice() -> Consents:
    return Consents([consent(0)])


def test_the_graph_parts_what_may_go_on_from_refusals_and_the_ledger() -> None:
    batches = [
        pseudonymous(text(1), text(2, subject="stranger"), text(3)),
        pseudonymous(record("erasure", 4, {"reason": "left"})),
    ]
    p = beam.Pipeline(runner=FnApiRunner())
    out = (
        p
        | beam.Create(batches).with_output_types(pa.RecordBatch)
        | GateByPolicy(policy=POLICIES / "gate.yaml", consents=granted_to_alice)
    )
    for tag, name, wanted in (
        (MAIN, "offset", [1, 3]),
        (REFUSED, "code", ["consent_unknown"]),
        (LEDGER, "action", ["erasure_requested"]),
        (DEAD, "code", []),
    ):
        values = out[tag] | f"{tag}s" >> beam.FlatMap(_column, name)
        assert_that(values, equal_to(wanted), label=tag)
    p.run().wait_until_finish()


def _column(batch: pa.RecordBatch, name: str) -> list[Any]:
    return batch[name].to_pylist()
