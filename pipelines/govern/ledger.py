"""The consent ledger as a run sees it: the landed rows, and those of its own log."""

from collections.abc import Iterable

import pyarrow as pa
from deltalake import DeltaTable

from pipelines.config import Config
from pipelines.tables.arrow_types import plain_types
from schemas.events import GOVERNANCE
from schemas.keys import read_keys
from schemas.stages import MAIN, Tagged, kind_of
from schemas.table import Root
from schemas.tables import TABLES
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.decoding.signatures import Signers, read_signers
from transforms.gating.consent import Consents, ledger_rows
from transforms.gating.opt_ins import OptIns
from transforms.gating.policy import read_policy
from transforms.gating.tombstones import Tombstones
from transforms.isolation.isolate import Isolation
from transforms.pseudonymise import Pseudonyms
from transforms.sources.recorded import read_topics
from transforms.validate import validate_batch


def read_ledger(config: Config) -> list[pa.RecordBatch]:
    """Return the landed CONSENT_LEDGER rows and those of the log's own consent records.

    The log is read to its end before the first event, so that no verdict depends on its order.
    """
    return [
        *read_landed(config.tables),
        *LedgerReader.of(config).rows(read_topics(config.recorded, [*GOVERNANCE])),
    ]


def read_recorded_consents(config: Config) -> Consents:
    """Return the consents that are known once the whole log has been read."""
    return Consents(read_ledger(config), read_tombstones(config))


def signers_of(config: Config) -> Signers | None:
    """Return the keys that governance records are signed with, None where nobody has to sign."""
    return read_signers(config.signatures.keys) if config.signatures.keys else None


def read_tombstones(config: Config) -> Tombstones:
    """Return the tombstones of everybody whose erasure was begun."""
    return Tombstones.of(read_keys(config.keys).tombstone, erasure_rows(config.tables))


def erasure_rows(root: Root) -> list[pa.RecordBatch]:
    """Return the ERASURES rows, those under way too; none where no such table stands."""
    return _landed(root, "erasures")


def read_recorded_opt_ins(config: Config) -> OptIns:
    """Return the opt-ins that are known once the whole log has been read."""
    return _opt_ins(config, read_ledger(config))


def read_landed_opt_ins(config: Config) -> OptIns:
    """Return the opt-ins of the landed ledger alone, as for a backfill."""
    return _opt_ins(config, read_landed(config.tables))


def _opt_ins(config: Config, ledger: list[pa.RecordBatch]) -> OptIns:
    tombstones = read_tombstones(config)
    opt_ins = OptIns(Consents(ledger, tombstones), ledger, tombstones)
    opt_ins.link(*landed_links(config.tables))
    return opt_ins


def landed_links(root: Root) -> tuple[pa.Array, pa.Array]:
    """Return references and those that they followed when keys were rotated, the oldest first."""
    place, names = f"{root}/emotion_features", ["subject_ref", "prior_subject_ref"]
    empty = pa.nulls(0, pa.string())
    if not DeltaTable.is_deltatable(place):
        return empty, empty
    dataset = DeltaTable(place).to_pyarrow_dataset()
    if names[1] not in dataset.schema.names:  # a table of before there were rotations
        return empty, empty
    found = []
    for batch in dataset.to_batches(columns=[*names, "window_start"]):
        rows = plain_types(pa.table(batch))
        found.append(rows.filter(rows[names[1]].is_valid()))
    if not found:
        return empty, empty
    first = pa.concat_tables(found).group_by(names).aggregate([("window_start", "min")])
    links = first.sort_by("window_start_min").combine_chunks()
    return links[names[0]].combine_chunks(), links[names[1]].combine_chunks()


class LedgerReader:
    """Takes governance records through the same steps as the graph.

    A record that breaks a step is left out: the graph, which meets it too, makes a dead letter.
    """

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        ids: EventIds,
        purposes: frozenset[str],
        signers: Signers | None = None,
    ) -> None:
        self._pseudonyms, self._ids, self._purposes = pseudonyms, ids, purposes
        self._signers = signers
        self._isolation = Isolation("ReadConsents", watched=False)

    @classmethod
    def of(cls, config: Config) -> "LedgerReader":
        """Return the reader of a run with these settings."""
        keys = read_keys(config.keys)
        purposes = read_policy(config.policy).purposes
        return cls(Pseudonyms(keys), EventIds(keys), purposes, signers_of(config))

    def rows(self, raw: Iterable[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """Return the CONSENT_LEDGER rows of these records."""
        found = (self._isolation.work(self._read, batch) for batch in raw)
        return [rows for outputs in found for tag, rows in outputs if tag == MAIN]

    def _read(self, raw: pa.RecordBatch) -> Tagged:
        rows = []
        for tag, events in decode_batch(raw, self._ids, self._signers):
            if tag == MAIN and events.num_rows:
                valid, _ = validate_batch(events, kind_of(events))
                if valid.num_rows:
                    known = self._pseudonyms.batch(valid)
                    rows.append((MAIN, ledger_rows(known, self._purposes)[0]))
        return rows


def read_landed(root: Root) -> list[pa.RecordBatch]:
    """Return the rows of the landed ledger."""
    return _landed(root, "consent_ledger")


def _landed(root: Root, name: str) -> list[pa.RecordBatch]:
    place, schema = f"{root}/{name}", TABLES[name].schema
    if not DeltaTable.is_deltatable(place):
        return []
    stands = DeltaTable(place)
    known = [field.name for field in stands.schema().fields if field.name in schema.names]
    table = stands.to_pyarrow_table(columns=known)
    for field in schema:
        if field.name not in known:  # it came later: the table gets it with its next run
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema).to_batches()
