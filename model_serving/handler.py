"""The one seam of all recognisers: a model handler for Beam's RunInference on Arrow batches."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.coders import FastPrimitivesCoder, registry
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from model_serving.coarse import coarsen
from model_serving.front_end import Failure
from model_serving.gaps import GapLimit
from model_serving.loader import load_recogniser
from model_serving.recogniser import Estimates, Recogniser
from schemas.arrow import fill_schema, take_rows, vector_column
from schemas.dead_letters import dead_letters
from schemas.errors import AffectstreamError, QualityCode
from schemas.logs.events import LogEvent, log_fields
from schemas.modalities import MODALITIES
from schemas.stages import kind_of, recognition_stage
from schemas.tables import DEAD_LETTERS, OBSERVED
from schemas.vocabularies import EXPRESSIONS, affect_of

_CHECK_EVERY_S = 1.0
_FLAT = np.float32(1 / len(EXPRESSIONS) + 1e-6)  # the confidence in what can't be judged at all
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recognised:
    """What became of one batch: OBSERVATIONS rows and DEAD_LETTERS rows.

    A batch that is not of the recogniser's modality is in ``observations`` as it came.
    """

    observations: pa.RecordBatch
    dead_letters: pa.RecordBatch


class _RecognisedCoder(FastPrimitivesCoder):
    """Pickles, like Beam's default, but gives the size without, which took 1 ms for each batch."""

    def estimate_size(self, value: Recognised) -> int:
        parts = (value.observations, value.dead_letters)
        return sum(part.get_total_buffer_size() for part in parts)


registry.register_coder(Recognised, _RecognisedCoder)


class Loaded:
    """The one recogniser that a process holds for a handler; a swap releases the one before."""

    def __init__(self, model: Recogniser) -> None:
        self.model = model


