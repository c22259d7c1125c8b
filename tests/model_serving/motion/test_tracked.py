"""What is not tracked, or is no face, lowers the confidence of motion as it lowers the accuracy."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from model_serving.corpora.motion import HARDER, PLAIN, motion_frames
from model_serving.loader import load_recogniser
from model_serving.motion.tracked import is_default, judge_frames
from schemas.arkit import AU_BLENDSHAPES, BLENDSHAPES
from schemas.errors import QualityCode
from schemas.vocabularies import EXPRESSIONS

FOLDER = Path(__file__).parents[3] / "model_serving" / "weights" / "motion-compact"
SHAPES = len(BLENDSHAPES)


@pytest.fixture(scope="module")
def recogniser():
    return load_recogniser("motion", str(FOLDER), None, "cpu")


def estimate(recogniser, frames, missing):
    absent = np.zeros(frames.shape, bool)
    absent[:, [BLENDSHAPES.index(name) for name in missing]] = True
    flat = pa.array(frames.reshape(-1), mask=absent.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, frames.shape[1])
    return recogniser.estimate(pa.record_batch({"weights": column}))


def shapes_of(*units):
    return [name for unit in units for name in AU_BLENDSHAPES[unit]]


@pytest.mark.parametrize(
    "missing",
    [
        shapes_of(1, 2, 4),
        shapes_of(1, 2, 4, 5, 6, 7),
        shapes_of(12, 15, 17, 20, 23, 24, 26),
        shapes_of(*(unit for unit in AU_BLENDSHAPES if unit != 26)),
        shapes_of(1, 2, 4, 6, 9, 24),
    ],
    ids=["no brows", "no upper face", "no mouth", "the jaw alone", "as SRanipal"],
)
@pytest.mark.parametrize("style", [PLAIN, HARDER], ids=["plain", "harder"])
def test_confidence_falls_with_accuracy_where_shapes_are_missing(recogniser, missing, style):
    rng = np.random.default_rng(77)
    labels = rng.integers(0, 7, 4000)
    found = estimate(recogniser, motion_frames(labels, rng, style), missing)
    accuracy = (found.scores.argmax(axis=1) == labels).mean()
    surplus = found.scores.max(axis=1).mean() - accuracy
    assert -0.16 < surplus < 0.08  # it was .06 to .84 when missing shapes were zeros
    assert set(found.codes) <= {QualityCode.FEW_SHAPES, QualityCode.OPPOSED_SHAPES}
    assert found.codes.count(QualityCode.FEW_SHAPES) > 0.98 * len(labels)


def test_the_other_side_of_a_face_stands_in(recogniser):
    rng = np.random.default_rng(78)
    labels = rng.integers(0, 7, 4000)
    frames = motion_frames(labels, rng)
    right = [name for name in BLENDSHAPES if name.endswith("Right") and name[:3] != "jaw"]
    whole, half = (estimate(recogniser, frames, missing) for missing in ([], right))
    right_of = [(found.scores.argmax(axis=1) == labels).mean() for found in (whole, half)]
    assert right_of[0] - right_of[1] < 0.02
    assert not any(half.codes)


@pytest.mark.parametrize("style", [PLAIN, HARDER], ids=["plain", "harder"])
def test_frames_of_faces_are_left_as_they_are(style):
    rng = np.random.default_rng(79)
    frames = motion_frames(rng.integers(0, 7, 20_000), rng, style)[:, :SHAPES]
    quality, codes = judge_frames(frames, np.ones(frames.shape, bool))
    assert (quality == 1).all()
    assert set(codes) == {None}


def test_noise_of_another_scale_is_no_face():
    rng = np.random.default_rng(80)
    noise = rng.uniform(0, 1, (2000, SHAPES)).astype(np.float32)
    quality, codes = judge_frames(noise, np.ones(noise.shape, bool))
    assert (quality < 0.35).mean() > 0.97
    assert codes.count(QualityCode.OPPOSED_SHAPES) > 0.97 * len(noise)


@pytest.mark.parametrize("unit", [9, 12])
def test_a_still_face_without_smile_or_sneer_is_neutral_by_default_only(recogniser, unit):
    rng = np.random.default_rng(81)
    labels = rng.integers(0, 7, 8000)
    frames = motion_frames(labels, rng)
    tracked = np.ones((len(frames), SHAPES), bool)
    tracked[:, [BLENDSHAPES.index(name) for name in shapes_of(unit)]] = False
    still = is_default(np.where(tracked, frames[:, :SHAPES], 0), tracked)
    found = estimate(recogniser, frames, shapes_of(unit))
    neutral = EXPRESSIONS.index("neutral")
    right = (labels[still] == neutral).mean()
    assert still.sum() > 500
    assert found.scores[still].max(axis=1).mean() < right
    assert {found.codes[row] for row in np.flatnonzero(still)} == {QualityCode.FEW_SHAPES}


def test_a_frame_of_which_nothing_is_known_contradicts_itself():
    values = np.zeros((2, SHAPES), np.float32)
    tracked = np.zeros(values.shape, bool)
    tracked[1, 0] = True
    quality, codes = judge_frames(values, tracked)
    assert codes == (QualityCode.OPPOSED_SHAPES, QualityCode.FEW_SHAPES)
    assert quality[0] == 0
