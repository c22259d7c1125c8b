"""Delta: rows → one table, effectively once by deterministic row id."""

from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from schemas.table import PARTITION, Root
from schemas.tables import TABLES
from transforms.decoding.event_ids import ID_SPAN_US
from transforms.landing.layout import file_properties
from transforms.landing.retry import retry_commit

_APP = "affectstream"
_ID_SPAN = timedelta(microseconds=ID_SPAN_US)
"""Rows of events that have the same id stand within one such span, from a full minute on."""
_MOST_KNOWN = 1_000_000  # ids in one generation: about 130 MB


class Landed(NamedTuple):
    """What became of the rows of one commit.

    ``new`` rows were added or replaced an older revision; ``reused`` are events whose id stands in
    the table for another content.
    """

    new: int
    reused: pa.Table


class TableWriter:
    """Commits rows to one Delta table so that any repetition or reordering is a no-op.

    A row whose id the table has is left out, unless it is a higher revision, which replaces it.
    Each commit carries the next transaction version on the same handle as a compare-and-set: of
    two writers that looked at the same version one fails, looks again and finds the other's rows.

    With ``remember_s`` the ids of at least so many seconds of event time are held in memory, where
    a live job finds most of them; without, each is looked up in the table.
    """

    def __init__(self, root: Root, table: str, *, remember_s: float | None = None) -> None:
        self._table = DeltaTable(f"{root}/{table}")
        # Without the fields' docs: a table made under another wording would refuse the rows.
        known = TABLES[table]
        self._schema = pa.schema([field.remove_metadata() for field in known.schema])
        self._id, self._along = known.row_id, known.lookup_column
        self._revised, self._events = known.revised, known.of_events
        self._layout = file_properties(known)
        self._recent: _Recent | None = None
        if remember_s is not None and known.time:
            span = _ID_SPAN if self._events else timedelta(0)
            self._recent = _Recent(timedelta(seconds=remember_s) + span)

    def commit(self, batches: list[pa.RecordBatch]) -> int:
        """Commit what is new in these rows and return how many rows that was."""
        return self.land(batches).new

    def land(self, batches: list[pa.RecordBatch]) -> Landed:
        """Commit what is new in these rows and tell what became of them."""
        given = pa.Table.from_batches(batches)
        first = self._first(given)
        rows = given if first is None else given.take(pa.array(first))
        rows = rows.select(self._schema.names).cast(self._schema)

        def commit() -> Landed:
            before = self._before(rows)
            wanted = before < 0
            revised = ~wanted & (self._ranks(rows) > before) & self._revised
            if not wanted.any() and not revised.any():
                return self._landed(given, first, before, 0)
            wanted |= revised
            chosen = rows if wanted.all() else rows.filter(pa.array(wanted))
            self._write(chosen, merge=bool(revised.any()))
            self._table.update_incremental()
            if self._recent is not None:
                self._recent.learn(self._known(chosen), self._table.version())
            return self._landed(given, first, before, chosen.num_rows)

        place, refresh = self._table.table_uri, self._table.update_incremental
        try:
            return retry_commit(commit, place, "commits", refresh)
        except (DeltaError, OSError):
            # An erasure deletes the files and log entries of the version that this stands at.
            refresh()
            return retry_commit(commit, place, "commits", refresh)

    def _first(self, rows: pa.Table) -> np.ndarray | None:
        """Return the place of one row an id, None where no id came twice.

        Of several revisions it is the one with the most events, of several records of one event
        that with the lowest offset.
        """
        order = [(self._id, "ascending")]
        if self._revised:
            order.append(("revision", "descending"))
        if self._events:
            order.append(("offset", "ascending"))
        place = pc.sort_indices(rows, order).to_numpy()
        ids = rows[self._id].combine_chunks().dictionary_encode().indices.to_numpy()[place]
        again = np.r_[False, ids[1:] == ids[:-1]]
        return np.sort(place[~again]) if again.any() else None

    def _landed(
        self, given: pa.Table, first: np.ndarray | None, before: np.ndarray, new: int
    ) -> Landed:
        """Tell repetitions from reused ids among the events that were left out."""
        if not self._events or (first is None and (before < 0).all()):
            return Landed(new, given.slice(0, 0))
        first = np.arange(len(given)) if first is None else first
        own = self._ranks(given)
        stands = np.where(before < 0, own[first], before)
        ids = given[self._id].combine_chunks()
        stands = stands[pc.index_in(ids, ids.take(pa.array(first))).to_numpy()]
        return Landed(new, given.filter(pa.array(own != stands)))

    def _ranks(self, rows: pa.Table) -> np.ndarray:
        """Return a number a row that tells it from others of its id: revision, or content.

        It is never negative.
        """
        if self._revised:
            return rows["revision"].to_numpy().astype(np.int64)
        return rows["content"].to_numpy() if self._events else np.zeros(len(rows), np.int64)

    def _before(self, rows: pa.Table) -> np.ndarray:
        """Return the rank of the table's row with each id, -1 where it has none."""
        if self._recent is not None:
            return self._remembered(self._recent, rows)
        known = self._read(self._near(rows))
        place = pc.index_in(rows[self._id], known[self._id]).combine_chunks()
        absent = place.is_null().to_numpy(zero_copy_only=False)
        if not len(known):
            return np.full(len(rows), -1)
        return np.where(absent, -1, self._ranks(known)[place.fill_null(0).to_numpy()])

    def _read(self, where: pc.Expression, *more: str) -> pa.Table:
        columns = [self._id, *(["content"] if self._events else []), *more]
        columns += ["revision"] if self._revised else []
        return self._table.to_pyarrow_dataset().to_table(columns=columns, filter=where)

    def _remembered(self, recent: "_Recent", rows: pa.Table) -> np.ndarray:
        lowest = pc.min(self._spans(rows)).as_py()
        if not recent.covers(self._table.version(), lowest):
            since = lowest - recent.margin
            after = (pc.field(PARTITION) >= since.date()) & (pc.field(self._along) > since)
            known = self._known(self._read(after, self._along))
            recent.recall(known, self._table.version(), since)
        return recent.ranks(rows[self._id])

    def _known(self, rows: pa.Table) -> "_Known":
        """Return the rows' ids and ranks, and their latest time."""
        pairs = zip(rows[self._id].to_pylist(), self._ranks(rows).tolist(), strict=True)
        return _Known(dict(pairs), pc.max(rows[self._along]).as_py())

    def _spans(self, rows: pa.Table) -> pa.ChunkedArray:
        """Return where the rows with these ids begin, in the column that lookups are pruned by."""
        along = rows[self._along]
        if not self._events:
            return along
        return pc.floor_temporal(along, multiple=ID_SPAN_US, unit="microsecond")

    def _near(self, rows: pa.Table) -> pc.Expression:
        """Select the part of the table in which these ids can stand."""
        near = pc.field(PARTITION).isin(pc.unique(rows[PARTITION]))
        place, span = pc.field(self._along), pc.min_max(self._spans(rows))
        last = span["max"].as_py() + _ID_SPAN if self._events else span["max"]
        return near & (place >= span["min"]) & (place <= last)

    def _write(self, rows: pa.Table, *, merge: bool) -> None:
        version = (self._table.transaction_version(_APP) or 0) + 1
        properties = CommitProperties(app_transactions=[Transaction(_APP, version)])
        if not merge:
            write_deltalake(
                self._table,
                rows,
                mode="append",
                commit_properties=properties,
                writer_properties=self._layout,
            )
            return
        days = ", ".join(f"'{day}'" for day in pc.unique(rows[PARTITION]).to_pylist())
        (
            self._table.merge(
                rows,
                predicate=f"t.{PARTITION} IN ({days}) AND t.{self._id} = s.{self._id}",
                source_alias="s",
                target_alias="t",
                commit_properties=properties,
                writer_properties=self._layout,
            )
            .when_matched_update_all(predicate="s.revision > t.revision")
            .when_not_matched_insert_all()
            .execute()
        )


