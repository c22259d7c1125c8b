"""RecogniseText, RecogniseVoice, RecogniseFace, RecogniseMotion: events → observations."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.ml.inference.base import RunInference

from model_serving.handler import Recognised, RecogniserHandler
from transforms.stage import DEAD, MAIN, Outputs, stage_counters


class _Split(beam.DoFn):
    """Parts what a recogniser gave into observations and dead letters."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def setup(self) -> None:
        self._rows_in, self._rows_out, _ = stage_counters(self._stage)

    def process(self, recognised: Recognised) -> Iterator[Any]:
        good, bad = recognised.observations, recognised.dead_letters
        self._rows_in.inc(good.num_rows + bad.num_rows)
        self._rows_out.inc(good.num_rows)
        if good.num_rows:
            yield good
        if bad.num_rows:
            yield beam.pvalue.TaggedOutput(DEAD, bad)


class Recognise(beam.PTransform):
    """Gated event batches of one modality → observation batches, and dead letters.

    The payload columns end here. ``model`` is a folder, a Hugging Face id or ``constant``.
    """

    def __init__(
        self, *, modality: str, model: str, card: str | None = None, device: str = "cpu"
    ) -> None:
        super().__init__(f"Recognise{modality.capitalize()}")
        self._handler = RecogniserHandler(modality=modality, model=model, card=card, device=device)

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        types = {DEAD: pa.RecordBatch}
        return (
            pcoll
            | "Infer" >> RunInference(self._handler, metrics_namespace=self.label)  # Recognised
            | "Split"
            >> beam.ParDo(_Split(self.label))
            .with_output_types(pa.RecordBatch, **types)
            .with_outputs(DEAD, main=MAIN)
        )
