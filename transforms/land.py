"""LandTable: rows → a Delta table, effectively once by deterministic row id."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.transforms import trigger
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode
from schemas.events import TOPIC_OF
from schemas.stages import DEAD, MAIN, Stage, landing_stage
from schemas.table import PARTITION, Root
from schemas.tables import TABLES
from transforms.landing.delta import TableWriter
from transforms.stage import count_dead, count_time, stage_counters

ROWS_A_COMMIT = 50_000  # in the embedded runner a bundle can be a whole log
MOST_DAYS: Final = 32
"""Days of one commit: each is a file that is open. 2,000 of them took 460 MB in each table."""
_SLACK_S = 8.0
"""How much further back than event time reaches a writer remembers rows: some commits' time."""
_REUSED = "the id stands for another event of this subject, source, kind and minute"


class _Commit(beam.DoFn):
    """Collects the rows of a bundle and commits them before its checkpoint barrier passes."""

    def __init__(self, root: Root, table: str, remember_s: float | None) -> None:
        self._root, self._table, self._remember_s = root, table, remember_s

    def setup(self) -> None:
        self._stage = landing_stage(self._table)
        self._writer = TableWriter(self._root, self._table, remember_s=self._remember_s)
        counters = stage_counters(self._stage)
        self._rows_in, self._rows_out, self._busy_us, self._commits = counters

    def start_bundle(self) -> None:
        self._collected: list[pa.RecordBatch] = []
        self._rows = 0

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        self._collected.append(batch)
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
        self._rows_in.inc(self._rows)
        for part in split_days(self._collected):
            with count_time(self._busy_us):
                landed = self._writer.land(part)
            self._rows_out.inc(landed.new)
            self._commits.inc()
            for rows in landed.reused.to_batches():
                letters = _reused_letters(rows)
                count_dead(self._stage, letters)
                yield letters
        self._collected, self._rows = [], 0


def split_days(batches: list[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Yield the rows in parts of at most MOST_DAYS days each, the first days first.

    Rows with one id are of one day: they stay together.
    """
    rows = pa.Table.from_batches(batches)
    days = pc.unique(rows[PARTITION])
    if len(days) <= MOST_DAYS:
        yield batches
        return
    days = days.take(pc.sort_indices(days))
    for start in range(0, len(days), MOST_DAYS):
        some = pc.is_in(rows[PARTITION], days.slice(start, MOST_DAYS))
        yield rows.filter(some).combine_chunks().to_batches()


def _reused_letters(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the dead letters of events whose id another event has."""
    topics = pa.array([TOPIC_OF[name] for name in rows["modality"].to_pylist()], pa.string())
    return dead_letters(
        rows.append_column("topic", topics),
        stage=Stage.LAND,
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
        remember_s = self.remember_s if streaming else None
        commit = beam.ParDo(_Commit(self._root, self._table, remember_s))
        if not TABLES[self._table].of_events:
            return pcoll | "Commit" >> commit.with_output_types(pa.RecordBatch)
        typed = commit.with_output_types(pa.RecordBatch, **{DEAD: pa.RecordBatch})
        return pcoll | "Commit" >> typed.with_outputs(DEAD, main=MAIN)

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
