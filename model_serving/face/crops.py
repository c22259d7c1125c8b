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
from schemas.errors import QualityCode

CROP_SIDE: Final = 96
_LONGEST = 8.0  # times the width: a strip has no face
_CROP_LONGEST = 2.0  # times the width: a crop is nearly square
_LARGEST = 448  # pixels of a crop's side: 256 rows of a batch are then 154 MB at most
_SEEN = 48  # pixels on which sharpness is measured: what the models see
_FLAT = 25.0  # variance of grey levels under which detail is the noise of rounding
_CUT = 1  # per cent of the pixels at either end, as reflections and pupils are
_PALE = 128  # grey levels
_BURNT = 0.75  # of the pixels at the lightest or at the darkest level
_SMALL = 24  # pixels of a face under which detail is missing
_SHARP, _BLURRED = 0.03, 0.003  # detail of faces under a Gaussian of 1 and of 2.5 pixels
_TURN, _PROFILE = 0.25, 0.75  # nose off the middle of the eyes, in distances between them
_DOUBT = 0.6  # below this the code of what is wrong is given


@dataclass(frozen=True, slots=True)
class Crop:
    """A face as pixels, the share in [0, 1] of it that can be judged, and what is wrong if much."""

    image: Image.Image
    quality: float
    code: QualityCode | None = None


def crop_if_large(image: Image.Image) -> Image.Image | Crop:
    """Return the face in a large image; return an image as small as a crop as it is."""
    small = min(image.size) <= CROP_SIDE and max(image.size) <= _CROP_LONGEST * min(image.size)
    return image if small else _crop(image, cropped=False)


def crop_faces(seen: Sequence[Image.Image | Crop]) -> tuple[list[Crop], int]:
    """Return the face in each image or crop, and the microseconds that the nets took.

    The detector's nets accept small images as crops, all at once, or reject them; quality is 0
    where there is no face.
    """
    small = {row: item for row, item in enumerate(seen) if isinstance(item, Image.Image)}
    started = perf_counter_ns()
    pixels = [np.array(lighten(image).convert("RGB")) for image in small.values()]
    taken = load_detector().accepts(pixels)
    spent = (perf_counter_ns() - started) // 1000
    accepted = dict(zip(small, taken, strict=True))
    crops = [
        item if isinstance(item, Crop) else _crop(item, cropped=bool(accepted[row]))
        for row, item in enumerate(seen)
    ]
    return crops, spent


def _crop(image: Image.Image, cropped: bool) -> Crop:
    turned = 1.0
    if max(image.size) > _LONGEST * min(image.size):
        return Crop(_blank(image), 0.0, QualityCode.NO_FACE)
    side = float(min(image.size))
    if not cropped:
        face = find_face(image)
        if face is None:
            return Crop(_blank(image), 0.0, QualityCode.NO_FACE)
        image, side, turned = _cut_out(image, face), _height(face), frontality(face.landmarks)
    lit, image = evenness(image), lighten(image)
    shares = {
        QualityCode.BADLY_LIT: lit,
        QualityCode.SMALL_FACE: min(1.0, side / _SMALL),
        QualityCode.BLURRED: sharpness(image),
        QualityCode.TURNED: turned,
    }
    worst = min(shares, key=lambda code: shares[code])
    quality = float(np.prod(list(shares.values())))
    return Crop(image, quality, worst if shares[worst] < _DOUBT else None)


def contrast(image: Image.Image) -> int:
    """Return how many grey levels lie between the darkest and the lightest hundredth of pixels."""
    low, high = np.percentile(np.asarray(image.convert("L")), (_CUT, 100 - _CUT))
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


def find_face(image: Image.Image) -> Face | None:
    """Return the most prominent face of an image, in its own pixels."""
    small = image.convert("RGB")
    small.thumbnail((SEARCHED, SEARCHED), Image.Resampling.BILINEAR, reducing_gap=2.0)
    found = load_detector().detect(np.array(lighten(small)))
    if not found:
        return None
    scale = image.width / small.width
    return Face(found[0].box * scale, found[0].landmarks * scale, found[0].score)


def sharpness(image: Image.Image) -> float:
    """Return 1 for a sharp face down to 0 for a blurred one, by the detail in it.

    Detail is the mean square of the Laplacian over the variance of grey levels, on 48 pixels.
    """
    grey = image.convert("L").resize((_SEEN, _SEEN), Image.Resampling.BILINEAR)
    x = np.asarray(grey, np.float32)
    middle = x[1:-1, 1:-1]
    edges = 4 * middle - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]
    detail = float(np.square(edges).mean() / (x.var() + _FLAT))
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


def _height(face: Face) -> float:
    return float(face.box[3] - face.box[1])


def _cut_out(image: Image.Image, face: Face) -> Image.Image:
    """Cut a square as high as the detector's box: so the box stood in FER+'s crops (median)."""
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    half = max(_height(face), 2.0) / 2
    edges = (round(float(v)) for v in (x - half, y - half, x + half, y + half))
    found = image.crop(tuple(edges))  # type: ignore[arg-type]
    found.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return found


def _blank(image: Image.Image) -> Image.Image:
    return Image.new(image.mode, (_SEEN, _SEEN))
