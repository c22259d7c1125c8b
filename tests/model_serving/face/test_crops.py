import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from model_serving.face.crops import (
    bareness,
    contrast,
    crop_faces,
    crop_if_large,
    evenness,
    find_faces,
    frontality,
    lighten,
    sharpness,
    shrink_to_grey,
)
from model_serving.face.detector import load_detector, suppress
from schemas.errors import QualityCode
from schemas.vocabularies import EXPRESSIONS
from tests.support.model_folders import rendered_faces


def crop_face(image):
    (crop,), _ = crop_faces([crop_if_large(image)])
    return crop


def _textured(side, seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (side, side), np.uint8)
    return Image.fromarray(noise)


def _face(side):
    """A neutral one: the folds of the others outlast a blur of 3 px."""
    return Image.fromarray(rendered_faces(7, side)[EXPRESSIONS.index("neutral")])


def test_a_small_image_is_a_crop_already():
    crop = crop_face(_face(64))
    assert crop.image.size == (64, 64)
    assert crop.quality == 1.0
    assert crop.code is None


def test_a_small_image_without_a_face_has_no_quality():
    shapes = Image.new("L", (64, 64), 200)
    draw = ImageDraw.Draw(shapes)
    draw.rectangle((5, 10, 30, 60), fill=90)
    draw.text((20, 20), "exit", fill=10)
    rng = np.random.default_rng(2)
    grey = [Image.fromarray(rng.integers(0, 255, (48, 48), np.uint8)) for _ in range(50)]
    found = [crop_face(image) for image in (shapes, Image.new("L", (48, 48), 7), *grey)]
    assert sum(crop.quality > 0 for crop in found) <= 1
    assert {crop.code for crop in found if crop.quality == 0} == {QualityCode.NO_FACE}


@pytest.mark.parametrize(
    "size", [(640, 480), (97, 300), (700, 96), (20_000, 30), (30, 20_000), (3000, 2000)]
)
def test_an_image_without_a_face_has_no_quality(size):
    crop = crop_face(Image.new("RGB", size, (90, 120, 90)))
    assert crop.quality == 0.0
    assert crop.code is QualityCode.NO_FACE


def test_blur_lowers_quality_step_by_step():
    image = _face(48)
    found = [
        sharpness(shrink_to_grey(image.filter(ImageFilter.GaussianBlur(r)))) for r in (0, 1.5, 2, 3)
    ]
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    blurred = crop_face(image.filter(ImageFilter.GaussianBlur(3)))
    assert blurred.quality < 0.3
    assert blurred.code is QualityCode.BLURRED


def test_a_thumbnail_is_too_small():
    crop = crop_face(_face(14))
    assert crop.quality < 0.6
    assert crop.code is QualityCode.SMALL_FACE


def test_a_flat_image_and_a_single_pixel_are_judged():
    assert crop_face(Image.new("L", (48, 48), 7)).quality == 0.0
    assert 0 <= crop_face(Image.new("L", (1, 1), 7)).quality <= 1


def test_pixels_of_any_order_in_memory_are_looked_at():
    pixel = np.asarray(Image.new("RGB", (1, 1)))[::-1]
    found = load_detector().score_closely([pixel])
    assert 0 <= found[0] < 0.5


def test_a_batch_of_large_faces_is_held_small():
    """Crops of the whole 1,024 pixels would be 805 MB for the 256 rows of a batch."""
    crop = crop_if_large(_face(900))
    assert max(crop.image.size) == 448
    assert crop.quality == 1.0


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("side", [48, 400])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * 0.12,
        lambda x: x * 0.04,
        lambda x: x * 0.2 + 190,
        lambda x: (x - 128) * 0.1 + 128,
    ],
    ids=["dark", "very dark", "bright", "pale"],
)
def test_a_face_in_little_light_is_seen_as_in_full_light(change, side, mode):
    face = _face(side)
    dim = Image.fromarray(change(np.asarray(face, float)).round().astype(np.uint8)).convert(mode)
    found, plain = crop_face(dim), crop_face(face)
    assert found.code is plain.code
    assert found.quality == pytest.approx(plain.quality, abs=0.1)
    assert contrast(found.image) > 0.75 * contrast(plain.image)


def test_a_face_in_full_light_is_left_as_it_is():
    face = Image.fromarray(np.linspace(40, 210, 64 * 64).reshape(64, 64).astype(np.uint8))
    assert lighten(face) is face


