from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_serving.card import read_card
from model_serving.corpora.motion import HARDER, PLAIN, motion_frames
from model_serving.loader import load_recogniser
from model_serving.training.harness import Run
from model_serving.training.motion.train import cross_validate, train
from model_serving.training.recipe import read_recipe
from schemas.arkit import EXPRESSION_WEIGHTS, HEAD_POSE
from schemas.arrow import vector_column
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS
from tests.support.properties import examples

FOLDER = Path(__file__).parents[3] / "model_serving" / "weights" / "motion-compact"
NEUTRAL = EXPRESSIONS.index("neutral")


@pytest.fixture(scope="module")
def recogniser():
    return load_recogniser("motion", str(FOLDER), None, "cpu")


def _estimate(recogniser, frames):
    return recogniser.estimate(pa.record_batch({"weights": vector_column(frames)})).scores


@examples(25)
@given(
    expressions=st.lists(st.integers(0, 6), max_size=50),
    seed=st.integers(0, 2**32 - 1),
    style=st.sampled_from([PLAIN, HARDER]),
)
def test_frames_are_what_a_motion_event_may_hold(expressions, seed, style):
    labels = np.array(expressions, int)
    frames = motion_frames(labels, np.random.default_rng(seed), style)
    assert frames.shape == (len(labels), 55)
    assert frames.dtype == np.float32
    assert ((frames[:, :52] >= 0) & (frames[:, :52] <= 1)).all()
    assert (np.abs(frames[:, 52:]) < np.pi).all()
    again = motion_frames(labels, np.random.default_rng(seed), style)
    assert np.array_equal(frames, again)


def test_the_mean_frame_of_an_expression_moves_its_own_action_units():
    labels = np.repeat(np.arange(7), 800)
    frames = motion_frames(labels, np.random.default_rng(5))[:, :52]
    rest = frames[labels == NEUTRAL].mean(axis=0)
    for index, name in enumerate(EXPRESSIONS):
        moved = EXPRESSION_WEIGHTS[index] > 0
        rise = frames[labels == index].mean(axis=0) - rest
        if name == "neutral":
            continue
        assert rise[moved].min() > 0.15, name
        assert rise[~moved].max() < rise[moved].max(), name


def test_harder_frames_show_less():
    labels = np.full(2000, EXPRESSIONS.index("joy"))
    smile = EXPRESSION_WEIGHTS[labels[0]] > 0
    plain = motion_frames(labels, np.random.default_rng(1), PLAIN)[:, :52][:, smile].mean()
    harder = motion_frames(labels, np.random.default_rng(1), HARDER)[:, :52][:, smile].mean()
    assert harder < 0.8 * plain


def test_shipped_model_knows_the_prototypes(recogniser):
    pose = np.zeros((7, len(HEAD_POSE)), np.float32)
    scores = _estimate(recogniser, np.hstack([EXPRESSION_WEIGHTS, pose]))
    assert scores.argmax(axis=1).tolist() == list(range(7))
    assert np.allclose(scores.sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(("style", "least"), [(PLAIN, 0.84), (HARDER, 0.66)])
def test_shipped_model_beats_chance_by_far_on_unseen_frames(recogniser, style, least):
    rng = np.random.default_rng(987_654)
    labels = rng.integers(0, 7, 3000)
    scores = _estimate(recogniser, motion_frames(labels, rng, style))
    assert (scores.argmax(axis=1) == labels).mean() > least


def test_card_says_that_no_person_was_seen():
    card = read_card(FOLDER / "card.json")
    assert "never saw a" in card.notes
    assert card.licence == "open"
    assert all(figure.split.startswith("generated") for figure in card.figures)


def test_one_epoch_of_training_writes_a_folder_that_loads(tmp_path):
    recipe = read_recipe("motion-compact")
    schedule = recipe.schedule.model_copy(update={"epochs": 1, "evaluations": 1})
    recipe = recipe.model_copy(update={"schedule": schedule, "net": {"frames": 60 * 512}})
    run = Run(folder=tmp_path / "run", quiet=True)
    card = train(recipe, tmp_path / "no-data-needed", tmp_path / "motion", run)
    model = load_recogniser("motion", str(tmp_path / "motion"), None, "cpu")
    assert model.model_id == card.model_id
    assert card.training_data[0].rows == 60 * 512
    labels = np.arange(7).repeat(50)
    scores = _estimate(model, motion_frames(labels, np.random.default_rng(3)))
    assert (scores.argmax(axis=1) == labels).mean() > 0.6


def test_nobody_can_be_left_out_of_generated_frames(tmp_path):
    with pytest.raises(AffectstreamError, match="no people"):
        cross_validate(read_recipe("motion-compact"), tmp_path, Run())
