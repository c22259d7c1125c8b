"""GateByPolicy: law and consent before any inference; what is unknown is refused."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import fill_schema, number_distinct, take_rows
from schemas.errors import RefusalCode
from schemas.events import GOVERNANCE_KINDS, PERSON_COLUMNS
from schemas.ids import stable_ids
from schemas.stages import DEAD, LEDGER, MAIN, REFUSED, Stage, Tagged, kind_of
from schemas.tables import REFUSALS, on_its_way
from transforms.gating.consent import GRANTED, WITHDRAWN, ledger_rows
from transforms.gating.policy import Case, Policy, read_policy
from transforms.gating.unlisted import hide_unlisted
from transforms.stage import Outputs, run_stage

NO_NOTICE = "EU AI Act Art. 50(3)"
NO_CONSENT = "GDPR Art. 6 and 9"
TO_BE_FORGOTTEN = "GDPR Art. 17"
_WHOSE = ("subject_ref", "session_ref", "scene_id")
_CONSENT_OF = {"context": "text"}  # scene context is no biometric: the consent to text covers it


class Asked(Protocol):
    """What knows the consents: the ledger of a log, or one that follows its topic."""

    def ask(self, events: pa.RecordBatch, modality: str) -> np.ndarray: ...
    def erased_until(self, events: pa.RecordBatch) -> np.ndarray: ...


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
        erased = self.consents.erased_until(events)
        if kind in GOVERNANCE_KINDS:
            events = take_rows(events, _recorded_us(events) > erased)
            rows, ignored = ledger_rows(events, self.policy.purposes)
            return [
                (LEDGER, hide_unlisted(rows, self.policy)),
                *([] if ignored is None else [(DEAD, ignored)]),
            ]
        codes = np.full(events.num_rows, None, object)
        articles = np.full(events.num_rows, None, object)
        closed = self._by_consent(events, kind, codes, articles)
        self._by_policy(events, kind, codes, articles)
        notice = pc.utf8_trim_whitespace(events["notice_id"])
        unnoticed = pc.fill_null(pc.equal(notice, ""), True)
        mask = unnoticed.to_numpy(zero_copy_only=False)
        codes[mask], articles[mask] = RefusalCode.NOTICE_MISSING, NO_NOTICE
        gone = closed & (erased >= 0)
        codes[gone], articles[gone] = RefusalCode.ERASED, TO_BE_FORGOTTEN
        refused = codes != None  # noqa: E711  element-wise
        allowed = events.drop_columns([name for name, _ in PERSON_COLUMNS])
        if not refused.any():
            return [(MAIN, allowed)]
        rows = take_rows(events, refused)
        if gone.any():
            rows = _without_person(rows, gone[refused])
        return [
            (MAIN, take_rows(allowed, ~refused)),
            (REFUSED, self._refusals(rows, kind, codes[refused], articles[refused])),
        ]

    def _by_consent(
        self, events: pa.RecordBatch, kind: str, codes: np.ndarray, articles: np.ndarray
    ) -> np.ndarray:
        """Refuse what nobody consented to; return which rows that are."""
        modality = _CONSENT_OF.get(kind, kind)
        said = self.consents.ask(events, modality)
        codes[said == WITHDRAWN] = RefusalCode.CONSENT_WITHDRAWN
        codes[(said != WITHDRAWN) & (said != GRANTED)] = RefusalCode.CONSENT_UNKNOWN
        articles[said != GRANTED] = NO_CONSENT
        return said != GRANTED

    def _by_policy(
        self, events: pa.RecordBatch, kind: str, codes: np.ndarray, articles: np.ndarray
    ) -> None:
        """Judge each distinct case once; a batch has a handful."""
        days = events["event_time"].cast(pa.date32())
        names = ("purpose", "region", "scenario", "age_band")
        number, rows = number_distinct(*(events[name] for name in names), days)
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
        return hide_unlisted(fill_schema(on_its_way(REFUSALS), columns, rows), self.policy)


def _recorded_us(events: pa.RecordBatch) -> np.ndarray:
    """Return when governance events were recorded, in µs, or else when they say they were made."""
    recorded = pc.coalesce(events["recorded_at"], events["event_time"])
    return recorded.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _without_person(events: pa.RecordBatch, gone: np.ndarray) -> pa.RecordBatch:
    """Return the rows with nothing that tells whose the marked ones are.

    A row id is hashed once more: it may have been that of a row which was erased.
    """
    hidden = {
        "event_id": stable_ids("erased", events["event_id"]),
        "content": pa.array(np.zeros(len(gone), np.int64)),
    } | {name: pa.nulls(len(gone), pa.string()) for name in _WHOSE}
    for name, instead in hidden.items():
        place = events.schema.get_field_index(name)
        column = pc.if_else(pa.array(gone), instead, events[name])
        events = events.set_column(place, events.schema.field(name), column)
    return events


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
