"""The voice clips of a recorded log as a model hears them: the statistics of each.

Only clips that law and consent let pass are heard, by the same stages as in a replay. Statistics
stay in memory; what a speaker is called is a pseudonym.
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
import torch

from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser, micro_batches
from model_serving.threads import model_threads
from model_serving.voice.net import VoiceStatistics
from pipelines.affect import Rows, admit
from pipelines.config import Config
from pipelines.run.consumed import verify_consumed
from pipelines.run.replay import run_embedded
from schemas.arrow import take_rows, vector_column, vectors
from schemas.errors import AffectstreamError, QualityCode
from schemas.stages import MAIN, REFUSED, Tagged, kind_of
from transforms.stage import run_stage

MOST_CLIPS: Final = 20_000
"""Clips that are kept, those whose keyed ids sort first: 220 MB of statistics of voice-base."""

_VOICE: Final = "voice"
_STAGE: Final = "HearVoices"
_UNUSABLE: Final = {QualityCode.NO_SPEECH, QualityCode.TOO_SHORT, QualityCode.SEVERAL_VOICES}


@dataclass(frozen=True, slots=True)
class Clips:
    """Speakers (n,) and statistics (n, features) of clips, in the order of their ids.

    ``unusable`` counts clips that cannot be read, or hold no speech, too little, or that of several
    people; ``refused`` those that law or consent kept from inference.
    """

    speakers: np.ndarray
    statistics: np.ndarray
    unusable: int
    refused: int


@dataclass(slots=True)
class _Gathered:
    """What the stages of the embedded runner hand over; they run in this process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    clips: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.clips.clear()
        self.counts.clear()

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep each event once, and of too many those whose ids sort first: order never matters."""
        ids, speakers = batch["event_id"].to_pylist(), batch["subject_ref"].to_pylist()
        width = batch.schema.field("statistics").type.list_size
        # A view of a row would hold its whole batch.
        rows = [row.copy() for row in vectors(batch["statistics"], width)]
        with self.lock:
            self.clips.update(zip(ids, zip(speakers, rows, strict=True), strict=True))
            if len(self.clips) > 2 * MOST_CLIPS:
                self.clips = dict(sorted(self.clips.items())[:MOST_CLIPS])


_GATHERED = _Gathered()


def load_voice_model(folder: str) -> NetRecogniser:
    """Return a voice model of this project's network, whose centre can be moved.

    Raises AffectstreamError for any other.
    """
    found = load_recogniser(_VOICE, folder, None, "cpu")
    if not isinstance(found, NetRecogniser) or not isinstance(found.net, VoiceStatistics):
        message = (
            f"{folder} is not a model of the kind voice_statistics, which alone has a centre to "
            "move: name voice-base or voice-compact, or a folder that was trained from their recipe"
        )
        raise AffectstreamError(message)
    return found


def hear_clips(config: Config, folder: str) -> Clips:
    """Run the log of the configuration up to the statistics of its voice clips."""
    _GATHERED.clear()
    run_embedded(functools.partial(_build, config=config, folder=folder))
    kept = sorted(_GATHERED.clips.items())[:MOST_CLIPS]
    counts = _GATHERED.counts
    found = Clips(
        np.array([speaker for _, (speaker, _) in kept], dtype=object).astype(str),
        np.stack([row for _, (_, row) in kept]) if kept else np.zeros((0, 0), np.float32),
        counts["heard"] - counts["usable"],
        counts[REFUSED],
    )
    _GATHERED.clear()
    return found


def _build(p: beam.Pipeline, config: Config, folder: str) -> None:
    rows = Rows()
    events = admit(p, config, rows)
    heard = rows.take(run_stage(events, _STAGE, functools.partial(_hearer, folder)))
    _ = heard | "Gather" >> beam.Map(_gather)
    for table, parts in rows.items():
        given = parts[0] if len(parts) == 1 else parts | f"All:{table}" >> beam.Flatten()
        _ = given | f"Count:{table}" >> beam.Map(functools.partial(_count, table))
    verify_consumed(p)


def _gather(batch: pa.RecordBatch) -> None:
    _GATHERED.add(batch)


def _count(table: str, batch: pa.RecordBatch) -> None:
    """Count the voice rows of what does not go on."""
    if table == REFUSED:
        of_voice = pc.sum(pc.equal(batch["modality"], _VOICE)).as_py() or 0
        with _GATHERED.lock:
            _GATHERED.counts[table] += of_voice


def _hearer(folder: str) -> Callable[[pa.RecordBatch], Tagged]:
    """Return what turns EVENT batches of voice into ids, speakers and statistics."""
    model = load_voice_model(folder)

    def hear(events: pa.RecordBatch) -> Tagged:
        if kind_of(events) != _VOICE:
            return []
        with model_threads():
            rows, statistics = statistics_of(model, events["media"])
        with _GATHERED.lock:
            _GATHERED.counts["heard"] += events.num_rows
            _GATHERED.counts["usable"] += len(rows)
        usable = take_rows(events, rows)
        columns = {name: usable[name] for name in ("event_id", "subject_ref")}
        found = pa.record_batch(columns | {"statistics": vector_column(statistics)})
        return [(MAIN, found)]

    return hear


def statistics_of(model: NetRecogniser, media: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return which files (n,) hold one voice that can be judged, and its statistics (n, k)."""
    prepared = model.front_end.prepare(media)
    found = np.zeros((len(prepared.rows), model.net.config.features), np.float32)
    for picked in micro_batches(prepared.lengths, model.front_end):
        inputs = prepared.collate(picked)
        lengths = inputs["attention_mask"].sum(dim=1).long()
        with torch.inference_mode():
            found[picked] = model.net.statistics(inputs["input_values"].float(), lengths).numpy()
    usable = np.array([code not in _UNUSABLE for code in prepared.codes], bool)
    usable &= np.isfinite(found).all(axis=1)
    return prepared.rows[usable], found[usable]
