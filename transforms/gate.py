"""GateByPolicy: law and consent before any inference; what is unknown is refused."""

import datetime as dt
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import fill_schema, number_distinct, take_rows
from schemas.errors import RefusalCode
from schemas.events import BEHIND_US, DAY_US, GOVERNANCE_KINDS, PERSON_COLUMNS, SCENE_CLASSES
from schemas.ids import stable_ids
from schemas.stages import DEAD, LEDGER, MAIN, REFUSED, Stage, Tagged, kind_of
from schemas.tables import REFUSALS, on_its_way
from transforms.gating.bands import stricter
from transforms.gating.consent import GRANTED, WITHDRAWN, Consents, Verdicts, ledger_rows
from transforms.gating.legible import are_legible
from transforms.gating.policy import Policy, Verdict, read_policy
from transforms.gating.rules import Case
from transforms.gating.unlisted import hide_subjects_elsewhere, hide_unlisted
from transforms.stage import Outputs, run_stage

NO_CONSENT = "GDPR Art. 6 and 9"
TO_BE_FORGOTTEN = "GDPR Art. 17"
_WHOSE = ("subject_ref", "session_ref", "scene_id")
_CONSENT_OF = {"context": "text"}  # scene context is no biometric: the consent to text covers it
_ENDING = [*(name for name, _ in (*PERSON_COLUMNS, SCENE_CLASSES)), "recorded_at"]
"""Columns that only the gate looks at."""
_EPOCH: Final = dt.date(1970, 1, 1)
_BEFORE_ALL: Final = -(2**62)


class Asked(Protocol):
    """What knows the consents: the ledger of a log, or one that follows its topic."""

    def consult(self, judge: Callable[[Consents], Verdicts]) -> Verdicts: ...
    def erased_until(self, events: pa.RecordBatch) -> np.ndarray: ...


