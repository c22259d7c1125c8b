"""The front end of faces: images become normalised crops of the face that they show."""

from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from model_serving.card import ModelCard
from model_serving.face.crops import crop_faces, crop_if_large
from model_serving.face.images import decode_image
from model_serving.front_end import Inputs, Prepared, decode_rows
from schemas.errors import DeadLetterCode

NET_CLASS = AutoModelForImageClassification


class FaceFrontEnd:
    """Decodes images, finds the face, grey where the model has one channel, and normalises."""

    column = "media"
    chunk_rows = 256  # 256 images of 3 x 224 x 224 are 154 MB
    micro_batch = 64
    pads = False

    def __init__(self, processor: Any, channels: int) -> None:
        self._processor = processor
        self._mode = "L" if channels == 1 else "RGB"

    def prepare(self, column: pa.Array) -> Prepared:
        rows, seen, failures = decode_rows(
            column,
            lambda media: crop_if_large(decode_image(media)),
            DeadLetterCode.IMAGE_UNDECODABLE,
        )
        crops, net_us = crop_faces(seen)
        grids = [self._grid(crop.image) for crop in crops]

        def collate(picked: np.ndarray) -> Inputs:
            # All at once: the processor takes 0.7 ms to check its own settings at every call.
            found = self._processor(
                [grids[i] for i in picked], input_data_format="channels_last", return_tensors="pt"
            )
            return {"pixel_values": found["pixel_values"].float()}

        quality = np.array([crop.quality for crop in crops])
        codes = tuple(crop.code for crop in crops)
        lengths = np.zeros(len(rows), np.int64)
        return Prepared(rows, lengths, collate, failures, quality, codes, net_us)

    def _grid(self, image: Image.Image) -> np.ndarray:
        # As an array with its channels last: a 48 x 48 array alone leaves the layout to guessing.
        grid = np.asarray(image.convert(self._mode))
        return grid[:, :, None] if grid.ndim == 2 else grid


def load_front_end(card: ModelCard, model: str, net: Any, options: dict[str, Any]) -> FaceFrontEnd:
    """Load the image processor of a model; ``options`` are those of ``from_pretrained``."""
    del card
    processor = AutoImageProcessor.from_pretrained(model, **options)
    return FaceFrontEnd(processor, getattr(net.config, "num_channels", 3))


def probe() -> pa.RecordBatch:
    """Return rows that every face model has to answer: two grey squares."""
    files = [BytesIO(), BytesIO()]
    for shade, file in zip((128, 64), files, strict=True):
        Image.new("L", (48, 48), shade).save(file, "PNG")
    return pa.record_batch({"media": pa.array([file.getvalue() for file in files], pa.binary())})
