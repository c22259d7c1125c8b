"""What law and consent cost the stream: ``python -m infra.bench.governance policy``.

The ledger has 800,000 rows of 100,000 people, as two purposes and four modalities make of one grant
each. The gate judges the texts and motions of a benchmark log, all of them lawful.
"""

import datetime as dt
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.config import Config
from pipelines.govern.ledger import read_ledger
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.events import CODED, PERSON_COLUMNS, TIME
from schemas.keys import read_keys, write_keys
from schemas.modalities import MODALITIES
from schemas.stages import MAIN, kind_of
from schemas.tables import CONSENT_LEDGER
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.gate import Gate
from transforms.gating.consent import GRANTED, Consents
from transforms.gating.policy import read_policy
from transforms.pseudonymise import Pseudonyms
from transforms.sources.recorded import log_files, read_records

PEOPLE = 100_000
EVENTS = 200_000
PURPOSES = ("avatar_mirroring", "recommendation")
_NOW = dt.datetime(2026, 9, 1, 10, tzinfo=dt.UTC)


def measure(folder: Path) -> dict[str, float]:
    """Return the start and the growth of a view of 800,000 ledger rows, and the gate's rate."""
    ledger = ledger_of(np.arange(PEOPLE))
    starts = [_seconds(lambda: Consents([ledger])) for _ in range(5)]
    consents = Consents([ledger])
    grown, asked = [], []
    for person in range(PEOPLE, PEOPLE + 50):
        rows, question = ledger_of(np.array([person])), question_of(person)
        grown.append(_seconds(lambda rows=rows: consents.add(rows)))
        asked.append(_seconds(lambda question=question: consents.ask(question, "text")))
        if consents.ask(question, "text").tolist() != [GRANTED]:
            message = "a grant that was added does not count"
            raise RuntimeError(message)
    return {
        "consents_start_800k_s": statistics.median(starts),
        "consents_add_grant_to_800k_ms": 1000 * statistics.median(grown),
        "consents_ask_after_it_ms": 1000 * statistics.median(asked),
        "gate_events_per_s": gate_rate(folder),
    }


def gate_rate(folder: Path) -> float:
    """Return how many events a second the gate judges on one core, median of nine rounds."""
    write_keys(folder / "keys.yaml")
    log = write_bench_log(folder / "log", EVENTS)
    config = Config(log=log.folder, tables=folder / "tables", keys=folder / "keys.yaml")
    keys = read_keys(config.keys)
    pseudonyms, ids = Pseudonyms(keys), EventIds(keys)
    batches = [
        pseudonyms.batch(events)
        for path in log_files(log.folder)
        for raw in read_records(path)
        for tag, events in decode_batch(raw, ids)
        if tag == MAIN and events.num_rows and kind_of(events) in MODALITIES
    ]
    gate = Gate(read_policy(config.policy, config.scenarios), Consents(read_ledger(config)))

    def judge() -> None:
        for batch in batches:
            gate.batch(batch)

    judge()
    return sum(batch.num_rows for batch in batches) / statistics.median(
        _seconds(judge) for _ in range(9)
    )


def ledger_of(people: np.ndarray) -> pa.RecordBatch:
    """Return the CONSENT_LEDGER rows of one grant by each of these people."""
    each = len(PURPOSES) * len(MODALITIES)
    refs = pa.array(_refs(people)).take(pa.array(np.repeat(np.arange(len(people)), each)))
    rows = len(refs)
    purposes, modalities = np.meshgrid(PURPOSES, list(MODALITIES), indexing="ij")
    columns = {
        "purpose": pa.array(np.tile(purposes.ravel(), len(people)).tolist()),
        "modality": pa.array(np.tile(modalities.ravel(), len(people)).tolist()),
        "action": pa.repeat("granted", rows),
        **dict.fromkeys(("event_time", "recorded_at"), pa.repeat(pa.scalar(_NOW, TIME), rows)),
        "notice_id": pa.repeat("notice-1", rows),
        "event_date": pa.repeat(pa.scalar(_NOW.date()), rows),
        "region": pa.repeat("US", rows),
        **dict.fromkeys(
            ("ledger_id", "event_id", "subject_ref", "person_ref", "person_fold"), refs
        ),
    }
    absent = {
        field.name: pa.nulls(rows, field.type)
        for field in CONSENT_LEDGER
        if field.name not in columns
    }
    given = columns | absent
    return pa.record_batch([given[name] for name in CONSENT_LEDGER.names], schema=CONSENT_LEDGER)


def question_of(person: int) -> pa.RecordBatch:
    """Return what the consents look at of a person's event."""
    ref = pa.array(_refs(np.array([person]))).cast(CODED)
    columns = dict.fromkeys([name for name, _ in PERSON_COLUMNS], ref)
    told = {"purpose": pa.array(PURPOSES[:1]), "event_time": pa.array([_NOW], TIME)}
    return pa.record_batch(columns | told)


def _refs(people: np.ndarray) -> list[str]:
    return [f"{person:032x}" for person in people.tolist()]


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started
