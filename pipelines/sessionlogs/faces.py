"""Draws a face from ARKit weights: soft shapes in numpy, moved as the muscles of FACS move skin.

The pictures of the built-in sample come from here, so that no person's face has to be shipped. A
subject's pictures are drawn together, since most shapes are small: 74 at once cost a fifth each.
Coordinates run from -1 to 1 over the picture, y down; side 1 is the subject's left, which is
right in the picture.
"""

import io
import math
from copy import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from schemas.arkit import BLENDSHAPES

_EYE_X, _EYE_Y, _BROW_Y, _NOSE_Y, _MOUTH_Y = 0.33, -0.2, -0.43, 0.17, 0.5
_INDEX: Final = {name: i for i, name in enumerate(BLENDSHAPES)}
_FORMATS: Final = {"jpeg": {"quality": 88}, "png": {}, "webp": {"quality": 88}}

Field = np.ndarray
"""Values of all pictures of a batch, (n, rows, columns)."""

Scalar = np.ndarray | float
"""One value for all pictures, or one each as (n, 1, 1)."""

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same in a subject's pictures; sizes in picture units."""

    skin: Colour
    hair: Colour
    width: float
    brow: float
    eye: float
    mouth: float
    fringe: float
    size: int
    colour: bool


def identity(rng: np.random.Generator) -> Identity:
    """Draw one subject's looks."""
    tone = rng.uniform(0.4, 0.95)
    hair = rng.uniform(0.04, 0.3)
    return Identity(
        skin=(0.30 + 0.62 * tone, 0.18 + 0.58 * tone, 0.12 + 0.52 * tone),
        hair=(hair, hair * 0.75, hair * 0.55),
        width=rng.uniform(0.68, 0.80),
        brow=rng.uniform(0.035, 0.06),
        eye=rng.uniform(0.078, 0.1),
        mouth=rng.uniform(0.27, 0.33),
        fringe=rng.uniform(-0.82, -0.66),
        size=int(rng.choice([48, 56, 64, 80])),
        colour=bool(rng.random() < 0.6),
    )