class _Known(NamedTuple):
    """Row ids and their ranks, and the latest time of those rows, None where there are none."""

    ranks: dict[str, int]
    end: Any


class _Recent:
    """Row ids of a table after one time, and their ranks, as of one version.

    A live job commits each second: looking the ids up in the table took most of a commit. The
    memory is good for one version only. The compare-and-set of a commit makes that of every other
    writer fail, and then the table is read again.

    Ids are held in two generations. When the young one has come a margin further than the old one,
    the old one is dropped, so that what is held follows the rate of rows and not their number.
    """

    def __init__(self, margin: timedelta) -> None:
        self.margin = margin
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._version = -1
        self._since: Any = None
        self._old_end: Any = None
        self._young_end: Any = None

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def covers(self, version: int, lowest: Any) -> bool:
        return version == self._version and lowest > self._since

    def recall(self, rows: _Known, version: int, since: Any) -> None:
        """Forget everything and take what the table has after ``since``."""
        self._old, self._young = {}, rows.ranks
        self._version, self._since = version, since
        self._old_end = self._young_end = since if rows.end is None else rows.end

    def learn(self, rows: _Known, version: int) -> None:
        """Take what was just committed; after another writer's commit, or a lot, start anew."""
        if version != self._version + 1 or len(self._young) > _MOST_KNOWN:
            self._version = -1
            return
        self._young |= rows.ranks
        self._version = version
        self._young_end = max(self._young_end, rows.end)
        if self._young_end - self._old_end > self.margin:
            self._since = self._old_end if self._old else self._since
            self._old, self._young = self._young, {}
            self._old_end = self._young_end

    def ranks(self, ids: pa.Array) -> np.ndarray:
        young, old = self._young, self._old
        rows = ids.to_pylist()
        return np.array([young.get(row, old.get(row, -1)) for row in rows], np.int64)