class Gate:
    """Policy and consents together; stateless, so media never enter a keyed shuffle."""

    def __init__(self, policy: Policy, consents: Asked) -> None:
        self._policy, self._consents = policy, consents
        self._verdict: Callable[[Case], Verdict] = functools.lru_cache(4_096)(policy.verdict)

    def batch(self, events: pa.RecordBatch) -> Tagged:
        """Split a pseudonymous batch into what may go on and REFUSALS rows.

        Consent and erasure events are not gated: they become CONSENT_LEDGER rows, and dead letters
        of what does not count. What goes on no longer says whose consent counts, and has the age
        band as which it was judged.
        """
        kind = kind_of(events)
        if kind in GOVERNANCE_KINDS:
            erased = self._consents.erased_until(events)
            events = take_rows(events, _recorded_us(events) > erased)
            rows, ignored = ledger_rows(events, self._policy.purposes)
            return [
                (LEDGER, hide_unlisted(rows, self._policy)),
                *([] if ignored is None else [(DEAD, ignored)]),
            ]
        judged = self._consents.consult(functools.partial(self.judge, events))
        codes, articles, bands = judged
        refused = codes != None  # noqa: E711  element-wise
        place = events.schema.get_field_index("age_band")
        events = events.set_column(place, events.schema.field(place), bands)
        allowed = events.drop_columns(_ENDING)
        if not refused.any():
            return [(MAIN, allowed)]
        rows = take_rows(events, refused)
        gone = codes[refused] == RefusalCode.ERASED
        if gone.any():
            rows = _without_person(rows, gone)
        return [
            (MAIN, take_rows(allowed, ~refused)),
            (REFUSED, self._refusals(rows, kind, codes[refused], articles[refused])),
        ]

    def judge(self, events: pa.RecordBatch, consents: Consents) -> Verdicts:
        """Judge each event as of its time, and as of its record's time where that is long after it.

        So what is sent with an old time neither uses a consent that was withdrawn since nor comes
        before a law. A log holds the times of its records: a replay judges as the live job did.
        """
        found = self._judge_as_of(events, consents)
        late = _micros(events, "recorded_at") - _micros(events, "event_time") > BEHIND_US
        late &= found.codes == None  # noqa: E711  element-wise
        if not late.any():
            return found
        rows = take_rows(events, late)
        place = rows.schema.get_field_index("event_time")
        rows = rows.set_column(place, rows.schema.field(place), rows["recorded_at"])
        found.codes[late], found.articles[late], bands = self._judge_as_of(rows, consents)
        mask = pa.array(late)
        bands = stricter(found.bands.filter(mask), bands)
        return found._replace(bands=pc.replace_with_mask(found.bands, mask, bands))

    def _judge_as_of(self, events: pa.RecordBatch, consents: Consents) -> Verdicts:
        """Judge by consent and policy as of ``event_time``; the policy's refusal comes first."""
        bands = consents.bands(events)
        number, verdicts = self._by_policy(events, bands)
        codes, articles = np.full((2, events.num_rows), None, object)
        found = Verdicts(codes, articles, bands)
        lacking = self._by_consent(events, consents, number, verdicts, found)
        for code, verdict in enumerate(verdicts):
            if verdict.refusal is not None:
                same = number == code
                found.codes[same], found.articles[same] = verdict.refusal
        gone = lacking & (consents.erased_until(events) >= 0)
        found.codes[gone], found.articles[gone] = RefusalCode.ERASED, TO_BE_FORGOTTEN
        return found

    def _by_consent(
        self,
        events: pa.RecordBatch,
        consents: Consents,
        number: np.ndarray,
        verdicts: list[Verdict],
        found: Verdicts,
    ) -> np.ndarray:
        """Note in ``found`` whose consent is lacking, or another than asked; return which rows."""
        kind = kind_of(events)
        modality = _CONSENT_OF.get(kind, kind)
        needs = np.array([verdict.needs for verdict in verdicts], np.int64)[number]
        said = consents.ask(events, modality, needs)
        lacking = said != GRANTED
        if not lacking.any():
            return lacking
        found.codes[lacking] = RefusalCode.CONSENT_UNKNOWN
        found.codes[said == WITHDRAWN] = RefusalCode.CONSENT_WITHDRAWN
        found.articles[lacking] = NO_CONSENT
        wanting = lacking & (needs > 0)
        if wanting.any():  # perhaps there is a consent, though not such a one
            wanting[wanting] = consents.ask(take_rows(events, wanting), modality) == GRANTED
            found.codes[wanting] = RefusalCode.CONSENT_INSUFFICIENT
            found.articles[wanting] = [verdicts[code].basis for code in number[wanting].tolist()]
        return lacking

    def _by_policy(
        self, events: pa.RecordBatch, bands: pa.Array
    ) -> tuple[np.ndarray, list[Verdict]]:
        """Judge each distinct case once, a batch has a handful; return which one each row is."""
        kind = kind_of(events)
        scene, readings = _scene_classes(events["scene_classes"])
        days = _micros(events, "event_time") // DAY_US
        noticed = are_legible(events["notice_id"]).to_numpy(zero_copy_only=False)
        names = [events["purpose"], events["region"], events["scenario"], bands]
        apart = (days * len(readings) + scene) * 2 + noticed
        number, rows = number_distinct(*names, pa.array(apart))
        verdicts = []
        for first in rows.tolist():
            purpose, region, scenario, age_band = (column[first].as_py() for column in names)
            day = _EPOCH + dt.timedelta(days=int(days[first]))
            known = bool(noticed[first]), readings[scene[first]]
            case = Case(purpose, region, scenario, age_band or "unknown", kind, day, *known)
            verdicts.append(self._verdict(case))
        return number, verdicts

    def _refusals(
        self, rows: pa.RecordBatch, kind: str, codes: np.ndarray, articles: np.ndarray
    ) -> pa.RecordBatch:
        columns = {
            "modality": pa.repeat(kind, rows.num_rows),
            "code": pa.array([str(code) for code in codes]),
            "article": pa.array(articles, pa.string()),
            "policy_version": pa.repeat(self._policy.version, rows.num_rows),
            "event_date": rows["event_time"].cast(pa.date32()),
        }
        refusals = fill_schema(on_its_way(REFUSALS), columns, rows)
        return hide_unlisted(hide_subjects_elsewhere(refusals, self._policy.regions), self._policy)


def _micros(events: pa.RecordBatch, name: str) -> np.ndarray:
    """Return times in µs; where there is none, one before all others."""
    times = events[name].cast(pa.int64())
    return pc.fill_null(times, _BEFORE_ALL).to_numpy(zero_copy_only=False)


def _scene_classes(scenes: pa.Array) -> tuple[np.ndarray, list[frozenset[str]]]:
    """Return the number of each row's protected classes, and the distinct sets of them."""
    readings = [
        frozenset[str](),
        *(frozenset(names.split()) for names in scenes.dictionary.to_pylist()),
    ]
    return pc.fill_null(scenes.indices, -1).to_numpy() + 1, readings


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
    ``scenarios`` is the scenario policy, which may say as what its scenarios are judged, and
    ``evidence`` a file of what is on record for the policy's exceptions and duties.
    """

    def __init__(
        self,
        *,
        policy: Path,
        consents: Callable[[], Asked],
        scenarios: Path | None = None,
        evidence: Path | None = None,
    ) -> None:
        super().__init__()
        self._policy = functools.partial(read_policy, policy, scenarios, evidence)
        self._consents = consents

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        make = functools.partial(_load, self._policy, self._consents)
        return run_stage(pcoll, Stage.GATE, make, REFUSED, LEDGER)


def _load(
    policy: Callable[[], Policy], consents: Callable[[], Asked]
) -> Callable[[pa.RecordBatch], Tagged]:
    return Gate(policy(), consents()).batch
