"""What a model makes of the events of a recorded log: a vector of each, and whose it is.

Only events that law and consent let pass are judged, by the same stages as in a replay. Vectors
stay in memory; what a subject is called is a pseudonym.
"""

import functools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_serving.threads import model_threads
from pipelines.affect import Rows, admit
from pipelines.config import Config
from pipelines.run.consumed import verify_consumed
from pipelines.run.replay import run_embedded
from schemas.arrow import take_rows, vector_column, vectors
from schemas.stages import MAIN, REFUSED, Tagged, kind_of
from transforms.scrub import ScrubText
from transforms.stage import run_stage

MOST_EVENTS: Final = 20_000
"""Events that are kept, those whose keyed ids sort first: 220 MB of statistics of voice-base."""

_STAGE: Final = "GatherAnswers"

Judge = Callable[[pa.RecordBatch], tuple[np.ndarray, np.ndarray]]
"""From an EVENT batch to the rows (n,) that can be used and a float32 vector (n, k) of each."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Subjects (n,) and vectors (n, k) of events, in the order of their ids.

    ``unusable`` counts events that cannot be judged, ``refused`` those that law or consent kept
    from inference.
    """

    subjects: np.ndarray
    vectors: np.ndarray
    unusable: int
    refused: int


@dataclass(slots=True)
class _Gathering:
    """What the stages of the embedded runner hand over; they run in this process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    events: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.events.clear()
        self.counts.clear()

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep each event once, and of too many those whose ids sort first: order never matters."""
        ids, subjects = batch["event_id"].to_pylist(), batch["subject_ref"].to_pylist()
        width = batch.schema.field("vector").type.list_size
        # A view of a row would hold its whole batch.
        rows = [row.copy() for row in vectors(batch["vector"], width)]
        with self.lock:
            self.events.update(zip(ids, zip(subjects, rows, strict=True), strict=True))
            if len(self.events) > 2 * MOST_EVENTS:
                self.events = dict(sorted(self.events.items())[:MOST_EVENTS])


_GATHERING = _Gathering()


def gather(config: Config, modality: str, make: Callable[[], Judge]) -> Gathered:
    """Run the log of the configuration up to the vectors of its events of this modality.

    ``make`` returns what judges them, where the stage runs.
    """
    _GATHERING.clear()
    run_embedded(functools.partial(_build, config=config, modality=modality, make=make))
    kept = sorted(_GATHERING.events.items())[:MOST_EVENTS]
    counts = _GATHERING.counts
    found = Gathered(
        np.array([subject for _, (subject, _) in kept], dtype=object).astype(str),
        np.stack([row for _, (_, row) in kept]) if kept else np.zeros((0, 0), np.float32),
        counts["judged"] - counts["usable"],
        counts[REFUSED],
    )
    _GATHERING.clear()
    return found


def _build(p: beam.Pipeline, config: Config, modality: str, make: Callable[[], Judge]) -> None:
    rows = Rows()
    events = admit(p, config, rows)
    if modality == "text":
        events = rows.take(events | ScrubText())
    judged = rows.take(run_stage(events, _STAGE, functools.partial(_judge, modality, make)))
    _ = judged | "Gather" >> beam.Map(_gather)
    for table, parts in rows.items():
        given = parts[0] if len(parts) == 1 else parts | f"All:{table}" >> beam.Flatten()
        _ = given | f"Count:{table}" >> beam.Map(functools.partial(_count, table, modality))
    verify_consumed(p)


def _gather(batch: pa.RecordBatch) -> None:
    _GATHERING.add(batch)


def _count(table: str, modality: str, batch: pa.RecordBatch) -> None:
    """Count the rows of this modality of what does not go on."""
    if table == REFUSED:
        own = pc.sum(pc.equal(batch["modality"], modality)).as_py() or 0
        with _GATHERING.lock:
            _GATHERING.counts[table] += own


def _judge(modality: str, make: Callable[[], Judge]) -> Callable[[pa.RecordBatch], Tagged]:
    """Return what turns EVENT batches of a modality into ids, subjects and vectors."""
    judge = make()

    def work(events: pa.RecordBatch) -> Tagged:
        if kind_of(events) != modality:
            return []
        with model_threads():
            rows, found = judge(events)
        with _GATHERING.lock:
            _GATHERING.counts["judged"] += events.num_rows
            _GATHERING.counts["usable"] += len(rows)
        usable = take_rows(events, rows)
        columns = {name: usable[name] for name in ("event_id", "subject_ref")}
        return [(MAIN, pa.record_batch(columns | {"vector": vector_column(found)}))]

    return work
