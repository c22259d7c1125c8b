"""The policy table: what may be inferred of whom, by law; its file, and its verdict on a case."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import Field, ValidationError, field_validator, model_validator

from schemas.errors import AffectstreamError, RefusalCode
from schemas.modalities import MODALITIES
from schemas.strict import Frozen, PlacedError, explain_invalid, read_yaml, suggest
from transforms.deciding.scenarios import explain_scenario_name, read_scenarios
from transforms.decoding.aliases import aliases, is_region_code, known_name
from transforms.gating.classes import classes_of, explain_judged_as, protected_classes
from transforms.gating.coverage import check_order
from transforms.gating.legible import explain_illegible, is_legible
from transforms.gating.rules import (
    CONTEXT_KIND,
    DIMENSIONS,
    NEEDS,
    Case,
    ConsentRule,
    Evidence,
    Rule,
)

_COUNTRY: Final = re.compile(r"[A-Z]{2}")  # as in ISO 3166-1
_ATTRIBUTE: Final = {
    "purposes": "purpose",
    "regions": "region",
    "scenarios": "scenario",
    "age_bands": "ageband",
}
"""Dimension → the attribute of events that is read by the table of other spellings."""


Refusal = tuple[RefusalCode, str]
"""Code and article."""
_UNNOTICED: Final[Refusal] = (RefusalCode.NOTICE_MISSING, "the subject saw no notice")
"""Of a case that a rule would allow: no policy allows what nobody was told of."""


class Verdict(NamedTuple):
    """What the policy says of a case: refusal and article, or None; and what consent it asks for.

    ``needs`` are bits of NEEDS, ``basis`` the articles that ask for them.
    """

    refusal: Refusal | None
    needs: int
    basis: str


class Policy(Frozen):
    """The policy table: what is known in each dimension, and rules of which the first decides.

    ``consent`` says what grants have to be. ``judged_as`` gives for scenarios that are not listed
    the listed one as which they are judged; ``evidence`` is what is on record for ``unless``.
    """

    version: str
    purposes: frozenset[str]
    regions: frozenset[str]
    scenarios: frozenset[str]
    age_bands: frozenset[str]
    modalities: frozenset[str]
    rules: tuple[Rule, ...]
    consent: tuple[ConsentRule, ...]
    judged_as: Mapping[str, str] = Field(default_factory=dict)
    evidence: Mapping[str, Evidence] = Field(default_factory=dict)

    @field_validator("version")
    @classmethod
    def _refusals_name_a_version(cls, given: str) -> str:
        if not is_legible(given):
            message = "version is empty, and each refusal names it: write one, such as gate-2026-12"
            raise ValueError(message)
        if problem := explain_illegible(given):
            message = f"{problem}: write a version such as gate-2026-12"
            raise ValueError(message)
        return given

    @model_validator(mode="after")
    def _lists_are_what_events_can_have(self) -> "Policy":
        """A name that no event has once it was read would have no effect, and look as if it had."""
        known = {*MODALITIES, CONTEXT_KIND}
        for unknown in sorted(self.modalities - known):
            message = f"modalities lists {unknown!r}, which is none: {suggest(unknown, known)}"
            raise PlacedError(message, "modalities")
        bands = set(aliases("ageband").values())
        for unknown in sorted(self.age_bands - bands):
            message = f"age_bands lists {unknown!r}, which is none: {suggest(unknown, bands)}"
            raise PlacedError(message, "age_bands")
        for dimension, attribute in _ATTRIBUTE.items():
            for name in sorted(getattr(self, dimension)):
                if (read_as := known_name(attribute, name)) not in (None, name):
                    message = f"events of {name!r} are read as {read_as}: write `{read_as}`"
                    raise PlacedError(message, dimension)
        regions = set(aliases("region").values())
        for unknown in sorted(self.regions - regions):
            part = unknown == unknown.upper() and is_region_code(unknown)
            if not part and not _COUNTRY.fullmatch(unknown):
                message = (
                    f"regions lists {unknown!r}, which is neither of aliases.yaml nor an ISO 3166 "
                    f"code such as JP: {suggest(unknown, regions)}"
                )
                raise PlacedError(message, "regions")
        return self

    @model_validator(mode="after")
    def _rules_name_what_is_known(self) -> "Policy":
        """A rule with a misspelt name would match nothing, and what it refuses be allowed."""
        if not self.rules:
            message = "there is no rule, so that everything would be refused: write one that allows"
            raise PlacedError(message, "rules")
        for part in ("rules", "consent"):
            for number, rule in enumerate(getattr(self, part)):
                for dimension in DIMENSIONS:
                    unknown = rule.names(dimension) - getattr(self, dimension)
                    if unknown:
                        what = f"rule {number + 1}" if part == "rules" else f"consent {number + 1}"
                        message = f"{what} names {sorted(unknown)}: list it in {dimension}"
                        raise PlacedError(message, part, number, dimension)
        check_order(self.rules, {name: getattr(self, name) for name in DIMENSIONS})
        return self

    @model_validator(mode="after")
    def _other_scenarios_are_judged_as_listed_ones(self) -> "Policy":
        """A listed scenario that was judged as another would be out of its own rules."""
        for name, other in self.judged_as.items():
            if problem := self._explain_judged_as(name, other):
                raise PlacedError(problem, "judged_as", name)
        return self

    def _explain_judged_as(self, name: str, other: str) -> str | None:
        if problem := explain_scenario_name(name):
            return problem
        if name in self.scenarios:
            return f"judged_as names {name}, which has rules of its own: leave it out"
        if other not in self.scenarios:
            known = ", ".join(sorted(self.scenarios))
            return f"judged_as names {other} for {name}: name one of {known}"
        return explain_judged_as(name, other)

    @model_validator(mode="after")
    def _evidence_is_asked_for(self) -> "Policy":
        asked = {name for rule in self.rules for name in rule.unless}
        for name in sorted(self.evidence.keys() - asked):
            message = f"no rule asks for the evidence {name!r}: {suggest(name, asked)}"
            raise PlacedError(message, "evidence", name)
        return self

    def judge(self, case: Case) -> Refusal | None:
        """Return the refusal's code and article, or None where the case is allowed.

        A case whose scenario, purpose or scene reads as a protected class is judged as the class's
        scenario besides its own. Where both are refused the earlier rule says why.
        """
        if case.scenario:  # an event without one is judged as no other
            scenario = self.judged_as.get(case.scenario, case.scenario)
            case = replace(case, scenario=scenario)
        found = filter(None, map(self._judge_as, self._readings(case)))
        first = min(found, default=None, key=lambda refused: refused[0])
        return None if first is None else first[1]

    def verdict(self, case: Case) -> Verdict:
        """Return what ``judge`` says, and what consent the case needs."""
        asked = [rule for rule in self.consent if rule.matches(case)]
        needs = sum({NEEDS[rule.needs] for rule in asked})
        basis = dict.fromkeys(rule.article for rule in asked)
        return Verdict(self.judge(case), needs, "; ".join(basis))

    def _readings(self, case: Case) -> Iterator[Case]:
        """Yield the case as it claims to be, and as what it reads as."""
        yield case
        if case.scenario not in self.scenarios:
            return  # it is refused as it is
        labels = case.scene_classes | classes_of(case.scenario) | classes_of(case.purpose)
        for label in sorted(labels):
            yield replace(case, scenario=protected_classes()[label].scenario)

    def _judge_as(self, case: Case) -> tuple[int, Refusal] | None:
        """Return the number of the rule that refuses a case, -1 where none is about it, and why."""
        for value, known, code, what in (
            (case.region, self.regions, RefusalCode.REGION_UNKNOWN, "region"),
            (case.purpose, self.purposes, RefusalCode.PURPOSE_UNKNOWN, "purpose"),
            (case.scenario, self.scenarios, RefusalCode.SCENARIO_UNKNOWN, "scenario"),
            (case.age_band, self.age_bands, RefusalCode.AGE_BAND_UNKNOWN, "age band"),
            (case.modality, self.modalities, RefusalCode.MODALITY_UNKNOWN, "modality"),
        ):
            if value not in known:
                prohibited = self._judge_unlisted_purpose(case) if what == "purpose" else None
                return prohibited or (-1, (code, f"no rule for this {what}"))
        for number, rule in enumerate(self.rules):
            if rule.holds(case, self.evidence):
                if rule.code is not None:
                    return number, (rule.code, rule.article)
                return None if case.noticed else (number, _UNNOTICED)
        return -1, (RefusalCode.PURPOSE_UNKNOWN, "no rule for this case")

    def _judge_unlisted_purpose(self, case: Case) -> tuple[int, Refusal] | None:
        """Return why the prohibited purpose is refused that this one reads as, if it does."""
        for label in sorted(classes_of(case.purpose)):
            if (purpose := protected_classes()[label].purpose) in self.purposes:
                return self._judge_as(replace(case, purpose=purpose))
        return None


class _EvidenceFile(Frozen):
    evidence: Mapping[str, Evidence]


def read_policy(path: Path, scenarios: Path | None = None, evidence: Path | None = None) -> Policy:
    """Read and check a policy table, with the ``judged_as`` of a scenario policy and the evidence.

    Raises:
        AffectstreamError: a file is not what it should be, or does not fit the table; the message
            names file and line.
    """
    policy = read_yaml(path, Policy, "a policy table")
    if scenarios is not None and (judged_as := read_scenarios(scenarios).judged_as):
        policy = _extended(policy, path, scenarios, "judged_as", judged_as)
    if evidence is not None:
        given = read_yaml(evidence, _EvidenceFile, "a file of evidence").evidence
        policy = _extended(policy, path, evidence, "evidence", given)
    return policy


def _extended(
    policy: Policy, path: Path, other: Path, name: str, more: Mapping[str, Any]
) -> Policy:
    """Return the policy with what another file adds to one of its mappings."""
    given = policy.model_dump() | {name: {**getattr(policy, name), **more}}
    try:
        return Policy.model_validate(given)
    except ValidationError as error:
        message = f"{other} does not fit {path}: {explain_invalid(error, other)}"
        raise AffectstreamError(message) from error
