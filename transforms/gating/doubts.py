"""What a policy table allows though a law does not: said, since who runs it decides.

A table of one's own may be right to allow it, as where a law does not reach. So it is no error, and
nobody should find it out by accident.
"""

import datetime as dt
from collections.abc import Iterator
from itertools import product
from typing import Final

from transforms.gating.policy import Policy
from transforms.gating.rules import NEEDS, Case, is_biometric

_REASONS: Final = ("medical", "safety")
"""Purposes that Art. 5(1)(f) excepts."""
_BIOMETRIC_CONSENT: Final = (
    ("US-IL", "release", "a written release", "BIPA 740 ILCS 14/15(b)"),
    ("CN", "separate", "a consent by its own name", "PIPL Art. 29"),
)
_EACH: Final = "the law of each region that the shipped table lists"


def doubts(policy: Policy, day: dt.date) -> Iterator[str]:
    """Yield a sentence for each protection that the table lacks on a day, with a case of it."""
    judged = [(case, policy.verdict(case)) for case in _cases(policy, day)]
    allowed = [(case, verdict.needs) for case, verdict in judged if verdict.refusal is None]
    biometric = [(case, needs) for case, needs in allowed if is_biometric(case.modality)]
    banned = [
        case
        for case, _ in biometric
        if case.region == "EU"
        and case.scenario in ("learning", "work")
        and case.purpose not in _REASONS
    ]
    yield from _sentence(banned, "emotion recognition at work or school", "EU AI Act Art. 5(1)(f)")
    minors = [case for case, _ in biometric if case.age_band != "adult"]
    yield from _sentence(minors, "biometrics of people who are or may be minors", _EACH)
    alone = [c for c, needs in allowed if c.age_band == "child" and not needs & NEEDS["guardian"]]
    yield from _sentence(alone, "a child's data without a guardian's consent", _EACH)
    for region, need, what, article in _BIOMETRIC_CONSENT:
        lacking = [c for c, needs in biometric if c.region == region and not needs & NEEDS[need]]
        yield from _sentence(lacking, f"biometrics without {what}", article)


def _cases(policy: Policy, day: dt.date) -> Iterator[Case]:
    axes = (policy.purposes, policy.regions, policy.scenarios, policy.age_bands, policy.modalities)
    for purpose, region, scenario, age_band, modality in product(*map(sorted, axes)):
        yield Case(purpose, region, scenario, age_band, modality, day)


def _sentence(found: list[Case], what: str, article: str) -> Iterator[str]:
    if found:
        case = found[0]
        yield (
            f"the policy allows {what}, against {article}: {len(found):,} cases, such as "
            f"{case.purpose}, {case.region}, {case.scenario}, {case.age_band}, {case.modality}"
        )
