"""Attribution of faces: which regions of a face the estimate rests on.

The regions are covered in the crop that the model sees, not in the picture: a covered picture may
lose its face altogether, and every region would count as all of it.
"""

from itertools import product
from typing import Final

import numpy as np
import pyarrow as pa
import torch

from model_serving.attribution.occlusion import Attribution, Place, attribution
from model_serving.recogniser import NetRecogniser, Recogniser
from model_serving.threads import model_threads

_ROWS: Final = (
    ("forehead and brows", 0, 11), ("eyes", 11, 24), ("nose and cheeks", 24, 30),
    ("mouth", 30, 41), ("chin", 41, 48),
)  # fmt: skip
"""Region → its first and last row of 48, as faces stand in the crops (``face.crops.bareness``)."""
_COLUMNS: Final = (("left", 0, 16), ("middle", 16, 32), ("right", 32, 48))
_SIDE: Final = 48


def attribute_face(
    recogniser: Recogniser, event: pa.RecordBatch, expression: int
) -> Attribution | None:
    """Return the attribution of one face event; left and right are those of the picture.

    None where the picture shows nothing that can be judged, or the recogniser is no net.
    """
    if not isinstance(recogniser, NetRecogniser):
        return None
    with model_threads():
        prepared = recogniser.front_end.prepare(event["media"])
        if not len(prepared.rows):
            return None
        (pixels,) = prepared.collate(np.array([0])).values()
        covered = [_cover(pixels, rows, columns) for rows, columns in _cells(pixels)]
        logits, _, _ = recogniser.forward({"pixel_values": torch.cat([pixels, *covered])})
    share = 1.0 if prepared.quality is None else float(prepared.quality[0])
    scores = recogniser.expressions(logits)
    found = share * scores[:, expression] + (1 - share) / scores.shape[1]
    names = (f"{row[0]}, {column[0]}" for row, column in product(_ROWS, _COLUMNS))
    return attribution([Place(name) for name in names], found[0], found[1:], "crop", "mean colour")


def _cells(pixels: torch.Tensor) -> list[tuple[slice, slice]]:
    """Return the rows and columns of each region in pixels (1, channels, height, width)."""
    height, width = pixels.shape[2:]
    return [
        (_scaled(row[1:], height), _scaled(column[1:], width))
        for row, column in product(_ROWS, _COLUMNS)
    ]


def _scaled(edges: tuple[int, ...], size: int) -> slice:
    first, last = (round(edge * size / _SIDE) for edge in edges)
    return slice(first, last)


def _cover(pixels: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
    out = pixels.clone()
    out[:, :, rows, columns] = pixels.mean(dim=(2, 3), keepdim=True)
    return out
