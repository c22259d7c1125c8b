"""The policy table: what may be inferred of whom, by law; its file, and its verdict on a case."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from schemas.errors import AffectstreamError, RefusalCode
from schemas.events import CONTEXT, TOPICS
from schemas.modalities import MODALITIES
from schemas.strict import Frozen, first_problem, read_yaml, suggest
from transforms.deciding.scenarios import check_scenario_name, read_scenarios

_DIMENSIONS = ("purposes", "regions", "scenarios", "age_bands", "modalities")
_CONTEXT = TOPICS[CONTEXT]


class Rule(Frozen):
    """One row of the policy table.

    A condition that is None matches everything that the table knows; ``biometric: true`` matches
    every modality that is not known to be non-biometric. A rule that allows names all of
    its purposes, scenarios and modalities: nothing is allowed that nobody listed.
    """

    verdict: Literal["allow", "refuse"]
    article: str
    code: RefusalCode | None = None
    purposes: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    scenarios: frozenset[str] | None = None
    age_bands: frozenset[str] | None = None
    modalities: frozenset[str] | None = None
    biometric: bool | None = None
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

    @model_validator(mode="after")
    def _can_match(self) -> "Rule":
        """A rule that matches nothing would let through what it is there to refuse."""
        empty = next((n for n in _DIMENSIONS if getattr(self, n) == frozenset()), None)
        if empty:
            message = (
                f"{empty} is empty and matches nothing: leave it out to match all, or list some"
            )
            raise ValueError(message)
        if self.since > self.until:
            message = f"since {self.since} is after until {self.until}: swap or correct them"
            raise ValueError(message)
        return self


class Policy(Frozen):
    """The policy table: what is known in each dimension, and rules of which the first decides.

    ``judged_as`` gives for scenarios that are not listed the listed one as which they are judged.
    """

    version: str
    purposes: frozenset[str]
    regions: frozenset[str]
    scenarios: frozenset[str]
    age_bands: frozenset[str]
    modalities: frozenset[str]
    rules: tuple[Rule, ...]
    judged_as: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _modalities_are_known(self) -> "Policy":
        known = {*MODALITIES, _CONTEXT}
        for unknown in sorted(self.modalities - known):
            message = f"modalities lists {unknown!r}, which is none: {suggest(unknown, known)}"
            raise ValueError(message)
        return self

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

    @model_validator(mode="after")
    def _other_scenarios_are_judged_as_listed_ones(self) -> "Policy":
        """A listed scenario that was judged as another would be out of its own rules."""
        for name, other in self.judged_as.items():
            check_scenario_name(name)
            if name in self.scenarios:
                message = f"judged_as names {name}, which has rules of its own: leave it out"
                raise ValueError(message)
            if other not in self.scenarios:
                known = ", ".join(sorted(self.scenarios))
                message = f"judged_as names {other} for {name}: name one of {known}"
                raise ValueError(message)
        return self

    def judge(self, case: "Case") -> tuple[RefusalCode, str] | None:
        """Return the refusal's code and article, or None where the case is allowed."""
        if case.scenario:  # an event without one is judged as no other
            scenario = self.judged_as.get(case.scenario, case.scenario)
            case = replace(case, scenario=scenario)
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
    if rule.biometric not in (None, _is_biometric(case.modality)):
        return False
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


def _is_biometric(modality: str) -> bool:
    """Return whether it may be about the body; of a name that is not known it is taken to be."""
    if modality in MODALITIES:
        return MODALITIES[modality].biometric
    return modality != _CONTEXT


def read_policy(path: Path, scenarios: Path | None = None) -> Policy:
    """Read and check a policy table, with the ``judged_as`` of a scenario policy."""
    policy = read_yaml(path, Policy, "a policy table")
    judged_as = read_scenarios(scenarios).judged_as if scenarios else {}
    if not judged_as:
        return policy
    given = policy.model_dump() | {"judged_as": {**policy.judged_as, **judged_as}}
    try:
        return Policy.model_validate(given)
    except ValidationError as error:
        message = f"{scenarios} does not fit {path}: {first_problem(error)}"
        raise AffectstreamError(message) from error
