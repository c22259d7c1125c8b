"""From an image to the face in it, as FER+ crops faces, and how much of one can be seen.

An image whose shorter side has up to 96 pixels is a crop already, unless it is a strip or the
detector's nets reject it; in all others the most prominent face is searched for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from model_serving.face.detector import SEARCHED, Face, load_detector
from model_serving.face.whole import UPRIGHT, find_turns, is_whole_face
from schemas.errors import QualityCode

CROP_SIDE: Final = 96
_LONGEST = 8.0  # times the width: a strip has no face
_CROP_LONGEST = 1.5  # times the width: a longer one may show two faces
_NEAR_SQUARE = 1.3  # times the width: detectors cut so, and cameras take longer pictures
_LARGEST = 448  # pixels of a crop's side: 256 rows of a batch are then 154 MB at most
_SEEN = 48  # pixels on which sharpness is measured: what the models see
_FLAT = 25.0  # variance of grey levels under which detail is the noise of rounding
_CUT = 1  # per cent of the pixels at either end, as reflections and pupils are
_PALE = 128  # grey levels
_BURNT = 0.75  # of the pixels at the lightest or at the darkest level
_SMALL = 24  # pixels of a face under which detail is missing
_SHARP, _BLURRED = 0.03, 0.003  # detail of faces under a Gaussian of 1 and of 2.5 pixels
_TURN, _PROFILE = 0.25, 0.75  # nose off the middle of the eyes, in distances between them
_TURNED_BACK = 0.9  # of faces found turned, so many are upright when turned back
_BEHIND, _ALIKE = 0.2, 0.5  # height of a second face, in those of the first
_COVERED, _BARE = 0.15, 0.4  # detail about the mouth, in those about the eyes
_DOUBT = 0.6  # below this the code of what is wrong is given
_ALWAYS_TOLD = (QualityCode.SEVERAL_FACES, QualityCode.ROTATED)


@dataclass(frozen=True, slots=True)
class Crop:
    """A face as pixels, the share in [0, 1] of it that can be judged, and what is wrong if much."""

    image: Image.Image
    quality: float
    code: QualityCode | None = None


def crop_if_large(image: Image.Image) -> Image.Image | Crop:
    """Return the face in a large image; return an image as small as a crop as it is."""
    small = min(image.size) <= CROP_SIDE and max(image.size) <= _CROP_LONGEST * min(image.size)
    return image if small else _crop(image)


def crop_faces(seen: Sequence[Image.Image | Crop]) -> tuple[list[Crop], int]:
    """Return the face in each image or crop, and the microseconds that the nets took.

    The detector's nets accept small images as crops, all at once, or reject them; quality is 0
    where there is no face.
    """
    small = {row: item for row, item in enumerate(seen) if isinstance(item, Image.Image)}
    started = perf_counter_ns()
    taken, turns = find_turns([_pixels(image) for image in small.values()])
    spent = (perf_counter_ns() - started) // 1000
    found = dict(zip(small, zip(taken, turns, strict=True), strict=True))
    crops = []
    for row, item in enumerate(seen):
        if isinstance(item, Crop):
            crops.append(item)
        elif found[row][0]:
            crops.append(_judge_whole(item, found[row][1]))
        else:
            crops.append(_crop(item))
    return crops, spent


def _crop(image: Image.Image) -> Crop:
    """Find the face of an image, and cut it out where it is not the image."""
    if max(image.size) > _LONGEST * min(image.size):
        return Crop(_blank(image), 0.0, QualityCode.NO_FACE)
    small = _shrink(image)
    square = max(image.size) <= _NEAR_SQUARE * min(image.size)
    if square and is_whole_face(small):
        return _judge_whole(image, 0)
    faces, turns = find_faces(small)
    if not faces and square:
        taken, whole = find_turns([small])
        if taken[0]:
            return _judge_whole(image, whole[0])
    if not faces:
        return Crop(_blank(image), 0.0, QualityCode.NO_FACE)
    image = _turn(image, turns)
    scale = max(image.size) / max(small.shape)
    faces = [Face(face.box * scale, face.landmarks * scale, face.score) for face in faces]
    shares = _shares(_height(faces[0]), turns)
    shares |= {
        QualityCode.TURNED: frontality(faces[0].landmarks),
        QualityCode.SEVERAL_FACES: aloneness(faces),
    }
    return _judge(_cut_out(image, faces[0]), shares)


def _judge_whole(image: Image.Image, turns: int) -> Crop:
    return _judge(_turn(_bound(image), turns), _shares(min(image.size), turns))


def _shares(side: float, turns: int) -> dict[QualityCode, float]:
    """Return what place and direction of a face leave of its quality."""
    return {
        QualityCode.SMALL_FACE: min(1.0, side / _SMALL),
        QualityCode.ROTATED: _TURNED_BACK if turns else 1.0,
    }


def _judge(image: Image.Image, shares: dict[QualityCode, float]) -> Crop:
    """Return the crop with its quality: these shares, and those of its pixels, multiplied."""
    lit, image = evenness(image), lighten(image)
    grey = shrink_to_grey(image)
    shares |= {
        QualityCode.BADLY_LIT: lit,
        QualityCode.BLURRED: sharpness(grey),
        QualityCode.COVERED: bareness(grey),
    }
    worst = min(shares, key=lambda code: shares[code])
    quality = float(np.prod(list(shares.values())))
    told = [code for code in _ALWAYS_TOLD if shares.get(code, 1.0) < 1]
    code = worst if shares[worst] < _DOUBT else next(iter(told), None)
    return Crop(image, quality, code)


def contrast(image: Image.Image) -> int:
    """Return how many grey levels lie between the darkest and the lightest hundredth of pixels."""
    counts = np.cumsum(image.convert("L").histogram())
    ends = counts[-1] * _CUT // 100 + 1, counts[-1] * (100 - _CUT) // 100
    low, high = np.searchsorted(counts, ends)
    return int(high - low)


def lighten(image: Image.Image) -> Image.Image:
    """Return the image over all grey levels where it is dark or pale, its colours kept.

    Of FER+'s test faces at an eighth of their light .37 were recognised instead of .80, at a
    confidence of .68.
    """
    if contrast(image) >= _PALE:
        return image
    return ImageOps.autocontrast(image, cutoff=_CUT, preserve_tone=True)


def evenness(image: Image.Image) -> float:
    """Return 1 down to 0 where nearly all is burnt out or black: no stretching brings it back.

    Of FER+'s validation faces with more than .7 of the pixels so, .53 were recognised, with a
    confidence of .70; up to there the two are alike.
    """
    counts = image.convert("L").histogram()
    levels = np.flatnonzero(counts)
    most = max(counts[levels[0]], counts[levels[-1]]) / sum(counts)
    return float(np.clip((1 - most) / (1 - _BURNT), 0.0, 1.0))


def find_faces(picture: np.ndarray) -> tuple[list[Face], int]:
    """Return the faces of an (h, w, 3) picture, the most prominent first, and its quarter turns.

    Where none is found, or only one that looks aside, the picture is searched on its sides and its
    head too; the faces are then in the pixels of the picture turned so far to the left.
    """
    detector = load_detector()
    faces = detector.detect(picture)
    if faces and frontality(faces[0].landmarks) >= _DOUBT:
        return faces, 0
    found = [faces, *(detector.detect(np.rot90(picture, turn).copy()) for turn in (1, 2, 3))]
    clear = [
        each[0].score * frontality(each[0].landmarks) + 1e-3 * each[0].score if each else 0.0
        for each in found
    ]
    turns = int(np.argmax(clear))
    return found[turns], turns


def aloneness(faces: Sequence[Face]) -> float:
    """Return 1 where nobody stands beside the first face, down to 0 where somebody is half as high.

    Nobody can tell then whose face it is, and the other person may have consented to nothing.
    """
    first = faces[0]
    beside = [
        _height(face)
        for face in faces[1:]
        if not _inside((face.box[:2] + face.box[2:]) / 2, first.box)
    ]
    ratio = max(beside, default=0.0) / max(_height(first), 1.0)
    return float(np.clip((_ALIKE - ratio) / (_ALIKE - _BEHIND), 0.0, 1.0))


def bareness(x: np.ndarray) -> float:
    """Return 1 for a bare face (48, 48) down to 0 where its mouth or eyes are covered.

    A mask, a scarf or a headset is smooth beside the rest of the face. Of FER+'s validation faces
    1 % have less than .38 of the detail of the eyes about the mouth; with masks drawn on them, of
    any grey, folded or plain, 99 % have less than .21.
    """
    edges = np.abs(_laplacian(x))
    mouth, eyes = edges[30:41, 15:31].mean() + 1, edges[11:25, 9:37].mean() + 1
    share = float(min(mouth / eyes, eyes / mouth))
    return float(np.clip((share - _COVERED) / (_BARE - _COVERED), 0.0, 1.0))


def shrink_to_grey(image: Image.Image) -> np.ndarray:
    """Return the grey levels (48, 48) of a face, as the models see them."""
    grey = image.convert("L").resize((_SEEN, _SEEN), Image.Resampling.BILINEAR)
    return np.asarray(grey, np.float32)


def sharpness(x: np.ndarray) -> float:
    """Return 1 for a sharp face (48, 48) down to 0 for a blurred one, by the detail in it.

    Detail is the mean square of the Laplacian over the variance of grey levels.
    """
    detail = float(np.square(_laplacian(x)).mean() / (x.var() + _FLAT))
    way = np.log(max(detail, 1e-6) / _BLURRED) / np.log(_SHARP / _BLURRED)
    return float(np.clip(way, 0.0, 1.0))


def frontality(landmarks: np.ndarray) -> float:
    """Return 1 for a face towards the camera down to 0 for a profile, from five landmarks (5, 2).

    A turned head moves the nose off the middle between the eyes, which come closer.
    """
    left, right, nose = landmarks[:3]
    between = right - left
    distance = float(np.hypot(*between)) + 1e-6
    aside = abs(float((nose - (left + right) / 2) @ between)) / distance**2
    return float(np.clip((_PROFILE - aside) / (_PROFILE - _TURN), 0.0, 1.0))


def _laplacian(x: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from its four neighbours: (h - 2, w - 2)."""
    return 4 * x[1:-1, 1:-1] - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]


