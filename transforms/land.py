"""LandTable: rows → a Delta table, effectively once by deterministic row id."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.transforms import trigger
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from schemas.dead_letters import dead_letters
from schemas.errors import AffectstreamError, DeadLetterCode
from schemas.events import TOPIC_OF
from schemas.tables import PARTITION, ROW_ID, TABLES, Root
from transforms.decoding.event_ids import ID_SPAN_US
from transforms.landing.repair import repair_tables, unwritable
from transforms.stage import DEAD, stage_counters, timed

ROWS_A_COMMIT = 50_000  # in the embedded runner a bundle can be a whole log
_APP = "affectstream"
_SLACK_S = 8.0
"""How much further back than event time reaches a writer remembers rows: some commits' time."""
_ID_SPAN = timedelta(microseconds=ID_SPAN_US)
"""Rows of events that have the same id stand within one such span, from a full minute on."""
_REUSED = "the id stands for another event of this subject, source, kind and minute"
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

    One that lacks a column is of an earlier version, whose row ids were others, and refused. One
    that holds rows of a day which no reader can open is repaired, see ``landing.repair``.
    """
    for name, schema in TABLES.items():
        place = f"{root}/{name}"
        try:
            table = DeltaTable.create(place, schema=schema, partition_by=[PARTITION], mode="ignore")
            lacking = set(schema.names) - {field.name for field in table.schema().fields}
            if "://" not in place:  # one that is there can be opened by whoever may only read
                for folder in (place, f"{place}/_delta_log"):
                    tempfile.TemporaryFile(dir=folder).close()
        except (DeltaError, OSError) as error:
            raise unwritable(root, name) from error
        if lacking:
            message = (
                f"the tables under {root} are of an earlier version ({name} has no "
                f"{', '.join(sorted(lacking))}): give a new folder, and replay your logs into it"
            )
            raise AffectstreamError(message)
    repair_tables(root)


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
        self._schema = pa.schema([field.remove_metadata() for field in TABLES[table]])
        self._id = ROW_ID[table]
        self._along = _PRUNED_BY[table]
        self._revised = "revision" in self._schema.names
        self._events = "content" in self._schema.names
        self._recent: _Recent | None = None
        if remember_s is not None and table in _TIME_OF:
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
        for attempt in range(_TRIES):
            before = self._before(rows)
            wanted = before < 0
            revised = ~wanted & (self._ranks(rows) > before) & self._revised
            if not wanted.any() and not revised.any():
                return self._landed(given, first, before, 0)
            try:
                wanted |= revised
                chosen = rows if wanted.all() else rows.filter(pa.array(wanted))
                self._write(chosen, merge=bool(revised.any()))
            except CommitFailedError:
                time.sleep(0.02 * (attempt + 1))  # another writer was first
                self._table.update_incremental()
            else:
                self._table.update_incremental()
                if self._recent is not None:
                    self._recent.learn(self._known(chosen), self._table.version())
                return self._landed(given, first, before, chosen.num_rows)
        message = f"{self._table.table_uri}: {_TRIES} commits in a row lost to other writers"
        raise AffectstreamError(message)

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


class _Commit(beam.DoFn):
    """Collects the rows of a bundle and commits them before its checkpoint barrier passes."""

    def __init__(self, root: Root, table: str, remember_s: float | None) -> None:
        self._root, self._table, self._remember_s = root, table, remember_s

    def setup(self) -> None:
        stage = f"Land:{self._table}"
        self._writer = TableWriter(self._root, self._table, remember_s=self._remember_s)
        self._rows_in, self._rows_out, self._busy_us = stage_counters(stage)

    def start_bundle(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROWS_A_COMMIT:
            for letters in self._commit():
                yield beam.pvalue.TaggedOutput(DEAD, letters)

    def finish_bundle(self) -> Iterator[Any]:
        if self._rows:
            for letters in self._commit():
                value = WindowedValue(letters, MIN_TIMESTAMP, (GlobalWindow(),))
                yield beam.pvalue.TaggedOutput(DEAD, value)

    def _commit(self) -> Iterator[pa.RecordBatch]:
        with timed(self._busy_us):
            landed = self._writer.land(self._batches)
        self._rows_in.inc(self._rows)
        self._rows_out.inc(landed.new)
        self._batches, self._rows = [], 0
        for rows in landed.reused.to_batches():
            yield _reused(rows)


def _reused(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the dead letters of events whose id another event has."""
    topics = pa.array([TOPIC_OF[name] for name in rows["modality"].to_pylist()], pa.string())
    return dead_letters(
        rows.append_column("topic", topics),
        stage="LandTable",
        code=DeadLetterCode.ID_REUSED,
        detail=_REUSED,
    )


class LandTable(beam.PTransform):
    """Batches of one table's rows → that Delta table under ``root``, and dead letters.

    Tables of events give dead letters of ids that were reused, the others none. A streaming job
    gives each table one writer, which collects rows for ``collect_s`` seconds: the cost of a commit
    follows the number of files. It remembers the rows that lie up to ``reach_s`` seconds of event
    time behind the newest. A recorded log needs neither, nor the shuffle.
    """

    def __init__(self, *, root: Root, table: str, reach_s: float, collect_s: int = 0) -> None:
        super().__init__()
        self._root, self._table, self._collect_s = root, table, collect_s
        self.remember_s = reach_s + _SLACK_S

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        streaming = bool(pcoll.pipeline.options.view_as(StandardOptions).streaming)
        if streaming:
            pcoll = self._to_one_writer(pcoll)
        commit = beam.ParDo(
            _Commit(self._root, self._table, self.remember_s if streaming else None)
        )
        if "content" not in TABLES[self._table].names:
            return pcoll | "Commit" >> commit.with_output_types(pa.RecordBatch)
        typed = commit.with_output_types(pa.RecordBatch, **{DEAD: pa.RecordBatch})
        return (pcoll | "Commit" >> typed.with_outputs(DEAD, main="committed"))[DEAD]

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
