"""The policy's verdict of one case: what it says of what it does not know, and of other names."""

import datetime as dt

import pytest

from pipelines.config import POLICIES
from schemas.errors import RefusalCode
from transforms.gating.policy import Policy, read_policy
from transforms.gating.rules import Case

DAY = dt.date(2026, 12, 1)
KNOWN = Case("avatar_mirroring", "EU", "game", "adult", "voice", DAY)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(POLICIES / "gate.yaml")


def changed(**fields: str) -> Case:
    return Case(**{name: getattr(KNOWN, name) for name in KNOWN.__slots__} | fields)


@pytest.mark.parametrize(
    ("field", "code", "what"),
    [
        ("region", RefusalCode.REGION_UNKNOWN, "region"),
        ("purpose", RefusalCode.PURPOSE_UNKNOWN, "purpose"),
        ("scenario", RefusalCode.SCENARIO_UNKNOWN, "scenario"),
        ("age_band", RefusalCode.AGE_BAND_UNKNOWN, "age band"),
        ("modality", RefusalCode.MODALITY_UNKNOWN, "modality"),
    ],
)
def test_what_no_list_names_is_refused_with_what_it_is(
    policy: Policy, field: str, code: RefusalCode, what: str
) -> None:
    assert policy.judge(KNOWN) is None
    assert policy.judge(changed(**{field: "other"})) == (code, f"no rule for this {what}")


def test_a_case_that_no_rule_matches_is_refused(policy: Policy) -> None:
    none = policy.model_copy(update={"rules": ()})
    assert none.judge(KNOWN) == (RefusalCode.PURPOSE_UNKNOWN, "no rule for this case")


def test_a_scenario_of_ones_own_has_the_rules_of_the_one_that_it_is_judged_as(
    policy: Policy,
) -> None:
    own = policy.model_copy(update={"judged_as": {"escape-room": "game", "seminar": "learning"}})
    assert own.judge(changed(scenario="escape-room")) is None
    assert own.judge(changed(scenario="seminar")) == own.judge(changed(scenario="learning"))
    assert own.judge(changed(scenario="seminar")) is not None
    assert own.judge(KNOWN) is None
