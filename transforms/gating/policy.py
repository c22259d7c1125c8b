"""The policy table: what may be inferred of whom, by law; its file, and its verdict on a case."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from schemas.errors import RefusalCode
from schemas.strict import Frozen, read_yaml

_DIMENSIONS = ("purposes", "regions", "scenarios", "age_bands", "modalities")


class Rule(Frozen):
    """One row of the policy table.

    A condition that is None matches everything that the table knows. A rule that allows names all
    of its purposes, scenarios and modalities: nothing is allowed that nobody listed.
    """

    verdict: Literal["allow", "refuse"]
    article: str
    code: RefusalCode | None = None
    purposes: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    scenarios: frozenset[str] | None = None
    age_bands: frozenset[str] | None = None
    modalities: frozenset[str] | None = None
    since: dt.date = dt.date.min
    until: dt.date = dt.date.max

    @model_validator(mode="after")
    def _refusal_has_code(self) -> "Rule":
        if (self.verdict == "refuse") != (self.code is not None):
            message = "a refusal needs a code, and nothing else has one"
            raise ValueError(message)
        unlisted = [n for n in ("purposes", "scenarios", "modalities") if getattr(self, n) is None]
        if self.verdict == "allow" and unlisted:
            message = f"a rule that allows must list its {', '.join(unlisted)}"
            raise ValueError(message)
        return self


class Policy(Frozen):
    """The policy table: what is known in each dimension, and rules of which the first decides."""

    version: str
    purposes: frozenset[str]
    regions: frozenset[str]
    scenarios: frozenset[str]
    age_bands: frozenset[str]
    modalities: frozenset[str]
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _rules_name_what_is_known(self) -> "Policy":
        """A rule with a misspelt name would match nothing, and what it refuses be allowed."""
        for number, rule in enumerate(self.rules):
            for dimension in _DIMENSIONS:
                unknown = (getattr(rule, dimension) or frozenset()) - getattr(self, dimension)
                if unknown:
                    message = f"rule {number + 1} names {sorted(unknown)}: list it in {dimension}"
                    raise ValueError(message)
        return self

    def judge(self, case: "Case") -> tuple[RefusalCode, str] | None:
        """Return the refusal's code and article, or None where the case is allowed."""
        for value, known, code, what in (
            (case.region, self.regions, RefusalCode.REGION_UNKNOWN, "region"),
            (case.purpose, self.purposes, RefusalCode.PURPOSE_UNKNOWN, "purpose"),
            (case.scenario, self.scenarios, RefusalCode.SCENARIO_UNKNOWN, "scenario"),
            (case.age_band, self.age_bands, RefusalCode.AGE_BAND_UNKNOWN, "age band"),
            (case.modality, self.modalities, RefusalCode.MODALITY_UNKNOWN, "modality"),
        ):
            if value not in known:
                return code, f"no rule for this {what}"
        for rule in self.rules:
            if _matches(rule, case):
                return None if rule.code is None else (rule.code, rule.article)
        return RefusalCode.PURPOSE_UNKNOWN, "no rule for this case"


@dataclass(frozen=True, slots=True)
class Case:
    """What the policy looks at."""

    purpose: str | None
    region: str | None
    scenario: str | None
    age_band: str
    modality: str
    day: dt.date


def _matches(rule: Rule, case: Case) -> bool:
    return rule.since <= case.day <= rule.until and all(
        allowed is None or value in allowed
        for allowed, value in (
            (rule.purposes, case.purpose),
            (rule.regions, case.region),
            (rule.scenarios, case.scenario),
            (rule.age_bands, case.age_band),
            (rule.modalities, case.modality),
        )
    )


def read_policy(path: Path) -> Policy:
    """Read and check a policy table."""
    return read_yaml(path, Policy, "a policy table")
