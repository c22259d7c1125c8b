"""Whether a person's labelled windows may be trained on: law and consent, asked of the gate."""

import datetime as dt
from collections.abc import Mapping, Set

import numpy as np
import pyarrow as pa

from pipelines.config import Config
from pipelines.govern.erasure.people import known_regions
from pipelines.govern.erasure.spellings import landed_references, named_subjects
from pipelines.govern.ledger import landed_links, read_landed, read_tombstones
from schemas.errors import RefusalCode
from schemas.events import TIME, pseudonymous_schema
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from transforms.gate import Gate
from transforms.gating.consent import Consents
from transforms.gating.policy import read_policy
from transforms.pseudonymise import Pseudonyms

PURPOSE = "training"
_Person = tuple[str, str]
"""The references of exactly this id and of all its spellings, as the ledger has them."""
_MICROSECOND = dt.timedelta(microseconds=1)


def refusals_to_train(config: Config, windows: pa.Table, now: dt.datetime) -> list[str | None]:
    """Return for each window why it may not be trained on, a RefusalCode; None where it may.

    ``windows`` has the columns subject_ref, window_end, region, scenario, age_band and, for each
    modality, ``n_`` and its name. Every modality in a window is judged as an event of the purpose
    ``training`` that is recorded ``now``: so law and consent must allow it both at the window's
    time and today. A person whom neither the ledger nor a governance record knows by this
    reference has not consented. What the name of a scene reads as is not known any more; that it
    let the window pass for its own purpose is.
    """
    people = _people(config, set(windows["subject_ref"].to_pylist()))
    consents = Consents(read_landed(config.tables), read_tombstones(config))
    gate = Gate(read_policy(config.policy, config.scenarios, config.evidence), consents)
    found = np.full(len(windows), None, object)
    for modality in MODALITIES:
        rows = np.flatnonzero(windows[f"n_{modality}"].to_numpy() > 0)
        if len(rows):
            events = _as_events(windows.take(pa.array(rows)), modality, people, now)
            codes = gate.judge(events, consents).codes
            unsaid = found[rows] == None  # noqa: E711  element-wise
            found[rows[unsaid]] = codes[unsaid]
    unknown = [ref not in people for ref in windows["subject_ref"].to_pylist()]
    found[unknown] = RefusalCode.CONSENT_UNKNOWN
    return [None if code is None else str(code) for code in found]


def _as_events(
    windows: pa.Table, modality: str, people: Mapping[str, _Person], now: dt.datetime
) -> pa.RecordBatch:
    """Return a pseudonymous batch that asks whether these windows may be trained on."""
    count = len(windows)
    known = [people.get(ref, ("", "")) for ref in windows["subject_ref"].to_pylist()]
    exact, fold = ([each[place] for each in known] for place in (0, 1))
    last = [end - _MICROSECOND for end in windows["window_end"].to_pylist()]
    columns = {
        "subject_ref": windows["subject_ref"],
        "person_ref": pa.array(exact, pa.string()).dictionary_encode(),
        "person_fold": pa.array(fold, pa.string()).dictionary_encode(),
        "scene_classes": pa.array([""] * count).dictionary_encode(),
        "purpose": pa.repeat(PURPOSE, count),
        "event_time": pa.array(last, TIME),
        "recorded_at": pa.repeat(pa.scalar(now, TIME), count),
        "notice_id": pa.repeat("landed", count),  # none passed the gate without a notice
        **{name: windows[name] for name in ("region", "scenario", "age_band")},
    }
    schema = pseudonymous_schema(modality)
    given = pa.table(columns).combine_chunks()
    arrays = [
        given[field.name].combine_chunks().cast(field.type)
        if field.name in columns
        else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.record_batch(arrays, schema=schema)


def _people(config: Config, wanted: Set[str]) -> dict[str, _Person]:
    """Return who is known by these references: as the ledger says, or as consent records do.

    A reference under a later key is followed back to the one that the ledger has.
    """
    landed = {
        row["subject_ref"]: (row["person_ref"], row["person_fold"])
        for row in landed_references(config.tables).to_pylist()
        if row["subject_ref"] is not None
    }
    after, before = (column.to_pylist() for column in landed_links(config.tables))
    prior = dict(zip(after, before, strict=True))
    found = {}
    for ref in wanted:
        known, seen = ref, set[str]()
        while known not in landed and known in prior and known not in seen:
            seen.add(known)
            known = prior[known]
        if known in landed:
            found[ref] = landed[known]
    if lacking := wanted - found.keys():
        keys = read_keys(config.keys)
        pseudonyms, regions = Pseudonyms(keys), known_regions(config)
        for raw in sorted(named_subjects(config, keys)):
            for ref in lacking & pseudonyms.references(raw, regions):
                found[ref] = pseudonyms.person(raw)
    return found
