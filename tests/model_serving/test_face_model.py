from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from model_serving.card import read_card
from model_serving.recogniser import load_recogniser
from model_serving.training.face import (
    SIDE,
    augment,
    build_model,
    build_processor,
    load_faces,
    to_pixels,
    train,
    upscaled,
)
from schemas.vocabularies import EXPRESSIONS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "model_serving" / "weights" / "face-compact"
COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    "unknown", "NF",
)  # fmt: skip


def _png(image):
    file = BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def _column(images):
    return pa.record_batch({"media": pa.array([_png(image) for image in images])})


def _votes(**given):
    return [given.get(name, 0) for name in COLUMNS]


def test_votes_become_expressions_and_unusable_faces_are_left_out(tmp_path):
    votes = [
        _votes(happiness=9, neutral=1),
        _votes(unknown=5, fear=4, anger=1),  # unknown wins: left out
        _votes(NF=10),
        _votes(disgust=3, contempt=3, neutral=4),  # contempt counts as disgust: 6 of 10
        _votes(sadness=4, neutral=3, fear=3),
    ]
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((48, 48), np.uint8)
    path = tmp_path / "faces.npz"
    np.savez(path, columns=np.array(COLUMNS), test_votes=np.array(votes, np.uint8), test_x=images)
    faces = load_faces(path, "test")
    assert faces.images[:, 0, 0].tolist() == [0, 3, 4]
    assert [EXPRESSIONS[i] for i in faces.votes.argmax(axis=1)] == ["joy", "disgust", "sadness"]
    assert faces.majority.tolist() == [True, True, False]
    assert np.allclose(faces.votes.sum(axis=1), 1.0)


@pytest.mark.parametrize("shape", [(48, 48), (100, 80), (48, 3), (1, 48)])
def test_processor_takes_grey_images_of_any_size(shape, tmp_path):
    build_processor().save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    grey = np.full((*shape, 1), 255, np.uint8)
    found = processor(grey, input_data_format="channels_last", return_tensors="pt")
    assert found["pixel_values"].shape == (1, 1, SIDE, SIDE)
    assert torch.allclose(found["pixel_values"], torch.tensor(2.0), atol=1e-5)


def test_training_scales_as_the_processor_does():
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    served = build_processor()(list(images[..., None]), input_data_format="channels_last")
    trained = next(upscaled(images))["pixel_values"].numpy()
    # Pillow rounds what it resizes to whole grey levels, 1/255 of the range of 4.
    assert np.abs(np.stack(served["pixel_values"]) - trained).max() < 0.02


def test_augmentation_changes_images_and_keeps_their_scale():
    images = to_pixels(np.random.default_rng(1).integers(0, 256, (16, 48, 48), np.uint8))
    moved = augment(images, 72, torch.Generator().manual_seed(3))
    again = augment(images, 72, torch.Generator().manual_seed(3))
    assert moved.shape == (16, 1, 72, 72)
    assert torch.equal(moved, again)
    assert torch.isfinite(moved).all()
    assert moved.abs().max() < 6
    assert (moved[0] - moved[1]).abs().mean() > 0.1


def test_untrained_net_loads_back_in_the_order_of_the_vocabulary(tmp_path):
    build_model().save_pretrained(tmp_path)
    net = AutoModelForImageClassification.from_pretrained(tmp_path, use_safetensors=True)
    assert tuple(net.config.id2label[i] for i in range(7)) == EXPRESSIONS
    assert net.config.num_channels == 1


def test_training_writes_a_folder_that_loads(tmp_path):
    rng = np.random.default_rng(8)
    parts = {"columns": np.array(COLUMNS)}
    for split, count in (("train", 256), ("valid", 20), ("test", 20)):
        parts[f"{split}_x"] = rng.integers(0, 256, (count, 48, 48), np.uint8)
        parts[f"{split}_votes"] = np.eye(10, dtype=np.uint8)[rng.integers(0, 8, count)] * 10
    (tmp_path / "face").mkdir()
    np.savez(tmp_path / "face" / "ferplus.npz", **parts)
    card = train(tmp_path, tmp_path / "model", epochs=1)
    model = load_recogniser("face", str(tmp_path / "model"), None, "cpu")
    assert model.model_id == card.model_id
    assert card.training_data[0].rows == 256
    assert model.estimate(_column(parts["test_x"])).scores.shape == (20, 7)


@pytest.fixture(scope="module")
def recogniser():
    return load_recogniser("face", str(FOLDER), None, "cpu")


def test_scores_do_not_depend_on_the_batch(recogniser):
    images = np.random.default_rng(2).integers(0, 256, (9, 48, 48), np.uint8)
    together = recogniser.estimate(_column(images)).scores
    for row, image in enumerate(images):
        alone = recogniser.estimate(_column(image[None])).scores[0]
        assert np.abs(alone - together[row]).max() < 1e-4


def test_card_is_honest_about_the_images():
    card = read_card(FOLDER / "card.json")
    assert card.licence == "research"
    assert "unclear" in card.notes
    assert {"FER+ valid", "FER+ test"} <= {figure.split for figure in card.figures}


@pytest.mark.corpora
def test_shipped_model_beats_chance_by_far_on_test_faces(recogniser, corpora):
    faces = load_faces(corpora / "face" / "ferplus.npz", "test")
    images, votes = faces.images[faces.majority][:600], faces.votes[faces.majority][:600]
    found = recogniser.estimate(_column(images)).scores
    assert (found.argmax(axis=1) == votes.argmax(axis=1)).mean() > 0.7
