"""Faces in an image: the cascade MTCNN (Zhang et al., 2016) on safetensors.

The nets are those of the package facenet-pytorch (MIT), which pins an old torch and is not needed
to run them; ``model_serving/training/face/detector.py`` unpacks its weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from model_serving.card import CARD_FILE, check_files, read_card

FOLDER: Final = Path(__file__).parents[1] / "weights" / "mtcnn"
SEARCHED: Final = 320
"""Pixels of the longer side of what is searched: a face an eighth of the image wide is found."""

_SMALLEST = 40.0
_FACTOR = 0.709  # of the image pyramid: half of the area a step
_THRESHOLDS = (0.6, 0.7, 0.7)
_BATCH = 64
_MOST = 48  # boxes that go on from the first net: bounds the time that an image can take


@dataclass(frozen=True, slots=True)
class Face:
    """Box (left, top, right, bottom) and landmarks (5, 2) in pixels; score in [0, 1].

    Landmarks are the eyes, the nose and the corners of the mouth, left before right as seen.
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float


class _Stage(nn.Module):
    """Convolutions with PReLU, pooled where ``pools`` says, named as in facenet-pytorch."""

    def __init__(self, widths: tuple[int, ...], kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.count = len(kernels)
        for i, kernel in enumerate(kernels):
            setattr(self, f"conv{i + 1}", nn.Conv2d(widths[i], widths[i + 1], kernel))
            setattr(self, f"prelu{i + 1}", nn.PReLU(widths[i + 1]))

    def features(self, x: Tensor, pools: tuple[int, ...]) -> Tensor:
        for i in range(self.count):
            x = getattr(self, f"prelu{i + 1}")(getattr(self, f"conv{i + 1}")(x))
            if i < len(pools):
                x = functional.max_pool2d(x, pools[i], 2, ceil_mode=True)
        return x


class _Proposals(_Stage):
    def __init__(self) -> None:
        super().__init__((3, 10, 16, 32), (3, 3, 3))
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(x, (2,))
        return self.conv4_1(x).softmax(dim=1)[0, 1], self.conv4_2(x)[0]


class _Refinement(_Stage):
    def __init__(self) -> None:
        super().__init__((3, 28, 48, 64), (3, 3, 2))
        self.dense4 = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(x, (3, 3)).permute(0, 3, 2, 1).flatten(1)  # the weights are Caffe's
        x = self.prelu4(self.dense4(x))
        return self.dense5_1(x).softmax(dim=1)[:, 1], self.dense5_2(x)


class _Output(_Stage):
    def __init__(self) -> None:
        super().__init__((3, 32, 64, 64, 128), (3, 3, 3, 2))
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.features(x, (3, 3, 2)).permute(0, 3, 2, 1).flatten(1)
        x = self.prelu5(self.dense5(x))
        return self.dense6_1(x).softmax(dim=1)[:, 1], self.dense6_2(x), self.dense6_3(x)


class FaceDetector(nn.Module):
    """Three nets, each on what the one before let through."""

    def __init__(self) -> None:
        super().__init__()
        self.pnet, self.rnet, self.onet = _Proposals(), _Refinement(), _Output()

    @torch.inference_mode()
    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces of an (h, w, 3) uint8 image, the most prominent first.

        Prominent is large and sure: area by score.
        """
        pixels = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).float()
        boxes = self._propose(pixels)
        if len(boxes):
            boxes = self._refine(pixels, boxes)
        return self._output(pixels, boxes) if len(boxes) else []

    @torch.inference_mode()
    def score_crops(self, crops: Sequence[np.ndarray], turns: Sequence[int] = (0,)) -> np.ndarray:
        """Return how surely each (h, w, 3) uint8 crop is a face, by the second net.

        It is (n, len(turns)), of the crops turned to the left by so many quarters.
        """
        return self._score(self.rnet, 24, crops, turns)

    @torch.inference_mode()
    def score_closely(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Return the same (n,) by the third net, which takes five times as long."""
        return self._score(self.onet, 48, crops, (0,))[:, 0]

    def _score(
        self, net: nn.Module, side: int, crops: Sequence[np.ndarray], turns: Sequence[int]
    ) -> np.ndarray:
        found = np.zeros((len(crops), len(turns)), np.float32)
        for start in range(0, len(crops), _BATCH):
            part = [
                _resize(
                    torch.from_numpy(crop.copy()).permute(2, 0, 1).unsqueeze(0).float(),
                    (side, side),
                )
                for crop in crops[start : start + _BATCH]
            ]
            small = torch.cat(part)
            for place, turn in enumerate(turns):
                view = torch.rot90(small, turn, (2, 3))
                found[start : start + _BATCH, place] = net(view)[0].numpy()
        return found

    def _propose(self, pixels: Tensor) -> np.ndarray:
        """Slide the first net over the pyramid; return boxes (n, 5) with their scores."""
        height, width = pixels.shape[2:]
        scale = 12 / _SMALLEST
        found = []
        while min(height, width) * scale >= 12:
            size = (int(height * scale + 1), int(width * scale + 1))
            score, shift = self.pnet(_resize(pixels, size))
            rows, columns = torch.nonzero(score >= _THRESHOLDS[0], as_tuple=True)
            corner = torch.stack([columns, rows], dim=1) * 2.0
            box = torch.cat([corner + 1, corner + 12], dim=1).div(scale).floor()
            kept = torch.cat([box, score[rows, columns, None]], dim=1).numpy()
            moved = _shift_boxes(kept, shift[:, rows, columns].T.numpy())
            found.append(moved[suppress(kept, 0.5)])
            scale *= _FACTOR
        boxes = np.concatenate(found) if found else np.zeros((0, 5), np.float32)
        return _make_square(boxes[suppress(boxes, 0.7)][:_MOST])

    def _refine(self, pixels: Tensor, boxes: np.ndarray) -> np.ndarray:
        score, shift = self.rnet(_patches(pixels, boxes, 24))
        kept = score.numpy() > _THRESHOLDS[1]
        boxes = np.column_stack([boxes[kept, :4], score.numpy()[kept]])
        picked = suppress(boxes, 0.7)
        return _make_square(_shift_boxes(boxes[picked], shift.numpy()[kept][picked]))

    def _output(self, pixels: Tensor, boxes: np.ndarray) -> list[Face]:
        score, shift, points = (found.numpy() for found in self.onet(_patches(pixels, boxes, 48)))
        kept = score > _THRESHOLDS[2]
        boxes = np.column_stack([boxes[kept, :4], score[kept]])
        size = boxes[:, 2:4] - boxes[:, :2] + 1
        places = points[kept].reshape(-1, 2, 5).transpose(0, 2, 1)  # (n, 5, 2)
        places = places * size[:, None, :] + boxes[:, None, :2] - 1
        boxes = _shift_boxes(boxes, shift[kept])
        picked = suppress(boxes, 0.7, of_smaller=True)
        faces = [Face(boxes[i, :4], places[i], float(boxes[i, 4])) for i in picked]
        return sorted(faces, key=lambda face: -face.score * float(_areas(face.box[None])[0]))


@lru_cache(maxsize=1)
def load_detector() -> FaceDetector:
    """Return the shipped detector, loaded once a process, its digest checked."""
    check_files(FOLDER, read_card(FOLDER / CARD_FILE))
    detector = FaceDetector()
    weights = load_file(FOLDER / "model.safetensors")
    detector.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return detector.eval()


def suppress(boxes: np.ndarray, overlap: float, *, of_smaller: bool = False) -> np.ndarray:
    """Return which boxes (n, 5) stay, best score first, when no two overlap by more than this.

    Overlap is intersection over union, or over the smaller box.
    """
    order = np.argsort(-boxes[:, 4], kind="stable")
    areas = _areas(boxes)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:4], boxes[rest, 2:4])
        common = np.maximum(high - low + 1, 0).prod(axis=1)
        whole = areas[best] + areas[rest] - common
        base = np.minimum(areas[best], areas[rest]) if of_smaller else whole
        order = rest[common <= overlap * base]
    return np.array(kept, np.int64)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, 2:4] - boxes[:, :2] + 1).prod(axis=1))


def _resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    return (functional.interpolate(pixels, size=size, mode="area") - 127.5) / 128


def _shift_boxes(boxes: np.ndarray, shift: np.ndarray) -> np.ndarray:
    size = np.tile(boxes[:, 2:4] - boxes[:, :2] + 1, 2)
    return np.column_stack([boxes[:, :4] + shift * size, boxes[:, 4]])


def _make_square(boxes: np.ndarray) -> np.ndarray:
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    half = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.column_stack([centre - half, centre + half, boxes[:, 4]])


def _patches(pixels: Tensor, boxes: np.ndarray, side: int) -> Tensor:
    """Cut the boxes (n, 5) out, what lies outside the image left off, to ``side`` pixels each."""
    height, width = pixels.shape[2:]
    found = []
    for left, top, right, bottom in boxes[:, :4].astype(int):
        x = min(max(left - 1, 0), width - 1), min(max(right, 1), width)
        y = min(max(top - 1, 0), height - 1), min(max(bottom, 1), height)
        patch = pixels[:, :, y[0] : max(y[1], y[0] + 1), x[0] : max(x[1], x[0] + 1)]
        found.append(_resize(patch, (side, side)))
    return torch.cat(found)
