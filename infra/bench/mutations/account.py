"""What became of each record of a log: the rows by which its run accounts for it, or none.

A dead letter names its record's place. Observations and refusals do not, so what decoding alone
makes of the record tells the row: its event id and its checksum. A record of governance is looked
up by the ledger's row ids that each of its events gives by itself.

A context event that the gate lets pass has no row: it is merged into the windows of its session,
and a window without an observation is no row either. Such are counted: as many rows must have come
to the windows as were recognised, and these. So a lost one is seen, but not which.

Of records with the same id and content one is enough by contract: the others are duplicates.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from pipelines.config import Config
from pipelines.govern.ledger import signers_of
from pipelines.run.replay import Stages
from schemas.arrow import take_rows
from schemas.events import GOVERNANCE_KINDS
from schemas.keys import read_keys
from schemas.stages import MAIN, Stage, Tagged, kind_of, landing_stage
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.gating.consent import ledger_rows
from transforms.gating.policy import read_policy
from transforms.isolation.isolate import Isolation
from transforms.pseudonymise import Pseudonyms
from transforms.sources.recorded import log_files, read_records
from transforms.validate import validate_batch

DUPLICATE = "duplicate"
WINDOWED = "context in windows"

_Key = tuple[str, int]
"""Event id and content."""


class _Decoded(NamedTuple):
    """A session event's kind and key, or the ledger's row ids of a record of governance."""

    kind: str
    key: _Key | frozenset[str]


@dataclass(slots=True)
class Account:
    """What records ended as, by offset: a table, or a dead letter's code; and which ended nowhere.

    ``lost_contexts`` is how many context events did not come to the windows.
    """

    ends: dict[int, str] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    lost_contexts: int = 0


def account_for(config: Config, stages: Stages) -> Account:
    """Look for each record of a log, whose offsets are unique, in the tables of its one run."""
    landed = _Landed(config)
    found = Account()
    for path in log_files(config.recorded):
        for raw in read_records(path):
            landed.follow(raw, found)
    came, recognised = (
        stages.get(stage, {}).get("rows_in", 0)
        for stage in (Stage.WINDOW, landing_stage("observations"))
    )
    passed = list(found.ends.values()).count(WINDOWED)
    found.lost_contexts = max(0, int(passed + recognised - came))
    return found


class _Landed:
    """The rows of the tables by what records can be looked up by."""

    def __init__(self, config: Config) -> None:
        root = config.tables
        dead = _read(root, "dead_letters", "offset", "code")
        self._dead: Mapping[int, str] = dict(zip(*_lists(dead), strict=True))
        self._rows: dict[_Key, str] = {}
        for table in ("observations", "refusals"):
            rows = _read(root, table, "event_id", "content")
            self._rows |= dict.fromkeys(zip(*_lists(rows), strict=True), table)
        self._ledger = set(_read(root, "consent_ledger", "ledger_id")["ledger_id"].to_pylist())
        self._seen: set[object] = set()
        keys = read_keys(config.keys)
        self._ids, self._pseudonyms = EventIds(keys), Pseudonyms(keys)
        self._signers, self._purposes = signers_of(config), read_policy(config.policy).purposes
        self._isolation = Isolation("Account", watched=False)

    def follow(self, raw: pa.RecordBatch, found: Account) -> None:
        """Note the end of each of these records."""
        decoded = self._decode(raw)
        for offset in raw["offset"].to_pylist():
            if offset in self._dead:
                end: str | None = f"dead letter {self._dead[offset]}"
            else:
                end = self._end(decoded.get(offset))
            if end:
                found.ends[offset] = end
            else:
                found.lost.append(offset)

    def _end(self, event: _Decoded | None) -> str | None:
        """Return where an event ended, None where nothing shows that it did."""
        if event is None or not event.key:
            return None
        if isinstance(event.key, frozenset):
            end = "consent_ledger" if event.key <= self._ledger else None
        else:
            end = self._rows.get(event.key)
            if end is None and event.kind == "context":
                return WINDOWED  # each that comes again goes to the windows, too
        again = event.key in self._seen
        self._seen.add(event.key)
        return DUPLICATE if end and again else end

    def _decode(self, raw: pa.RecordBatch) -> dict[int, _Decoded]:
        """Return by offset what decoding makes of each record."""
        found: dict[int, _Decoded] = {}
        for tag, events in self._isolation.work(self._read, raw):
            if tag == MAIN:
                kind = kind_of(events)
                keys = self._ledger_ids(events) if kind in GOVERNANCE_KINDS else _keys(events)
                found |= {offset: _Decoded(kind, key) for offset, key in keys}
        return found

    def _read(self, raw: pa.RecordBatch) -> Tagged:
        """Yield session events as decoded, and those of governance as the gate gets them."""
        for tag, events in decode_batch(raw, self._ids, self._signers):
            if tag == MAIN and events.num_rows and kind_of(events) in GOVERNANCE_KINDS:
                yield tag, self._pseudonyms.batch(validate_batch(events, kind_of(events))[0])
            elif tag == MAIN:
                yield tag, events

    def _ledger_ids(self, events: pa.RecordBatch) -> Iterator[tuple[int, frozenset[str]]]:
        """Yield offsets, and the row ids that the ledger owes for the events of each."""
        ids = defaultdict[int, set[str]](set)
        for row, offset in enumerate(events["offset"].to_pylist()):
            rows, _ = ledger_rows(take_rows(events, np.array([row])), self._purposes)
            ids[offset].update(rows["ledger_id"].to_pylist())
        yield from ((offset, frozenset(found)) for offset, found in ids.items())


def _keys(events: pa.RecordBatch) -> Iterator[tuple[int, _Key]]:
    offsets, *key = (events[name].to_pylist() for name in ("offset", "event_id", "content"))
    return zip(offsets, zip(*key, strict=True), strict=True)


def _read(root: str, table: str, *columns: str) -> pa.Table:
    return DeltaTable(f"{root}/{table}").to_pyarrow_table(columns=list(columns))


def _lists(rows: pa.Table) -> Iterator[list[object]]:
    return (column.to_pylist() for column in rows.columns)
