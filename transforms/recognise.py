"""RecogniseText, RecogniseVoice, RecogniseFace, RecogniseMotion: events → observations."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.ml.inference.base import RunInference

from model_serving.gaps import GapLimit
from model_serving.handler import Recognised, RecogniserHandler
from model_serving.recogniser import Recogniser
from schemas.settings import Licence, ModelSettings
from schemas.stages import DEAD, MAIN, Tagged, recognition_stage
from schemas.tables import DEAD_LETTERS
from transforms.isolation.isolate import Isolation
from transforms.stage import Outputs, count_dead


class IsolatingHandler(RecogniserHandler):
    """A recogniser's handler that an event costs no more than itself, whatever it makes raise."""

    def __init__(
        self,
        *,
        modality: str,
        settings: ModelSettings,
        licence: Licence,
        gaps: GapLimit | None,
        embeddings_for: tuple[str, ...],
    ) -> None:
        super().__init__(
            modality=modality,
            model=settings.model,
            card=settings.card,
            device=settings.device,
            licence=licence,
            gaps=gaps,
            embeddings_for=embeddings_for,
        )
        self._isolation = Isolation(recognition_stage(modality))

    def recognise(self, events: pa.RecordBatch, model: Recogniser) -> Recognised:
        recognise = super().recognise

        def work(rows: pa.RecordBatch) -> Tagged:
            found = recognise(rows, model)
            return [(MAIN, found.observations), (DEAD, found.dead_letters)]

        given = list(self._isolation.work(work, events))
        observed = [batch for tag, batch in given if tag == MAIN]
        dead = [batch for tag, batch in given if tag == DEAD]
        if not observed:  # all are dead: the schema is that of no rows
            observed = [recognise(events.slice(0, 0), model).observations]
        return Recognised(pa.concat_batches(observed), pa.concat_batches(dead or [_NOTHING]))


_NOTHING = pa.RecordBatch.from_pylist([], schema=DEAD_LETTERS)


class _Split(beam.DoFn):
    """Parts what a recogniser gave into batches that go on and dead letters."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def process(self, recognised: Recognised) -> Iterator[Any]:
        if recognised.observations.num_rows:
            yield recognised.observations
        if recognised.dead_letters.num_rows:
            count_dead(self._stage, recognised.dead_letters)
            yield beam.pvalue.TaggedOutput(DEAD, recognised.dead_letters)


class Recognise(beam.PTransform):
    """Batches of all kinds → the same stream, one modality's events become observations.

    Its payload columns end here; batches of other kinds pass as they are. So the recognisers stand
    in a row and not side by side: nothing has to be flattened, which the embedded runner would do
    by holding all observations of a log in memory (docs/adr/0004). Under an open ``licence`` the
    workers refuse weights that are for research only, and with ``gaps`` those of which the groups
    on the card lie too far apart. Embeddings go on for the purposes ``embeddings_for`` alone.
    """

    def __init__(
        self,
        *,
        modality: str,
        settings: ModelSettings,
        licence: Licence = "research",
        gaps: GapLimit | None = None,
        embeddings_for: tuple[str, ...] = (),
    ) -> None:
        super().__init__(recognition_stage(modality))
        self._handler = IsolatingHandler(
            modality=modality,
            settings=settings,
            licence=licence,
            gaps=gaps,
            embeddings_for=embeddings_for,
        )

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