def _height(face: Face) -> float:
    return float(face.box[3] - face.box[1])


def _cut_out(image: Image.Image, face: Face) -> Image.Image:
    """Cut a square as high as the detector's box: so the box stood in FER+'s crops (median)."""
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    half = max(_height(face), 2.0) / 2
    edges = (round(float(v)) for v in (x - half, y - half, x + half, y + half))
    found = image.crop(tuple(edges))  # type: ignore[arg-type]
    return _bound(found)


def _bound(image: Image.Image) -> Image.Image:
    """Return the image with at most _LARGEST pixels a side."""
    if max(image.size) <= _LARGEST:
        return image
    bounded = image.copy()
    bounded.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return bounded


def _turn(image: Image.Image, turns: int) -> Image.Image:
    """Return the image turned to the left by so many quarters."""
    turn = UPRIGHT[turns]
    return image if turn is None else image.transpose(turn)


def _shrink(image: Image.Image) -> np.ndarray:
    """Return the pixels (h, w, 3) that are searched."""
    small = image.convert("RGB")
    small.thumbnail((SEARCHED, SEARCHED), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return _pixels(small)


def _pixels(image: Image.Image) -> np.ndarray:
    return np.array(lighten(image).convert("RGB"))


def _inside(place: np.ndarray, box: np.ndarray) -> bool:
    return bool((place >= box[:2]).all() and (place <= box[2:4]).all())


def _blank(image: Image.Image) -> Image.Image:
    return Image.new(image.mode, (_SEEN, _SEEN))