class RecogniserHandler(ModelHandler[pa.RecordBatch, Recognised, Loaded]):
    """Loads a recogniser and turns each EVENT batch of its modality into one ``Recognised``.

    ``model`` is a local folder, a Hugging Face id, or ``constant``; ``card`` the path of a
    ``card.json`` where the folder holds none. A model is loaded once a process, and anew between
    two batches when the folder's card was replaced (files first, the card last): a folder that is
    only half written does not fit its card, and the model at hand goes on. So it does where
    ``licence`` is open and the new weights are for research only, and where the groups of the new
    card lie further apart than ``gaps`` allows.

    What goes on of a score is coarse, see ``model_serving.coarse``, and embeddings go on for the
    purposes ``embeddings_for`` alone.
    """

    def __init__(
        self,
        *,
        modality: str,
        model: str,
        card: str | None = None,
        device: str = "cpu",
        licence: str = "research",
        gaps: GapLimit | None = None,
        embeddings_for: Collection[str] = (),
    ) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        if modality not in MODALITIES:
            message = f"{modality!r} is no modality: name one of {', '.join(MODALITIES)}"
            raise AffectstreamError(message)
        self._modality = modality
        self._source = (model, card, device)
        self._licence = licence
        self._gaps = gaps
        self._embeddings_for = frozenset(embeddings_for)
        self._stage = recognition_stage(modality)
        self._rows_in = Metrics.counter(self._stage, "rows_in")
        self._rows_out = Metrics.counter(self._stage, "rows_out")
        self._batches = Metrics.counter(self._stage, "batches")
        self._forward_us = Metrics.counter(self._stage, "forward_us")
        self._checked_at = float("-inf")

    def load_model(self) -> Loaded:
        return Loaded(self._load())

    def _load(self) -> Recogniser:
        found = load_recogniser(self._modality, *self._source, self._gaps)
        if self._licence == "open" and found.licence != "open":
            message = f"`licence: open` refuses {found.model_id}: its weights are for research only"
            raise AffectstreamError(message)
        return found

    def run_inference(
        self,
        batch: Sequence[pa.RecordBatch],
        model: Loaded,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[Recognised]:
        newest = self._reload(model)
        return [
            self.recognise(events, newest)
            if self._is_own_kind(events)
            else Recognised(events, _NOTHING)
            for events in batch
        ]

    def get_num_bytes(self, batch: Sequence[pa.RecordBatch]) -> int:
        return sum(events.get_total_buffer_size() for events in batch)

    def _reload(self, loaded: Loaded) -> Recogniser:
        """Return the model as its folder holds it now, checked at most once a second."""
        now = time.monotonic()
        if now - self._checked_at >= _CHECK_EVERY_S:
            self._checked_at = now
            try:
                loaded.model = self._load()
            except AffectstreamError as error:  # a file is being replaced
                kept = loaded.model.model_id
                known = log_fields(
                    LogEvent.MODEL_KEPT, stage=self._stage, model=kept, reason=str(error)
                )
                _LOG.warning("%s goes on with %s: %s", self._stage, kept, error, extra=known)
        return loaded.model

    def _is_own_kind(self, batch: pa.RecordBatch) -> bool:
        return kind_of(batch) == self._modality

    def recognise(self, events: pa.RecordBatch, model: Recogniser) -> Recognised:
        """Return the observations of events of the recogniser's modality, and dead letters."""
        estimates = coarsen(
            model.estimate(events),
            lambda row: model.estimate(take_rows(events, np.array([row], np.int64))),
        )
        self._forward_us.inc(estimates.forward_us)
        self._rows_in.inc(events.num_rows)
        self._batches.inc()
        self._rows_out.inc(len(estimates.rows))
        return Recognised(
            observations(events, estimates, self._modality, model, self._embeddings_for),
            _dead_letters(events, estimates.failures, self._stage),
        )


def observations(
    events: pa.RecordBatch,
    estimates: Estimates,
    modality: str,
    model: Recogniser,
    embeddings_for: frozenset[str] = frozenset(),
) -> pa.RecordBatch:
    """Return the OBSERVATIONS rows of these estimates; payload columns end here.

    The embedding is null but for events whose purpose is one of ``embeddings_for``.
    """
    rows = take_rows(events, estimates.rows)
    count = rows.num_rows
    scores = estimates.scores.astype(np.float32)
    confidence = scores.max(axis=1, initial=0.0)
    judged = confidence if estimates.confidence is None else estimates.confidence.astype(np.float32)
    quality = pa.array(estimates.codes or [None] * count, pa.string())
    flat = quality.is_valid().to_numpy(zero_copy_only=False) & (judged < _FLAT)
    abstained = (judged < np.float32(model.threshold)) | flat  # a card may name no threshold
    none = pc.fill_null(pc.equal(quality, QualityCode.NONE_OF_THESE), fill_value=False)
    abstained |= none.to_numpy(zero_copy_only=False)
    best = pa.array(scores.argmax(axis=1), pa.int64(), mask=abstained)
    circumplex = np.clip(affect_of(scores), -1.0, 1.0)
    own = pc.is_in(rows["purpose"], pa.array(sorted(embeddings_for), pa.string()))
    hidden = ~own.to_numpy(zero_copy_only=False)
    columns = {
        "modality": pa.repeat(modality, count),
        "vocabulary": pa.repeat(model.vocabulary, count),
        "scores": vector_column(scores),
        "expression": pa.array(EXPRESSIONS).take(best),
        "confidence": pa.array(confidence, pa.float32()),
        "abstained": pa.array(abstained),
        "valence": pa.array(circumplex[:, 0], pa.float32()),
        "arousal": pa.array(circumplex[:, 1], pa.float32()),
        "quality": quality,
        "embedding": vector_column(np.where(hidden[:, None], 0, estimates.embeddings), hidden),
        "model_id": pa.repeat(model.model_id, count),
        "event_date": rows["event_time"].cast(pa.date32()),
    }
    return fill_schema(OBSERVED, columns, rows)


def _dead_letters(
    events: pa.RecordBatch, failures: Sequence[Failure], stage: str
) -> pa.RecordBatch:
    if not failures:
        return _NOTHING
    failed = sorted(failures, key=lambda failure: failure.row)
    rows = take_rows(events, np.array([failure.row for failure in failed], np.int64))
    codes = pa.array([str(failure.code) for failure in failed], pa.string())
    details = pa.array([failure.detail for failure in failed], pa.string())
    return dead_letters(rows, stage=stage, code=codes, detail=details)


_NOTHING = pa.RecordBatch.from_pylist([], schema=DEAD_LETTERS)
