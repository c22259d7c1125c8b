"""Attribution by the shipped models: what it covers, and that the models say its figures."""

from io import BytesIO
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from PIL import Image

from model_serving.attribution.attribute import attribute
from model_serving.attribution.face import _cells, _cover
from model_serving.loader import load_recogniser
from model_serving.recogniser import ConstantRecogniser, Recogniser
from pipelines.config import WEIGHTS
from pipelines.sessionlogs.faces import Camera, photograph
from pipelines.sessionlogs.sample_data import clips
from schemas.arkit import EXPRESSION_WEIGHTS
from schemas.modalities import MOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS

JOY = EXPRESSIONS.index("joy")
FRAME = pa.list_(pa.float32(), len(MOTION_FEATURES))


def recogniser(modality: str) -> Recogniser:
    return load_recogniser(modality, str(WEIGHTS / f"{modality}-compact"), None, "cpu")


def text(words: str) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array([words])})


def probability(words: str, expression: int) -> float:
    return float(recogniser("text").estimate(text(words)).scores[0, expression])


def test_a_words_figure_is_what_the_model_says_without_it() -> None:
    said = "I hate it, what a happy day"
    found = attribute("text", recogniser("text"), text(said), JOY)
    assert [part.name for part in found.parts] == [
        "I", "hate", "it", ",", "what", "a", "happy", "day",
    ]  # fmt: skip
    assert found.probability == pytest.approx(probability(said, JOY), abs=1e-4)
    for part in found.parts:
        assert said[int(part.start) : int(part.end)] == part.name
        without = said[: int(part.start)] + said[int(part.end) :]
        left = probability(without, JOY)
        assert part.effect == pytest.approx(found.probability - left, abs=1e-4)
    effects = {part.name: part.effect for part in found.parts}
    assert max(effects, key=effects.__getitem__) == "happy"
    assert effects["hate"] < 0, "it speaks against joy"


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("我很开心！", ["我", "很", "开", "心", "！"]),
        ("don't <email> 😀😀 ok", ["don't", "<email>", "😀😀", "ok"]),
        ("nice" * 3, ["nicenicenice"]),
        ("", []),
        (" ".join(f"w{n}" for n in range(99)), [f"w{n}" for n in range(64)]),
    ],
)
def test_spans_are_words_characters_placeholders_and_signs(said: str, names: list[str]) -> None:
    found = attribute("text", recogniser("text"), text(said), JOY)
    assert [part.name for part in found.parts] == names


def sound_file(wave: np.ndarray, rate: int) -> pa.RecordBatch:
    file = BytesIO()
    soundfile.write(file, wave, rate, format="WAV")
    return pa.record_batch({"media": pa.array([file.getvalue()], pa.binary())})


def test_the_ranges_of_a_clip_tile_it_and_its_silence_moves_less_than_its_speech() -> None:
    clip = next(clip for clip in clips() if clip.lang == "en" and clip.seconds > 1.5)
    wave, rate = soundfile.read(BytesIO(clip.media), dtype="float32")
    quiet = np.zeros(2 * rate, np.float32)
    event = sound_file(np.concatenate([quiet, wave]), rate)
    found = attribute("voice", recogniser("voice"), event, EXPRESSIONS.index(clip.expression))
    edges = [part.start for part in found.parts] + [found.parts[-1].end]
    assert edges[0] == 0
    assert edges[-1] == pytest.approx(2 + len(wave) / rate, abs=1e-3)
    assert [part.end for part in found.parts] == edges[1:]
    assert all(0.2 < end - start < 15 / 24 + 0.05 for start, end in pairwise(edges))
    silent = [abs(part.effect) for part in found.parts if part.end <= 2]
    spoken = [abs(part.effect) for part in found.parts if part.start >= 2]
    assert max(silent) < 1e-6 < max(spoken)


def test_sound_that_cannot_be_decoded_has_no_attribution() -> None:
    event = pa.record_batch({"media": pa.array([b"RIFF of nothing"], pa.binary())})
    assert attribute("voice", recogniser("voice"), event, 0) is None


def picture(expression: str) -> pa.RecordBatch:
    media = photograph(3, EXPRESSIONS.index(expression), 0, Camera(80, True, "png"))
    return pa.record_batch({"media": pa.array([media], pa.binary())})


@pytest.mark.parametrize("size", [(48, 48), (224, 224), (50, 61)])
def test_the_regions_of_a_face_cover_each_pixel_once(size: tuple[int, int]) -> None:
    pixels = torch.arange(size[0] * size[1], dtype=torch.float32).reshape(1, 1, *size)
    covered = torch.zeros(size, dtype=torch.int64)
    for rows, columns in _cells(pixels):
        covered[rows, columns] += 1
        changed = (_cover(pixels, rows, columns) != pixels)[0, 0]
        inside = torch.zeros(size, dtype=torch.bool)
        inside[rows, columns] = True
        assert not (changed & ~inside).any()
    assert (covered == 1).all()


def test_a_smile_is_seen_at_the_mouth_more_than_at_the_chin() -> None:
    found = attribute("face", recogniser("face"), picture("joy"), JOY)
    whole = recogniser("face").estimate(picture("joy"))
    assert found.probability == pytest.approx(float(whole.scores[0, JOY]), abs=1e-4)
    effects = {part.name: abs(part.effect) for part in found.parts}
    mouth, chin = (
        max(effect for name, effect in effects.items() if name.startswith(region))
        for region in ("mouth", "chin")
    )
    assert mouth > chin


def test_a_picture_without_a_face_still_adds_up_to_a_guess() -> None:
    grey = BytesIO()
    Image.new("L", (400, 300), 128).save(grey, "PNG")
    event = pa.record_batch({"media": pa.array([grey.getvalue()], pa.binary())})
    found = attribute("face", recogniser("face"), event, JOY)
    assert found.probability == pytest.approx(1 / len(EXPRESSIONS))
    assert {part.effect for part in found.parts} == {0.0}
    broken = pa.record_batch({"media": pa.array([b"no picture"], pa.binary())})
    assert attribute("face", recogniser("face"), broken, JOY) is None


def test_shapes_that_are_at_rest_have_no_part() -> None:
    frame = np.zeros(len(MOTION_FEATURES), np.float32)
    frame[: EXPRESSION_WEIGHTS.shape[1]] = EXPRESSION_WEIGHTS[JOY]
    event = pa.record_batch({"weights": pa.array([frame.tolist()], FRAME)})
    found = attribute("motion", recogniser("motion"), event, JOY)
    assert {part.name for part in found.parts} == {
        MOTION_FEATURES[place] for place in np.flatnonzero(frame)
    }
    assert max(part.effect for part in found.parts) > 0.01
    for part in found.parts:
        rest = frame.copy()
        rest[MOTION_FEATURES.index(part.name)] = 0
        alone = pa.record_batch({"weights": pa.array([rest.tolist()], FRAME)})
        left = float(recogniser("motion").estimate(alone).scores[0, JOY])
        assert part.effect == pytest.approx(found.probability - left, abs=1e-5)


def test_a_model_that_computes_nothing_is_moved_by_nothing() -> None:
    found = attribute("text", ConstantRecogniser(), text("so happy"), JOY)
    assert {part.effect for part in found.parts} == {0.0}
    assert attribute("face", ConstantRecogniser(), picture("joy"), JOY) is None
    assert attribute("gaze", ConstantRecogniser(), text("x"), JOY) is None
