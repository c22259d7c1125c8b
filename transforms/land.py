"""LandTable: rows → a Delta table, effectively once by deterministic row id."""

import tempfile
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.transforms import trigger
from apache_beam.transforms.window import GlobalWindows
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from schemas.errors import AffectstreamError
from schemas.tables import PARTITION, ROW_ID, TABLES, Root
from transforms.repair import repair_tables, unwritable
from transforms.stage import stage_counters, timed

ROWS_A_COMMIT = 50_000  # in the embedded runner a bundle can be a whole log
_APP = "affectstream"
_MARGIN = timedelta(seconds=75)
"""How far back a writer remembers rows at least: the allowed lateness, a window and some more."""
_MOST_KNOWN = 1_000_000  # ids in one generation: about 130 MB
_TRIES = 30
_TIME_OF = {
    "emotion_features": "window_start",
    "expression_decisions": "window_end",
    "review_queue": "window_end",
    **dict.fromkeys(("observations", "refusals", "consent_ledger"), "event_time"),
}
"""Table → a time column that is never null, which the live job's rows hardly go back in."""
_PRUNED_BY = {"dead_letters": "offset", "runs": "run_id", **_TIME_OF}
"""Table → a column that is never null: Delta's file statistics prune lookups by it."""


def prepare_tables(root: Root) -> None:
    """Create the tables that are missing under ``root``, empty, and try to write to the others.

    One that holds rows of a day which no reader can open is repaired, see ``transforms.repair``.
    """
    for name, schema in TABLES.items():
        place = f"{root}/{name}"
        try:
            DeltaTable.create(place, schema=schema, partition_by=[PARTITION], mode="ignore")
            if "://" not in place:  # one that is there can be opened by whoever may only read
                for folder in (place, f"{place}/_delta_log"):
                    tempfile.TemporaryFile(dir=folder).close()
        except (DeltaError, OSError) as error:
            raise unwritable(root, name) from error
    repair_tables(root)


