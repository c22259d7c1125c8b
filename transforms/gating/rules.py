"""Rows of the policy table: on which cases each of them bears, and what it says of them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import model_validator

from schemas.errors import RefusalCode
from schemas.events import CONTEXT, TOPICS
from schemas.modalities import MODALITIES
from schemas.strict import Day, Frozen, PlacedError
from transforms.gating.legible import is_legible

DIMENSIONS: Final = ("purposes", "regions", "scenarios", "age_bands", "modalities")
CONTEXT_KIND: Final = TOPICS[CONTEXT]

NEEDS: Final[Mapping[str, int]] = {"guardian": 1, "release": 2, "separate": 4}
"""What may be asked of a grant → its bit; ``gate.yaml`` says what each means."""


_END_YEAR: Final = 2100
"""Nobody sets a law, or a clock, later than that."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the policy looks at.

    ``day`` is the UTC day at whose law the case is judged, ``noticed`` whether the event says which
    notice the subject saw, ``scene_classes`` the protected classes as which its scene reads.
    """

    purpose: str | None
    region: str | None
    scenario: str | None
    age_band: str
    modality: str
    day: dt.date
    noticed: bool = True
    scene_classes: frozenset[str] = frozenset()


class Evidence(Frozen):
    """What is on record for an exception or a duty: where it can be read, and its days."""

    reference: str
    since: Day
    until: Day = dt.date.max

    @model_validator(mode="after")
    def _refers_to_something(self) -> "Evidence":
        if not self.reference.strip():
            message = "an empty reference proves nothing: name the document, or remove the row"
            raise PlacedError(message, "reference")
        _check_days(self.since, self.until)
        return self


class Conditions(Frozen):
    """Conditions of a row; one that is None matches everything that the table knows.

    ``biometric: true`` matches every modality that is not known to be non-biometric, and
    ``not_purposes`` are left to other rows: new purposes of a policy are then not.
    """

    article: str
    purposes: frozenset[str] | None = None
    not_purposes: frozenset[str] = frozenset()
    regions: frozenset[str] | None = None
    scenarios: frozenset[str] | None = None
    age_bands: frozenset[str] | None = None
    modalities: frozenset[str] | None = None
    biometric: bool | None = None
    since: Day = dt.date.min
    until: Day = dt.date.max

    @model_validator(mode="after")
    def _can_match(self) -> "Conditions":
        """A row that matches nothing would let through what it is there to refuse."""
        empty = next((n for n in DIMENSIONS if getattr(self, n) == frozenset()), None)
        if empty:
            message = (
                f"{empty} is empty and matches nothing: leave it out to match all, or list some"
            )
            raise PlacedError(message, empty)
        if not is_legible(self.article):
            message = "article is empty, and each refusal names it: write which law asks for this"
            raise PlacedError(message, "article")
        _check_days(self.since, self.until)
        return self

    def matches(self, case: Case) -> bool:
        """Return whether a case meets all conditions."""
        values = (case.purpose, case.region, case.scenario, case.age_band, case.modality)
        return self.since <= case.day <= self.until and all(map(self.admits, DIMENSIONS, values))

    def admits(self, dimension: str, value: str | None) -> bool:
        """Return whether the conditions of one of DIMENSIONS take this value."""
        named = getattr(self, dimension)
        if named is not None and value not in named:
            return False
        if dimension == "purposes":
            return value not in self.not_purposes
        if dimension == "modalities":
            return self.biometric in (None, is_biometric(str(value)))
        return True

    def names(self, dimension: str) -> frozenset[str]:
        """Return what the conditions of one of DIMENSIONS name."""
        named: frozenset[str] = getattr(self, dimension) or frozenset()
        return named | self.not_purposes if dimension == "purposes" else named


class Rule(Conditions):
    """A row of the policy table that allows or refuses.

    A rule that allows names all of its purposes, scenarios and modalities: nothing is allowed that
    nobody listed. ``noticed`` matches events with or without a notice. A rule with ``unless`` does
    not hold on days for which all of this evidence is on record.
    """

    verdict: Literal["allow", "refuse"]
    code: RefusalCode | None = None
    noticed: bool | None = None
    unless: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _verdict_is_whole(self) -> "Rule":
        if (self.verdict == "refuse") != (self.code is not None):
            message = "a refusal needs a code, and nothing else has one"
            raise ValueError(message)
        unlisted = [n for n in ("purposes", "scenarios", "modalities") if getattr(self, n) is None]
        if self.verdict == "allow" and unlisted:
            message = f"a rule that allows must list its {', '.join(unlisted)}"
            raise ValueError(message)
        if self.verdict == "allow" and self.unless:
            message = "evidence lifts a refusal: give `unless` to the rule that refuses"
            raise PlacedError(message, "unless")
        return self

    def holds(self, case: Case, evidence: Mapping[str, Evidence]) -> bool:
        """Return whether the rule decides a case that no earlier rule decides."""
        if self.noticed not in (None, case.noticed) or not self.matches(case):
            return False
        given = [evidence.get(name) for name in self.unless]
        return not given or any(
            each is None or not each.since <= case.day <= each.until for each in given
        )


class ConsentRule(Conditions):
    """A row that says what a grant must be for the cases that match: one of NEEDS."""

    needs: Literal["guardian", "release", "separate"]


def is_biometric(modality: str) -> bool:
    """Return whether it may be about the body; of a name that is not known it is taken to be."""
    if modality in MODALITIES:
        return MODALITIES[modality].biometric
    return modality != CONTEXT_KIND


def _check_days(since: dt.date, until: dt.date) -> None:
    if since > until:
        message = f"since {since} is after until {until}: swap or correct them"
        raise PlacedError(message, "since")
    if since.year >= _END_YEAR:
        message = f"no event is of the year {since.year}, so that this never holds: correct since"
        raise PlacedError(message, "since")