def test_colours_are_kept_where_a_face_is_lightened():
    dim = Image.merge("RGB", [_face(48).point(lambda v, c=c: v * c // 100) for c in (12, 10, 8)])
    red, green, blue = np.asarray(lighten(dim), float).reshape(-1, 3).mean(axis=0)
    assert red > green > blue


def test_what_is_burnt_out_or_black_lowers_quality_step_by_step():
    grey = np.asarray(_face(64), float)
    for sign in (1, -1):
        found = [
            evenness(Image.fromarray(np.clip(grey + sign * v, 0, 255).astype(np.uint8)))
            for v in (0, 100, 180, 220, 255)
        ]
        assert found[0] == 1.0
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.1


def test_a_turned_head_is_told_by_its_nose():
    eyes = [[40, 50], [60, 50]]
    mouth = [[43, 80], [57, 80]]
    front = np.array([*eyes, [50, 65], *mouth], float)
    half = np.array([*eyes, [60, 65], *mouth], float)
    profile = np.array([*eyes, [68, 65], *mouth], float)
    assert frontality(front) == 1.0
    assert 0 < frontality(half) < 1
    assert frontality(profile) == 0.0
    tilted = front @ np.array([[0.8, 0.6], [-0.6, 0.8]])  # leaning is not turning
    assert frontality(tilted) == pytest.approx(1.0)


def test_suppression_keeps_the_best_of_what_overlaps():
    boxes = np.array([[0, 0, 9, 9, 0.8], [1, 1, 10, 10, 0.9], [50, 50, 59, 59, 0.5]])
    assert suppress(boxes, 0.5).tolist() == [1, 2]
    inner = np.array([[0, 0, 99, 99, 0.9], [10, 10, 20, 20, 0.8]])
    assert suppress(inner, 0.7).tolist() == [0, 1]
    assert suppress(inner, 0.7, of_smaller=True).tolist() == [0]
    assert suppress(np.zeros((0, 5)), 0.5).tolist() == []


def test_noise_gives_the_detector_no_more_boxes_than_it_may_refine():
    noise = np.random.default_rng(1).integers(0, 255, (320, 320, 3), np.uint8)
    assert load_detector().detect(noise) == []


@pytest.mark.corpora
def test_faces_are_found_where_they_stand(corpora):
    with np.load(corpora / "face" / "ferplus.npz") as archive:
        images = archive["valid_x"][:40]
    hits = 0
    for image in images:
        scene = Image.new("RGB", (800, 600), (110, 110, 110))
        scene.paste(Image.fromarray(image).resize((300, 300)).convert("RGB"), (400, 200))
        faces, turns = find_faces(np.asarray(scene.resize((320, 240))))
        if not faces or turns:
            continue
        face = faces[0]
        x, y = (face.box[:2] + face.box[2:]) / 2 * 2.5
        hits += abs(x - 550) < 75 and abs(y - 350) < 75
        assert face.landmarks.shape == (5, 2)
    assert hits >= 28  # 52 of 60 faces of another draw were found


def _scene(*faces: tuple[int, int, int], size: tuple[int, int] = (640, 480)) -> Image.Image:
    """A grey room with faces at these places (left, top, side)."""
    scene = Image.new("L", size, 120)
    for left, top, side in faces:
        scene.paste(_face(side), (left, top))
    return scene


@pytest.mark.parametrize("side", [96, 97, 128, 224, 400])
def test_a_tight_crop_is_seen_alike_at_every_size(side):
    crop = crop_face(_face(side))
    assert crop.code is None
    assert crop.quality > 0.9
    small = np.asarray(crop.image.resize((48, 48)), float)
    plain = np.asarray(_face(48), float)
    assert np.corrcoef(small.ravel(), plain.ravel())[0, 1] > 0.97


def test_a_second_face_lowers_quality_the_larger_it_is():
    alone = crop_face(_scene((60, 120, 240)))
    assert alone.code is None
    found = [crop_face(_scene((60, 120, 240), (380, 120, side))) for side in (240, 200, 150)]
    assert [crop.quality for crop in found] == [0.0, 0.0, 0.0]
    assert {crop.code for crop in found} == {QualityCode.SEVERAL_FACES}
    behind = crop_face(_scene((60, 90, 300), (450, 120, 100)))
    assert 0 < behind.quality < alone.quality
    assert behind.code is QualityCode.SEVERAL_FACES


@pytest.mark.parametrize("turn", [90, 180, 270])
@pytest.mark.parametrize("scene", [False, True])
def test_a_face_on_its_side_or_head_is_turned_back(turn, scene):
    upright = _scene((200, 120, 240)) if scene else _face(64)
    crop, plain = crop_face(upright.rotate(turn, expand=True)), crop_face(upright)
    assert crop.code is QualityCode.ROTATED
    assert 0 < crop.quality < plain.quality
    seen, whole = (np.asarray(each.image.resize((48, 48)), float) for each in (crop, plain))
    assert np.corrcoef(seen.ravel(), whole.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("shade", [20, 128, 240])
@pytest.mark.parametrize("part", ["mouth", "eyes"])
def test_a_covered_face_has_less_quality(part, shade):
    face = _face(80)
    outline = (18, 48, 62, 76) if part == "mouth" else (8, 16, 72, 46)
    ImageDraw.Draw(face).rectangle(outline, fill=shade)
    crop = crop_face(face)
    assert crop.code in {QualityCode.COVERED, QualityCode.NO_FACE}
    assert crop.quality < 0.4


def test_light_and_blur_cover_nothing():
    face = _face(80)
    for image in (face, face.point(lambda v: v // 8), face.filter(ImageFilter.GaussianBlur(2))):
        assert bareness(shrink_to_grey(lighten(image))) == 1.0