class _Canvas:
    """A batch of RGB pictures that take soft masks of colour."""

    def __init__(self, size: int, roll: np.ndarray, ground: np.ndarray) -> None:
        axis = np.linspace(-1, 1, size, dtype=np.float32)
        x, y = np.meshgrid(axis, axis)
        self.x = np.cos(roll) * x + np.sin(roll) * y
        self.y = np.cos(roll) * y - np.sin(roll) * x
        self.softness = 1.2 / size
        self.rgb = np.repeat((ground + 0.08 * y)[None], 3, axis=0)

    def near(self, cx: float, cy: float, rx: float, ry: float) -> "_Canvas":
        """View of the part around a point; most shapes are small, and the whole costs 4 times."""
        close = ((np.abs(self.x - cx) < rx) & (np.abs(self.y - cy) < ry)).any(axis=0)
        rows, columns = np.flatnonzero(close.any(axis=1)), np.flatnonzero(close.any(axis=0))
        part = copy(self)
        if rows.size:
            box = (..., slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            part.x, part.y, part.rgb = self.x[box], self.y[box], self.rgb[box]
        return part

    def inside(self, distance: Field, soft: float = 1.0) -> Field:
        """Mask that is 1 where the distance is negative."""
        return 1 / (1 + np.exp(np.clip(distance / (self.softness * soft), -30, 30)))

    def blob(self, cx: Scalar, cy: Scalar, sx: float, sy: float) -> Field:
        across = (self.x - cx) * (1 / sx)
        down = (self.y - cy) * (1 / sy)
        return np.exp(-(across * across) - down * down)

    def ellipse(self, cx: Scalar, cy: Scalar, rx: float, ry: float) -> Field:
        radius = np.hypot((self.x - cx) / rx, (self.y - cy) / ry)
        return self.inside((radius - 1) * min(rx, ry))

    def stroke(self, xs: tuple[Scalar, ...], ys: tuple[Scalar, ...], width: float) -> Field:
        """Parabola or line through two or three points, fading towards both ends."""
        line = np.full_like(self.x, 0)
        for i, y in enumerate(ys):  # Lagrange's form
            others = [x for j, x in enumerate(xs) if j != i]
            scale = y / math.prod(xs[i] - x for x in others)
            line += scale * math.prod(self.x - x for x in others)
        middle, half = (xs[0] + xs[-1]) / 2, np.abs(xs[-1] - xs[0]) / 2
        taper = np.clip(1 - ((self.x - middle) / half) ** 2, 0, 1)
        return self.inside(np.abs(self.y - line) - width * np.sqrt(taper)) * (taper > 0)

    def fold(self, start: tuple[Scalar, Scalar], end: tuple[Scalar, Scalar], width: float) -> Field:
        """Soft line between two points."""
        ax, ay = start
        dx, dy = end[0] - ax, end[1] - ay
        along = ((self.x - ax) * dx + (self.y - ay) * dy) / (dx * dx + dy * dy)
        along = np.clip(along, 0, 1)
        away = np.hypot(self.x - ax - along * dx, self.y - ay - along * dy)
        return np.exp(-((away / width) ** 2))

    def paint(self, mask: Field, colour: Colour, strength: Scalar = 1) -> None:
        share = mask * strength
        self.rgb *= 1 - share
        for channel, value in enumerate(colour):
            self.rgb[channel] += value * share

    def shade(self, mask: Field, strength: Scalar) -> None:
        """Darken, or lighten where the strength is negative."""
        self.rgb *= 1 - strength * mask


def draw(who: Identity, frames: np.ndarray, rng: np.random.Generator) -> list[Image.Image]:
    """Draw a picture from each row of 52 blendshape weights and pitch, yaw, roll in radians."""
    weights = frames.astype(np.float32)
    pose = weights[:, len(BLENDSHAPES) :, None, None].clip(-0.5, 0.5)
    pitch, yaw, roll = pose.transpose(1, 0, 2, 3)
    ground = rng.uniform(0.25, 0.6, roll.shape).astype(np.float32)
    canvas = _Canvas(who.size, roll, ground)
    w = _Weights(weights)
    _head(canvas, who, w)
    canvas.x, canvas.y = canvas.x - 0.45 * yaw, canvas.y - 0.35 * pitch
    for side in (-1, 1):
        _eye(canvas.near(side * _EYE_X, _EYE_Y, 0.42, 0.34), who, w, side)
        _cheek(canvas.near(side * 0.36, 0.25, 0.4, 0.4), w, side)
    _nose(canvas.near(0, 0.05, 0.3, 0.45), w)
    _mouth(canvas.near(0, 0.62, 0.65, 0.4), who, w)
    _forehead(canvas.near(0, -0.66, 0.45, 0.2), w)
    for side in (-1, 1):
        _brow(canvas.near(side * 0.3, -0.42, 0.33, 0.3), who, w, side)
    grain = rng.normal(0, 0.01, canvas.rgb.shape[1:]).astype(np.float32)
    pixels = np.clip((canvas.rgb + grain) * 255, 0, 255).astype(np.uint8)
    return [_picture(one, who.colour) for one in pixels.transpose(1, 2, 3, 0)]


def _picture(pixels: np.ndarray, colour: bool) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture = picture.filter(ImageFilter.GaussianBlur(0.5))
    return picture if colour else picture.convert("L")


def encode(picture: Image.Image, container: str) -> bytes:
    """Return the picture as a JPEG, PNG or WebP file."""
    buffer = io.BytesIO()
    picture.save(buffer, container.upper(), **_FORMATS[container])
    return buffer.getvalue()


def _tinted(colour: Colour, red: float, green: float, blue: float) -> Colour:
    return colour[0] * red, colour[1] * green, colour[2] * blue


class _Weights:
    """Blendshape weights by name, (n, 1, 1); a name without its side takes the side asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __call__(self, name: str, side: int = 0) -> np.ndarray:
        suffix = {0: "", 1: "Left", -1: "Right"}[side]
        return self._values[:, _INDEX[name + suffix], None, None]

    def both(self, name: str) -> np.ndarray:
        """Mean of the two sides."""
        return (self(name, 1) + self(name, -1)) / 2


def _head(canvas: _Canvas, who: Identity, w: _Weights) -> None:
    x, y = canvas.x, canvas.y
    chin = 0.97 + 0.12 * w("jawOpen")
    canvas.paint(canvas.ellipse(0, -0.25, who.width + 0.16, 0.95), who.hair)
    narrow = who.width * (1 - 0.22 * np.clip(y, 0, 1) ** 2)
    head = canvas.inside((np.hypot(x / narrow, y / np.where(y > 0, chin, 1.0)) - 1) * 0.7, 2)
    neck = canvas.inside(np.abs(x) - 0.42, 3) * (y > 0.6)
    canvas.paint(neck, _tinted(who.skin, 0.7, 0.7, 0.7))
    canvas.paint(head, who.skin)
    canvas.shade(head * (1 - canvas.blob(-0.12, -0.05, 0.75, 0.95)), 0.45)
    hairline = canvas.inside(y - who.fringe - 0.22 * (x / who.width) ** 2, 4)
    canvas.paint(head * hairline, who.hair, 0.95)
    canvas.shade(canvas.blob(0, 0.78 + 0.1 * w("jawOpen"), 0.2, 0.05), 0.15)


def _eye(canvas: _Canvas, who: Identity, w: _Weights, side: int) -> None:
    cx, cy = side * _EYE_X, _EYE_Y
    squint = np.maximum(w("eyeSquint", side), 0.8 * w("cheekSquint", side))
    wide, blink = w("eyeWide", side), w("eyeBlink", side)
    upper = who.eye * (1 + 1.1 * wide - 0.35 * squint) * (1 - blink) + 0.008
    lower = 0.55 * who.eye * (1 + 0.25 * wide - 0.75 * squint) * (1 - 0.6 * blink) + 0.004
    half = 0.17
    canvas.shade(canvas.blob(cx, cy - 0.05, 0.22, 0.14), 0.28)
    arc = np.clip(1 - ((canvas.x - cx) / half) ** 2, 0, 1)
    opening = np.minimum(canvas.y - (cy - upper * arc), cy + lower * arc - canvas.y)
    opened = canvas.inside(-opening) * (arc > 0)
    canvas.paint(opened, (0.93, 0.92, 0.9))
    look = 0.08 * (w("eyeLookOut", side) - w("eyeLookIn", side)) * side
    tilt = 0.05 * (w("eyeLookDown", side) - w("eyeLookUp", side))
    iris = opened * canvas.ellipse(cx + look, cy - 0.01 + tilt, 0.08, 0.08)
    canvas.paint(iris, (0.09, 0.06, 0.05))
    canvas.paint(
        opened * canvas.ellipse(cx + look - 0.02, cy - 0.045, 0.016, 0.016), (1, 1, 1), 0.6
    )
    ends = (cx - half, cx, cx + half)
    canvas.paint(canvas.stroke(ends, (cy, cy - upper, cy), 0.022), (0.08, 0.06, 0.06), 0.9)
    canvas.shade(canvas.stroke(ends, (cy, cy + lower, cy), 0.014), 0.35)
    canvas.shade(canvas.blob(cx, cy + lower + 0.06, 0.16, 0.035), 0.12 + 0.35 * squint)


def _brow(canvas: _Canvas, who: Identity, w: _Weights, side: int) -> None:
    down, inner, outer = w("browDown", side), w("browInnerUp"), w("browOuterUp", side)
    inner_y = _BROW_Y + 0.17 * down - 0.19 * inner
    middle_y = _BROW_Y - 0.05 + 0.13 * down - 0.06 * inner - 0.13 * outer
    outer_y = _BROW_Y + 0.03 + 0.02 * down - 0.15 * outer + 0.03 * inner
    inner_x = side * (0.15 - 0.07 * down)
    xs = (inner_x, side * 0.34, side * 0.55)
    canvas.paint(canvas.stroke(xs, (inner_y, middle_y, outer_y), who.brow), who.hair, 0.9)
    frown = canvas.fold((side * 0.06, -0.45), (side * 0.05, -0.27), 0.022)
    canvas.shade(frown, np.minimum(0.5, 0.6 * down))


def _forehead(canvas: _Canvas, w: _Weights) -> None:
    raised = np.maximum(w("browInnerUp"), w.both("browOuterUp"))
    for line in (-0.62, -0.71):
        wrinkle = canvas.stroke((-0.38, 0.0, 0.38), (line, line - 0.03, line), 0.012)
        canvas.shade(wrinkle, 0.22 * np.maximum(0, raised - 0.15))


def _nose(canvas: _Canvas, w: _Weights) -> None:
    sneer = w.both("noseSneer")
    lift = 0.06 * sneer
    canvas.shade(canvas.blob(0, _NOSE_Y - 0.25, 0.06, 0.28), -0.1)
    for side in (-1, 1):
        canvas.shade(canvas.blob(side * 0.1, _NOSE_Y - 0.2, 0.045, 0.22), 0.16)
        wing = (side * (0.13 + 0.03 * sneer), _NOSE_Y + 0.02 - lift)
        canvas.shade(canvas.blob(*wing, 0.05, 0.06), 0.2 + 0.2 * sneer)
        nostril = canvas.ellipse(side * 0.075, _NOSE_Y + 0.06 - lift, 0.04, 0.022)
        canvas.shade(nostril, 0.6)
        for step in (0.0, 0.07):
            start = (side * 0.03, -0.2 + step)
            canvas.shade(canvas.fold(start, (side * 0.13, -0.12 + step), 0.018), 0.55 * sneer)
    canvas.shade(canvas.blob(0, _NOSE_Y + 0.12, 0.14, 0.03), 0.22)


def _cheek(canvas: _Canvas, w: _Weights, side: int) -> None:
    smile, sneer = w("mouthSmile", side), w("noseSneer", side)
    raised = np.maximum(smile, w("cheekSquint", side))
    canvas.shade(canvas.blob(side * 0.45, 0.12 - 0.06 * raised, 0.17, 0.12), -0.16 * raised)
    corner = (side * (0.36 + 0.08 * smile), _MOUTH_Y - 0.02 - 0.1 * smile)
    fold = canvas.fold((side * 0.17, _NOSE_Y - 0.02), corner, 0.03)
    drawn = np.maximum(np.maximum(smile, 0.9 * sneer), 0.4 * w("mouthStretch", side))
    canvas.shade(fold, 0.1 + 0.4 * drawn)


def _mouth(canvas: _Canvas, who: Identity, w: _Weights) -> None:
    smile, frown, stretch = (w.both(n) for n in ("mouthSmile", "mouthFrown", "mouthStretch"))
    press = np.maximum(w.both("mouthPress"), 0.5 * (w("mouthRollLower") + w("mouthRollUpper")))
    jaw, shrug, sneer = w("jawOpen"), w("mouthShrugLower"), w.both("noseSneer")
    pucker = np.maximum(w("mouthPucker"), w("mouthFunnel"))
    half = who.mouth * (1 + 0.38 * smile + 0.3 * stretch - 0.3 * pucker - 0.28 * jaw * (1 - smile))
    corner = _MOUTH_Y - 0.17 * smile + 0.13 * frown + 0.05 * stretch + 0.05 * jaw
    # a smile of this size parts the lips and shows teeth; a stretch parts them a little
    parted = 0.16 * np.maximum(0, smile - 0.25) + 0.1 * np.maximum(0, stretch - 0.2) + 0.04 * sneer
    upper = _MOUTH_Y - 0.02 - 0.05 * sneer - 0.03 * smile - 0.04 * shrug - 0.02 * jaw
    lower = upper + parted + 0.42 * jaw * (1 - w("mouthClose")) + 0.012
    thick = 0.055 * (1 - 0.75 * press)
    across = np.clip(1 - (canvas.x / half) ** 2, 0, 1)
    flat = across * (1 - 0.25 * across)  # rounder than a parabola towards the corners
    top = corner + (upper - corner) * flat / 0.75
    bottom = corner + (lower - corner) * flat / 0.75
    within = across > 0
    lips = np.minimum(canvas.y - (top - thick * across), bottom + 1.35 * thick * across - canvas.y)
    canvas.shade(canvas.blob(0, lower + 0.14, 0.22, 0.05), 0.25 + 0.15 * shrug)
    red = _tinted(who.skin, 0.82, 0.58, 0.58)
    canvas.paint(canvas.inside(-lips, 2) * within, red, 0.85)
    gap = np.minimum(canvas.y - top, bottom - canvas.y)
    opened = canvas.inside(-gap) * within
    canvas.paint(opened, (0.16, 0.05, 0.05))
    teeth = canvas.inside(canvas.y - (top + 0.3 * (bottom - top) + 0.07), 2)
    canvas.paint(
        opened * teeth, (0.95, 0.93, 0.88), np.minimum(1, 2.2 * np.maximum(smile, 0.7 * stretch))
    )
    seam = canvas.inside(np.abs(canvas.y - (top + bottom) / 2) - 0.012) * within
    canvas.shade(seam, np.where(lower - upper < 0.04, 0.65, 0))
    for side in (-1, 1):
        canvas.shade(
            canvas.blob(side * half, corner, 0.04, 0.035), 0.3 + 0.25 * np.maximum(smile, frown)
        )
        droop = canvas.fold((side * half, corner), (side * (half + 0.05), corner + 0.13), 0.025)
        canvas.shade(droop, 0.45 * frown)
        canvas.shade(canvas.fold((side * 0.1, 0.8), (0, 0.76), 0.04), 0.35 * shrug)
