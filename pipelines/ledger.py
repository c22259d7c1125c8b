"""The consent ledger as a run sees it: what is landed, and what its log says."""

import functools
from collections.abc import Iterable

import pyarrow as pa
from deltalake import DeltaTable

from pipelines.config import Config
from schemas.events import GOVERNANCE, kind_of
from schemas.tables import CONSENT_LEDGER, Root
from transforms.consent import Consents, ledger_rows
from transforms.decode import decode_batch
from transforms.isolate import Isolation
from transforms.log import read_topics
from transforms.pseudonymise import Pseudonyms, read_keys
from transforms.stage import MAIN, Tagged
from transforms.validate import validate_batch


def read_ledger(config: Config) -> list[pa.RecordBatch]:
    """Return the landed CONSENT_LEDGER rows and those of the log's own consent records.

    Read to the end before the first event, so a verdict does not hang on the order of the log.
    """
    pseudonyms = Pseudonyms(read_keys(config.keys))
    return [
        *landed(config.tables),
        *ledger_of(read_topics(config.recorded, [*GOVERNANCE]), pseudonyms),
    ]


def recorded_consents(config: Config) -> Consents:
    """Return what is known of consent once the whole log has been read."""
    return Consents.of(read_ledger(config))


def ledger_of(raw: Iterable[pa.RecordBatch], pseudonyms: Pseudonyms) -> list[pa.RecordBatch]:
    """Take governance records through the same steps as the graph does.

    One that a step cannot bear is left out: the graph, which meets it too, makes a dead letter.
    """
    isolation = Isolation("ReadConsents", watched=False)
    read = functools.partial(_ledger_of, pseudonyms)
    return [rows for batch in raw for tag, rows in isolation.work(read, batch) if tag == MAIN]


def _ledger_of(pseudonyms: Pseudonyms, raw: pa.RecordBatch) -> Tagged:
    rows = []
    for tag, events in decode_batch(raw):
        if tag == MAIN and events.num_rows:
            valid, _ = validate_batch(events, kind_of(events))
            if valid.num_rows:
                rows.append((MAIN, ledger_rows(pseudonyms.batch(valid))))
    return rows


def landed(root: Root) -> list[pa.RecordBatch]:
    """Return the rows of the landed ledger."""
    path = f"{root}/consent_ledger"
    if not DeltaTable.is_deltatable(path):
        return []
    table = DeltaTable(path).to_pyarrow_table(columns=CONSENT_LEDGER.names)
    return table.cast(CONSENT_LEDGER).to_batches()
