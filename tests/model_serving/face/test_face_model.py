from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from model_serving.card import read_card
from model_serving.loader import load_recogniser
from model_serving.training.face.data import FACE_LABELS, Faces, augment, load_faces, to_pixels
from model_serving.training.face.start import renormalise
from model_serving.training.face.train import build_processor, cross_validate, teach, train
from model_serving.training.harness import Run
from model_serving.training.heads import label_maps
from model_serving.training.recipe import Distil, read_recipe
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS, to_ekman
from tests.support.model_folders import rendered_faces

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "model_serving" / "weights" / "face-compact"
SIDE = 72
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


def _archive(data, counts, seed=8):
    rng = np.random.default_rng(seed)
    parts = {"columns": np.array(COLUMNS)}
    for split, count in counts.items():
        parts[f"{split}_x"] = rng.integers(0, 256, (count, 48, 48), np.uint8)
        parts[f"{split}_votes"] = np.eye(10, dtype=np.uint8)[rng.integers(0, 8, count)] * 10
    (data / "face").mkdir()
    np.savez(data / "face" / "ferplus.npz", **parts)
    return parts


def test_votes_are_read_by_the_rules_of_the_paper(tmp_path):
    votes = [
        _votes(happiness=8, neutral=1, fear=1),  # single votes are outliers
        _votes(unknown=5, fear=4, anger=1),  # unknown wins: left out
        _votes(NF=10),
        _votes(disgust=3, contempt=4, neutral=3),  # no majority
        _votes(sadness=5, neutral=3, fear=1, anger=1),  # 5 of the 8 that count
    ]
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((48, 48), np.uint8)
    path = tmp_path / "faces.npz"
    np.savez(path, columns=np.array(COLUMNS), test_votes=np.array(votes, np.uint8), test_x=images)
    faces = load_faces(path, "test")
    assert faces.images[:, 0, 0].tolist() == [0, 3, 4]
    shown = [FACE_LABELS[i] for i in faces.votes.argmax(axis=1)]
    assert shown == ["happiness", "contempt", "sadness"]
    assert faces.majority.tolist() == [True, False, True]
    assert np.allclose(faces.votes.sum(axis=1), 1.0)
    assert faces.votes[0].max() == 1.0


@pytest.mark.parametrize("shape", [(48, 48), (100, 80), (48, 3), (1, 48)])
def test_processor_takes_grey_images_of_any_size(shape, tmp_path):
    build_processor(SIDE).save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    grey = np.full((*shape, 1), 255, np.uint8)
    found = processor(grey, input_data_format="channels_last", return_tensors="pt")
    assert found["pixel_values"].shape == (1, 1, SIDE, SIDE)
    assert torch.allclose(found["pixel_values"], torch.tensor(2.0), atol=1e-5)


def test_training_scales_as_the_processor_does():
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    served = build_processor(SIDE)(list(images[..., None]), input_data_format="channels_last")
    faces = Faces(images, np.eye(8, dtype=np.float32)[:3], np.ones(3, bool), side=SIDE)
    trained = faces.__getitems__([0, 1, 2])["pixel_values"].numpy()
    # Pillow rounds what it resizes to whole grey levels, 1/255 of the range of 4.
    assert np.abs(np.stack(served["pixel_values"]) - trained).max() < 0.02


def test_augmentation_changes_images_and_keeps_their_scale():
    images = to_pixels(np.random.default_rng(1).integers(0, 256, (16, 48, 48), np.uint8))
    torch.manual_seed(3)
    moved = augment(images, 72)
    torch.manual_seed(3)
    again = augment(images, 72)
    assert moved.shape == (16, 1, 72, 72)
    assert torch.equal(moved, again)
    assert torch.isfinite(moved).all()
    assert moved.abs().max() < 6
    assert (moved[0] - moved[1]).abs().mean() > 0.1


def test_norms_are_unfolded_without_a_change_of_answers():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    net[1].running_mean.fill_(0.3)
    net[1].weight.data.fill_(1.7)
    pixels = torch.randn(8, 1, 12, 12)
    before = net.eval()(pixels)
    renormalise(_Called(net), pixels)
    assert torch.allclose(net.eval()(pixels), before, atol=1e-5)
    assert torch.allclose(net[1].running_mean, net[0](pixels).mean(dim=(0, 2, 3)), atol=1e-5)


