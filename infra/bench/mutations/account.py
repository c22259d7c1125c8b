"""What became of each record of a log: the rows by which its run accounts for it, or none.

A dead letter names its record's place. Observations and refusals do not, so what decoding alone
makes of the record tells the row: its event id and its checksum. A record of governance is looked
up by the row ids of the ledger that it gives by itself.

A context event that the gate lets pass has no row: it is merged into the windows of its session,
and a window without an observation is no row either. Such are counted: as many rows must have come
to the windows as were recognised, and these. So a lost one is seen, but not which.

Of records with the same id and content one is enough by contract: the others are duplicates.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
from deltalake import DeltaTable

from pipelines.config import Config
from pipelines.govern.ledger import LedgerReader, signers_of
from pipelines.run.replay import Stages
from schemas.events import GOVERNANCE, GOVERNANCE_KINDS
from schemas.keys import read_keys
from schemas.stages import MAIN, Stage, kind_of, landing_stage
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.isolation.isolate import Isolation
from transforms.sources.recorded import log_files, read_records

DUPLICATE = "duplicate"
WINDOWED = "context in windows"

_Key = tuple[str, int]
"""Event id and content."""


class _Decoded(NamedTuple):
    kind: str
    key: _Key


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
        self._ids = EventIds(read_keys(config.keys))
        self._reader, self._signers = LedgerReader.of(config), signers_of(config)
        self._isolation = Isolation("Account", watched=False)

    def follow(self, raw: pa.RecordBatch, found: Account) -> None:
        """Note the end of each of these records."""
        decoded = self._decode(raw)
        places = zip(raw["topic"].to_pylist(), raw["offset"].to_pylist(), strict=True)
        for row, (topic, offset) in enumerate(places):
            if offset in self._dead:
                end = f"dead letter {self._dead[offset]}"
            elif topic in GOVERNANCE:
                end = self._of_governance(raw.slice(row, 1))
            else:
                end = self._of_session(decoded.get(offset))
            if end:
                found.ends[offset] = end
            else:
                found.lost.append(offset)

    def _decode(self, raw: pa.RecordBatch) -> dict[int, _Decoded]:
        """Return the session events by offset."""
        made = self._isolation.work(lambda rows: decode_batch(rows, self._ids, self._signers), raw)
        return dict(_events(batch for tag, batch in made if tag == MAIN))

    def _of_session(self, event: _Decoded | None) -> str | None:
        if event is None:
            return None
        table = self._rows.get(event.key) or (WINDOWED if event.kind == "context" else None)
        if table is None or table == WINDOWED:  # each that comes again goes to the windows too
            return table
        return DUPLICATE if self._known(event.key) else table

    def _of_governance(self, raw: pa.RecordBatch) -> str | None:
        made = self._reader.rows([raw])
        rows = frozenset(row for batch in made for row in batch["ledger_id"].to_pylist())
        if not rows or not rows <= self._ledger:
            return None
        return DUPLICATE if self._known(rows) else "consent_ledger"

    def _known(self, key: object) -> bool:
        known = key in self._seen
        self._seen.add(key)
        return known


def _events(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, _Decoded]]:
    for batch in batches:
        kind = kind_of(batch)
        if kind not in GOVERNANCE_KINDS:
            columns = (batch[name].to_pylist() for name in ("offset", "event_id", "content"))
            for offset, *key in zip(*columns, strict=True):
                yield offset, _Decoded(kind, (key[0], key[1]))


def _read(root: str, table: str, *columns: str) -> pa.Table:
    return DeltaTable(f"{root}/{table}").to_pyarrow_table(columns=list(columns))


def _lists(rows: pa.Table) -> Iterator[list[object]]:
    return (column.to_pylist() for column in rows.columns)
