"""RecogniseText, RecogniseVoice, RecogniseFace, RecogniseMotion: events → observations."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.ml.inference.base import RunInference

from model_serving.handler import Recognised, RecogniserHandler, stage_of
from transforms.stage import DEAD, MAIN, Outputs


class _Split(beam.DoFn):
    """Parts what a recogniser gave into batches that go on and dead letters."""

    def process(self, recognised: Recognised) -> Iterator[Any]:
        if recognised.observations.num_rows:
            yield recognised.observations
        if recognised.dead_letters.num_rows:
            yield beam.pvalue.TaggedOutput(DEAD, recognised.dead_letters)


class Recognise(beam.PTransform):
    """Batches of all kinds → the same stream, one modality's events become observations.

    Its payload columns end here; batches of other kinds pass as they are. So the recognisers stand
    in a row and not side by side: nothing has to be flattened, which the embedded runner would do
    by holding all observations of a log in memory (docs/adr/0004). ``model`` is a folder, a
    Hugging Face id or ``constant``; ``settings`` are the handler's: its ``card``, ``device`` and
    ``licence``.
    """

    def __init__(self, *, modality: str, model: str, **settings: Any) -> None:
        super().__init__(stage_of(modality))
        self._handler = RecogniserHandler(modality=modality, model=model, **settings)

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        types = {DEAD: pa.RecordBatch}
        return (
            pcoll
            | "Infer" >> RunInference(self._handler, metrics_namespace=self.label)  # Recognised
            | "Split"
            >> beam.ParDo(_Split())
            .with_output_types(pa.RecordBatch, **types)
            .with_outputs(DEAD, main=MAIN)
        )
