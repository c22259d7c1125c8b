import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from records import pseudonymous, record

from pipelines.config import WEIGHTS
from transforms.recognise import Recognise
from transforms.stage import DEAD, MAIN
from transforms.window import is_observed


def kinds(batches: list[pa.RecordBatch]) -> list[tuple[bool, int]]:
    return sorted((is_observed(batch), batch.num_rows) for batch in batches)


def test_a_recogniser_takes_its_own_and_passes_the_others() -> None:
    text = pseudonymous(*(record("text", n, {"text": "well played"}) for n in range(3)))
    motion = pseudonymous(record("motion", 5, {"weights": {"jawOpen": 0.5}}))
    context = pseudonymous(record("context", 6, {"activity": "duel"}))
    face = pseudonymous(record("face", 7, b"\xff\xd8\xffno picture"))

    def expect(found: list[pa.RecordBatch]) -> None:
        assert kinds(found) == [(False, 1), (False, 1), (True, 3)]
        (observed,) = [batch for batch in found if is_observed(batch)]
        assert observed["model_id"].to_pylist() == ["constant@1"] * 3
        assert "text" not in observed.schema.names

    def expect_dead(found: list[pa.RecordBatch]) -> None:
        assert [(b["stage"][0].as_py(), b["code"][0].as_py()) for b in found] == [
            ("RecogniseFace", "image_undecodable")
        ]

    with beam.Pipeline(runner=FnApiRunner()) as p:
        stream = p | beam.Create([text, motion, context, face], reshuffle=False)
        texts = stream | Recognise(modality="text", model="constant")
        faces = texts[MAIN] | Recognise(modality="face", model=str(WEIGHTS / "face-compact"))
        assert_that(faces[MAIN], expect)
        assert_that(faces[DEAD], expect_dead, label="dead")
