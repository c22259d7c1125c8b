"""GateByPolicy: law and consent before any inference; what is unknown is refused."""

import datetime as dt
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError, model_validator

from schemas.arrow import distinct, filled, take_rows
from schemas.errors import AffectstreamError, RefusalCode
from schemas.events import GOVERNANCE_KINDS, PERSON_COLUMNS
from schemas.modalities import MODALITIES
from schemas.stages import DEAD, LEDGER, MAIN, REFUSED, Stage, Tagged, kind_of
from schemas.strict import Frozen, first_problem, read_yaml
from schemas.tables import REFUSALS, on_its_way
from transforms.deciding.scenarios import read_scenarios
from transforms.gating.consent import GRANTED, WITHDRAWN, ledger_rows
from transforms.stage import Outputs, run_stage

NO_NOTICE = "EU AI Act Art. 50(3)"
NO_CONSENT = "GDPR Art. 6 and 9"
_CONSENT_OF = {"context": "text"}  # scene context is no biometric: the consent to text covers it


_DIMENSIONS = ("purposes", "regions", "scenarios", "age_bands", "modalities")


class Rule(Frozen):
    """One row of the policy table.

    A condition that is None matches everything that the table knows; ``biometric: true`` matches
    the modalities that are about the body, and new ones with them. A rule that allows names all of
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
        scenario = self.judged_as.get(case.scenario or "", case.scenario)
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
    biometric = case.modality in MODALITIES and MODALITIES[case.modality].biometric
    if rule.biometric not in (None, biometric):
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


class Asked(Protocol):
    """What knows the consents: the ledger of a log, or one that follows its topic."""

    def ask(self, events: pa.RecordBatch, modality: str) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Gate:
    """Policy and consents together; stateless, so media never enter a keyed shuffle."""

    policy: Policy
    consents: Asked

    def batch(self, events: pa.RecordBatch) -> Tagged:
        """Split a pseudonymous batch into what may go on and REFUSALS rows.

        Consent and erasure events are not gated: they become CONSENT_LEDGER rows, and dead letters
        of names that nobody knows. What goes on no longer says whose consent counts.
        """
        kind = kind_of(events)
        if kind in GOVERNANCE_KINDS:
            rows, ignored = ledger_rows(events, self.policy.purposes)
            return [(LEDGER, rows), *([] if ignored is None else [(DEAD, ignored)])]
        codes = np.full(events.num_rows, None, object)
        articles = np.full(events.num_rows, None, object)
        self._by_consent(events, kind, codes, articles)
        self._by_policy(events, kind, codes, articles)
        notice = pc.utf8_trim_whitespace(events["notice_id"])
        unnoticed = pc.fill_null(pc.equal(notice, ""), True)
        mask = unnoticed.to_numpy(zero_copy_only=False)
        codes[mask], articles[mask] = RefusalCode.NOTICE_MISSING, NO_NOTICE
        refused = codes != None  # noqa: E711  element-wise
        allowed = events.drop_columns([name for name, _ in PERSON_COLUMNS])
        if not refused.any():
            return [(MAIN, allowed)]
        rows = take_rows(events, refused)
        return [
            (MAIN, take_rows(allowed, ~refused)),
            (REFUSED, self._refusals(rows, kind, codes[refused], articles[refused])),
        ]

    def _by_consent(
        self, events: pa.RecordBatch, kind: str, codes: np.ndarray, articles: np.ndarray
    ) -> None:
        modality = _CONSENT_OF.get(kind, kind)
        said = self.consents.ask(events, modality)
        codes[said == WITHDRAWN] = RefusalCode.CONSENT_WITHDRAWN
        codes[(said != WITHDRAWN) & (said != GRANTED)] = RefusalCode.CONSENT_UNKNOWN
        articles[said != GRANTED] = NO_CONSENT

    def _by_policy(
        self, events: pa.RecordBatch, kind: str, codes: np.ndarray, articles: np.ndarray
    ) -> None:
        """Judge each distinct case once; a batch has a handful."""
        days = events["event_time"].cast(pa.date32())
        names = ("purpose", "region", "scenario", "age_band")
        number, rows = distinct(*(events[name] for name in names), days)
        for code, first in enumerate(rows.tolist()):
            purpose, region, scenario, age_band = (events[name][first].as_py() for name in names)
            day = days[first].as_py()
            case = Case(purpose, region, scenario, age_band or "unknown", kind, day)
            if (verdict := self.policy.judge(case)) is not None:
                same = number == code
                codes[same], articles[same] = verdict

    def _refusals(
        self, rows: pa.RecordBatch, kind: str, codes: np.ndarray, articles: np.ndarray
    ) -> pa.RecordBatch:
        columns = {
            "modality": pa.repeat(kind, rows.num_rows),
            "code": pa.array([str(code) for code in codes]),
            "article": pa.array(articles, pa.string()),
            "policy_version": pa.repeat(self.policy.version, rows.num_rows),
            "event_date": rows["event_time"].cast(pa.date32()),
        }
        return filled(on_its_way(REFUSALS), columns, rows)


class GateByPolicy(beam.PTransform):
    """Pseudonymous batches → allowed session batches, refusals, the ledger's rows, dead letters.

    ``consents`` is called once per worker, before the first event, and reads the ledger to its end.
    ``scenarios`` is the scenario policy, which may say as what its scenarios are judged.
    """

    def __init__(
        self, *, policy: Path, consents: Callable[[], Asked], scenarios: Path | None = None
    ) -> None:
        super().__init__()
        self._policy = functools.partial(read_policy, policy, scenarios)
        self._consents = consents

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        make = functools.partial(_load, self._policy, self._consents)
        return run_stage(pcoll, Stage.GATE, make, REFUSED, LEDGER)


def _load(
    policy: Callable[[], Policy], consents: Callable[[], Asked]
) -> Callable[[pa.RecordBatch], Tagged]:
    return Gate(policy(), consents()).batch