class _Called(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pixel_values):
        return self.net(pixel_values)


def _reverse_outputs(folder, out):
    """Write the same model with its outputs in the other order, under their names."""
    net = AutoModelForImageClassification.from_pretrained(folder)
    head = net.classifier[-1]
    with torch.no_grad():
        head.weight.copy_(head.weight.flip(0))
        head.bias.copy_(head.bias.flip(0))
    for name, value in label_maps(dict(enumerate(FACE_LABELS[::-1]))).items():
        setattr(net.config, name, value)
    net.save_pretrained(out)


def test_training_writes_a_folder_that_loads_and_teaches(tmp_path):
    parts = _archive(tmp_path, {"train": 64, "valid": 20})
    recipe = read_recipe("face-compact").model_copy(update={"distil": None})
    schedule = recipe.schedule.model_copy(update={"epochs": 1, "evaluations": 1, "batch": 32})
    net = {"body": "resnet", "side": 48, "average": 0.9}
    recipe = recipe.model_copy(update={"schedule": schedule, "net": net})
    run = Run(folder=tmp_path / "run", build=tmp_path, quiet=True)
    folder = tmp_path / "models" / "first"
    card = train(recipe, tmp_path, folder, run)
    model = load_recogniser("face", str(folder), None, "cpu")
    assert model.model_id == card.model_id
    assert card.training_data[0].rows == 64
    assert model.estimate(_column(parts["valid_x"])).scores.shape == (20, 7)
    pupil = recipe.model_copy(
        update={
            "name": "pupil",
            "distil": Distil(teachers=["first"]),
            "net": net | {"start": "first"},
        }
    )
    faces = load_faces(tmp_path / "face" / "ferplus.npz", "train")
    taught = teach([folder], faces)
    assert taught.shape == (64, 8)
    _reverse_outputs(folder, tmp_path / "models" / "reversed")
    assert teach([tmp_path / "models" / "reversed"], faces) == pytest.approx(taught, abs=1e-4)
    assert train(pupil, tmp_path, tmp_path / "models" / "pupil", run).name == "pupil"


def test_a_start_that_is_not_there_is_told(tmp_path):
    _archive(tmp_path, {"train": 16, "valid": 8})
    recipe = read_recipe("face-compact").model_copy(update={"distil": None})
    with pytest.raises(
        AffectstreamError, match=r"no model face-compact-1\.0\.0 in .*recipe's notes say"
    ):
        train(recipe, tmp_path, tmp_path / "out", Run(folder=tmp_path, build=tmp_path))


def test_folds_of_people_are_refused(tmp_path):
    with pytest.raises(AffectstreamError, match="faces have no names"):
        cross_validate(read_recipe("face-compact"), tmp_path, Run(folds=3))


@pytest.fixture(scope="module")
def recogniser():
    return load_recogniser("face", str(FOLDER), None, "cpu")


def test_scores_do_not_depend_on_the_batch(recogniser):
    images = rendered_faces(9)
    together = recogniser.estimate(_column(images)).scores
    assert np.ptp(together, axis=1).min() > 0.1  # none is a flat answer
    for row, image in enumerate(images):
        alone = recogniser.estimate(_column(image[None])).scores[0]
        assert np.abs(alone - together[row]).max() < 1e-4


def test_card_is_honest_about_the_images():
    card = read_card(FOLDER / "card.json")
    assert card.licence == "research"
    assert "unclear" in card.notes
    assert "FER+ test, majority vote, 8 classes" in {figure.split for figure in card.figures}


@pytest.mark.corpora
def test_shipped_model_beats_chance_by_far_on_test_faces(recogniser, corpora):
    faces = load_faces(corpora / "face" / "ferplus.npz", "test")
    images, votes = faces.images[faces.majority][:600], faces.votes[faces.majority][:600]
    shown = np.array([EXPRESSIONS.index(to_ekman(name)) for name in FACE_LABELS])
    found = recogniser.estimate(_column(images)).scores
    assert (found.argmax(axis=1) == shown[votes.argmax(axis=1)]).mean() > 0.75
