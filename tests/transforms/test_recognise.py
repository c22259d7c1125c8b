from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from pipelines.config import WEIGHTS
from schemas.settings import ModelSettings
from schemas.stages import DEAD, MAIN, OBSERVATION, kind_of
from tests.support.model_folders import picky_text
from tests.support.records import pseudonymous, record
from transforms.recognise import Recognise


def kinds(batches: list[pa.RecordBatch]) -> list[tuple[bool, int]]:
    return sorted((kind_of(batch) == OBSERVATION, batch.num_rows) for batch in batches)


def test_a_recogniser_takes_its_own_and_passes_the_others() -> None:
    text = pseudonymous(*(record("text", n, {"text": "well played"}) for n in range(3)))
    motion = pseudonymous(record("motion", 5, {"weights": {"jawOpen": 0.5}}))
    context = pseudonymous(record("context", 6, {"activity": "duel"}))
    face = pseudonymous(record("face", 7, b"\xff\xd8\xffno picture"))

    def expect(found: list[pa.RecordBatch]) -> None:
        assert kinds(found) == [(False, 1), (False, 1), (True, 3)]
        (observed,) = [batch for batch in found if kind_of(batch) == OBSERVATION]
        assert observed["model_id"].to_pylist() == ["constant@1"] * 3
        assert "text" not in observed.schema.names

    def expect_dead(found: list[pa.RecordBatch]) -> None:
        assert [(b["stage"][0].as_py(), b["code"][0].as_py()) for b in found] == [
            ("RecogniseFace", "image_undecodable")
        ]

    with beam.Pipeline(runner=FnApiRunner()) as p:
        stream = p | beam.Create([text, motion, context, face], reshuffle=False)
        texts = stream | Recognise(modality="text", settings=ModelSettings(model="constant"))
        faces = texts[MAIN] | Recognise(
            modality="face", settings=ModelSettings(model=str(WEIGHTS / "face-compact"))
        )
        assert_that(faces[MAIN], expect)
        assert_that(faces[DEAD], expect_dead, label="dead")


@pytest.mark.parametrize("count", [1, 9])
def test_an_event_that_a_front_end_cannot_bear_is_poison(tmp_path: Path, count: int) -> None:
    said = ["well played"] * count
    said[count // 2] = "ß"
    text = pseudonymous(*(record("text", n, {"text": text}) for n, text in enumerate(said)))

    def expect(found: list[pa.RecordBatch]) -> None:
        assert sum(batch.num_rows for batch in found) == count - 1

    def expect_dead(found: list[pa.RecordBatch]) -> None:
        (row,) = [row for batch in found for row in batch.to_pylist()]
        assert (row["stage"], row["code"], row["offset"]) == ("RecogniseText", "poison", count // 2)
        assert row["detail"] == "Exception in this stage"

    with beam.Pipeline(runner=FnApiRunner()) as p:
        stream = p | beam.Create([text], reshuffle=False)
        texts = stream | Recognise(
            modality="text", settings=ModelSettings(model=str(picky_text(tmp_path)))
        )
        assert_that(texts[MAIN], expect)
        assert_that(texts[DEAD], expect_dead, label="dead")