class TableWriter:
    """Commits rows to one Delta table so that any repetition or reordering is a no-op.

    A row whose id the table has is left out, unless it is a higher revision, which replaces it.
    Each commit carries the next transaction version on the same handle as a compare-and-set: of
    two writers that looked at the same version one fails, looks again and finds the other's rows.
    """

    def __init__(self, root: Root, table: str, *, remember: bool = False) -> None:
        self._table = DeltaTable(f"{root}/{table}")
        # Without the fields' docs: a table made under another wording would refuse the rows.
        self._schema = pa.schema([field.remove_metadata() for field in TABLES[table]])
        self._id = ROW_ID[table]
        self._along = _PRUNED_BY[table]
        self._revised = "revision" in self._schema.names
        self._recent = _Recent(_MARGIN) if remember and table in _TIME_OF else None

    def commit(self, batches: list[pa.RecordBatch]) -> int:
        """Commit what is new in these rows and return how many rows that was."""
        rows = self._latest(pa.Table.from_batches(batches).cast(self._schema))
        for attempt in range(_TRIES):
            fresh, revised = self._compare(rows)
            if not fresh.any() and not revised.any():
                return 0
            try:
                wanted = fresh | revised
                chosen = rows if wanted.all() else rows.filter(pa.array(wanted))
                self._write(chosen, merge=bool(revised.any()))
            except CommitFailedError:
                time.sleep(0.02 * (attempt + 1))  # another writer was first
                self._table.update_incremental()
            else:
                self._table.update_incremental()
                if self._recent is not None:
                    self._recent.learn(self._known(chosen), self._table.version())
                return int(fresh.sum() + revised.sum())
        message = f"{self._table.table_uri}: {_TRIES} commits in a row lost to other writers"
        raise AffectstreamError(message)

    def _latest(self, rows: pa.Table) -> pa.Table:
        """Keep one row an id: of several revisions the one with the most events.

        Rows are copied only where an id came twice, since a commit may be large.
        """
        order = [(self._id, "ascending")]
        if self._revised:
            order.append(("revision", "descending"))
        place = pc.sort_indices(rows, order).to_numpy()
        ids = rows[self._id].combine_chunks().dictionary_encode().indices.to_numpy()[place]
        again = np.r_[False, ids[1:] == ids[:-1]]
        return rows.take(pa.array(np.sort(place[~again]))) if again.any() else rows

    def _compare(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return masks of the rows that the table lacks and of those it has an older one of."""
        if self._recent is not None:
            before = self._before(self._recent, rows)
            return before < 0, (before >= 0) & (self._revisions(rows) > before)
        known = self._read(self._near(rows))
        place = pc.index_in(rows[self._id], known[self._id]).combine_chunks()
        fresh = place.is_null().to_numpy(zero_copy_only=False)
        if not self._revised:
            return fresh, np.zeros(len(fresh), bool)
        before = pc.fill_null(known["revision"].take(place), 0).to_numpy()
        return fresh, ~fresh & (rows["revision"].to_numpy() > before)

    def _read(self, where: pc.Expression, *more: str) -> pa.Table:
        columns = [self._id, *(["revision"] if self._revised else []), *more]
        return self._table.to_pyarrow_dataset().to_table(columns=columns, filter=where)

    def _revisions(self, rows: pa.Table) -> np.ndarray:
        """Return the rows' revisions; rows of tables without any stay as they were first."""
        return rows["revision"].to_numpy() if self._revised else np.zeros(len(rows), np.int32)

    def _before(self, recent: "_Recent", rows: pa.Table) -> np.ndarray:
        """Return the revision that the table has of each row, -1 where it has none."""
        lowest = pc.min(rows[self._along]).as_py()
        if not recent.covers(self._table.version(), lowest):
            since = lowest - recent.margin
            after = (pc.field(PARTITION) >= since.date()) & (pc.field(self._along) > since)
            known = self._known(self._read(after, self._along))
            recent.recall(known, self._table.version(), since)
        return recent.revisions(rows[self._id])

    def _known(self, rows: pa.Table) -> "_Known":
        """Return the rows' ids and revisions, and their latest time."""
        pairs = zip(rows[self._id].to_pylist(), self._revisions(rows).tolist(), strict=True)
        return _Known(dict(pairs), pc.max(rows[self._along]).as_py())

    def _near(self, rows: pa.Table) -> pc.Expression:
        """Select the part of the table in which these ids can stand."""
        near = pc.field(PARTITION).isin(pc.unique(rows[PARTITION]))
        place, span = pc.field(self._along), pc.min_max(rows[self._along])
        return near & (place >= span["min"]) & (place <= span["max"])

    def _write(self, rows: pa.Table, *, merge: bool) -> None:
        version = (self._table.transaction_version(_APP) or 0) + 1
        properties = CommitProperties(app_transactions=[Transaction(_APP, version)])
        if not merge:
            write_deltalake(self._table, rows, mode="append", commit_properties=properties)
            return
        days = ", ".join(f"'{day}'" for day in pc.unique(rows[PARTITION]).to_pylist())
        (
            self._table.merge(
                rows,
                predicate=f"t.{PARTITION} IN ({days}) AND t.{self._id} = s.{self._id}",
                source_alias="s",
                target_alias="t",
                commit_properties=properties,
            )
            .when_matched_update_all(predicate="s.revision > t.revision")
            .when_not_matched_insert_all()
            .execute()
        )


class _Known(NamedTuple):
    """Row ids and their revisions, and the latest time of those rows, None where there are none."""

    revisions: dict[str, int]
    end: Any


class _Recent:
    """Row ids of a table after one time, and their revisions, as of one version.

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
        self._old, self._young = {}, rows.revisions
        self._version, self._since = version, since
        self._old_end = self._young_end = since if rows.end is None else rows.end

    def learn(self, rows: _Known, version: int) -> None:
        """Take what was just committed; after another writer's commit, or a lot, start anew."""
        if version != self._version + 1 or len(self._young) > _MOST_KNOWN:
            self._version = -1
            return
        self._young |= rows.revisions
        self._version = version
        self._young_end = max(self._young_end, rows.end)
        if self._young_end - self._old_end > self.margin:
            self._since = self._old_end if self._old else self._since
            self._old, self._young = self._young, {}
            self._old_end = self._young_end

    def revisions(self, ids: pa.Array) -> np.ndarray:
        young, old = self._young, self._old
        rows = ids.to_pylist()
        return np.array([young.get(row, old.get(row, -1)) for row in rows], np.int64)


class _Commit(beam.DoFn):
    """Collects the rows of a bundle and commits them before its checkpoint barrier passes."""

    def __init__(self, root: Root, table: str, *, remember: bool) -> None:
        self._root, self._table, self._remember = root, table, remember

    def setup(self) -> None:
        self._writer = TableWriter(self._root, self._table, remember=self._remember)
        self._rows_in, self._rows_out, self._busy_us = stage_counters(f"Land:{self._table}")

    def start_bundle(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def process(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROWS_A_COMMIT:
            self._commit()

    def finish_bundle(self) -> None:
        if self._rows:
            self._commit()

    def _commit(self) -> None:
        with timed(self._busy_us):
            self._rows_out.inc(self._writer.commit(self._batches))
        self._rows_in.inc(self._rows)
        self._batches, self._rows = [], 0


class LandTable(beam.PTransform):
    """Batches of one table's rows → that Delta table under ``root``.

    A streaming job gives each table one writer, which collects rows for ``collect_s`` seconds: the
    cost of a commit follows the number of files. A recorded log needs neither, nor the shuffle.
    """

    def __init__(self, *, root: Root, table: str, collect_s: int = 0) -> None:
        super().__init__()
        self._root, self._table, self._collect_s = root, table, collect_s

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        streaming = bool(pcoll.pipeline.options.view_as(StandardOptions).streaming)
        if streaming:
            pcoll = self._to_one_writer(pcoll)
        commit = _Commit(self._root, self._table, remember=streaming)
        return pcoll | "Commit" >> beam.ParDo(commit)

    def _to_one_writer(self, pcoll: beam.PCollection) -> beam.PCollection:
        soon = trigger.AfterProcessingTime(self._collect_s)
        each = trigger.AfterCount(1)
        return (
            pcoll
            | "Key" >> beam.WithKeys(self._table).with_output_types(tuple[str, pa.RecordBatch])
            | "Collect"
            >> beam.WindowInto(
                GlobalWindows(),
                trigger=trigger.Repeatedly(soon if self._collect_s else each),
                accumulation_mode=trigger.AccumulationMode.DISCARDING,
            )
            | "OneWriter" >> beam.GroupByKey()  # (table, batches of rows)
            | "Rows" >> beam.FlatMap(_values).with_output_types(pa.RecordBatch)
        )


def _values(keyed: tuple[str, Iterable[pa.RecordBatch]]) -> Iterable[pa.RecordBatch]:
    return keyed[1]
