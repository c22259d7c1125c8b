"""FuseModalities: WINDOW rows → feature rows, attention over the modalities that are there."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics

from model_serving.fusion import Fusion, load_fusion
from model_serving.gaps import GapLimit
from schemas.arrow import fill_schema, take_rows, vector_column, vectors
from schemas.modalities import MODALITIES
from schemas.stages import MAIN, ON_TIME, Stage, Tagged
from schemas.tables import EMOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS, VOCABULARY, affect_of
from transforms.deciding.reviews import measure_disagreement
from transforms.stage import Outputs, run_stage

NOT_FINITE: Final = "not_finite"
"""Beam counter: modalities of windows whose scores or confidence are not finite."""


def fuse_batch(fusion: Fusion, windows: pa.RecordBatch) -> pa.RecordBatch:
    """Return one EMOTION_FEATURES row for each WINDOW row.

    A modality whose scores or confidence are not finite has no part in the estimate; its events are
    counted all the same. No row depends on the others of its batch, to the last bit.
    """
    count, width = windows.num_rows, len(MODALITIES)
    counts = vectors(windows["counts"], width)
    scores = vectors(windows["modality_scores"], width * len(EXPRESSIONS))
    scores = scores.reshape(count, width, len(EXPRESSIONS))
    confidence = vectors(windows["modality_confidence"], width)
    usable = np.where(find_not_finite(windows), 0, counts)
    fused = fusion.fuse(usable, scores, confidence)
    affect = affect_of(fused.scores)
    best = pa.array(fused.scores.argmax(axis=1), mask=fused.abstained)
    columns = {
        "vocabulary": pa.repeat(VOCABULARY, count),
        "scores": vector_column(fused.scores),
        "expression": pa.array(EXPRESSIONS).take(best),
        "confidence": pa.array(fused.confidence),
        "abstained": pa.array(fused.abstained),
        "valence": pa.array(affect[:, 0]),
        "arousal": pa.array(affect[:, 1]),
        "attention": vector_column(fused.attention),
        "model_id": pa.repeat(fusion.model_id, count),
        "event_date": windows["window_start"].cast(pa.date32()),
    }
    for place, modality in enumerate(MODALITIES):
        columns[f"n_{modality}"] = pa.array(counts[:, place])
    return fill_schema(EMOTION_FEATURES, columns, windows)


def find_not_finite(windows: pa.RecordBatch) -> np.ndarray:
    """Return a mask (n, 4) of the modalities with events whose scores or confidence are no numbers.

    Fusion would spread one of them over the row, and a history over all windows after it.
    """
    width = len(MODALITIES)
    scores = vectors(windows["modality_scores"], width * len(EXPRESSIONS))
    sound = np.isfinite(scores).reshape(-1, width, len(EXPRESSIONS)).all(axis=2)
    sound &= np.isfinite(vectors(windows["modality_confidence"], width))
    return ~sound & (vectors(windows["counts"], width) > 0)


class FuseModalities(beam.PTransform):
    """WINDOW batches → feature batches, and those of on-time panes once more under ON_TIME.

    With ``gaps`` a model whose card shows groups too far apart is refused.
    """

    def __init__(self, *, model: Path, gaps: GapLimit | None = None) -> None:
        super().__init__()
        self._model, self._gaps = model, gaps

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        make = functools.partial(_load, self._model, self._gaps)
        return run_stage(pcoll, Stage.FUSE, make, ON_TIME, placed=False)


def _load(model: Path, gaps: GapLimit | None) -> Callable[[pa.RecordBatch], Tagged]:
    fusion = load_fusion(model, gaps)

    def fuse(windows: pa.RecordBatch) -> Tagged:
        if broken := np.count_nonzero(find_not_finite(windows)):
            Metrics.counter(Stage.FUSE, NOT_FINITE).inc(broken)
        features = fuse_batch(fusion, windows)
        on_time = ~windows["late"].to_numpy(zero_copy_only=False)
        detailed = features
        for name in ("details", "shard"):  # which do not land
            detailed = detailed.append_column(name, windows[name])
        apart = pa.array(measure_disagreement(windows), pa.float32())
        detailed = detailed.append_column("disagreement", apart)
        return [(MAIN, features), (ON_TIME, take_rows(detailed, on_time))]

    return fuse
