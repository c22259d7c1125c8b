"""The front end of motion: the features of a frame, and how much of a face they are."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModel

import model_serving.motion.net  # noqa: F401 - registers ``motion_mlp``
from model_serving.card import ModelCard
from model_serving.front_end import Failure, Inputs, Prepared, rows_with_payload
from model_serving.motion.tracked import judge_frames, mirror_sides
from schemas.arkit import BLENDSHAPES
from schemas.arrow import vector_column
from schemas.errors import DeadLetterCode
from schemas.modalities import MOTION_FEATURES

NET_CLASS = AutoModel


class MotionFrontEnd:
    """Passes on the 55 motion features of a row; a shape that is null is not tracked."""

    column = "weights"
    chunk_rows = 8192
    micro_batch = 8192
    pads = False

    def prepare(self, column: pa.Array) -> Prepared:
        rows, failures = rows_with_payload(column)
        width, shapes = len(MOTION_FEATURES), len(BLENDSHAPES)
        flat = column.values.slice(column.offset * width, len(column) * width)
        found = np.array(flat.fill_null(0.0), np.float32).reshape(-1, width)[rows]
        tracked = np.asarray(flat.is_valid()).reshape(-1, width)[rows, :shapes].copy()
        sound = np.isfinite(found).all(axis=1)
        code, detail = DeadLetterCode.RECOGNISER_FAILED, "a weight is not a finite number"
        failures += tuple(Failure(int(row), code, detail) for row in rows[~sound])
        rows, found, tracked = rows[sound], found[sound], tracked[sound]
        if not tracked.all():
            mirror_sides(found, tracked)
        quality, codes = judge_frames(found[:, :shapes], tracked)
        values = torch.from_numpy(found)

        def collate(picked: np.ndarray) -> Inputs:
            return {"motion_values": values[torch.from_numpy(picked)]}

        return Prepared(rows, np.zeros(len(rows), np.int64), collate, failures, quality, codes)


def load_front_end(
    card: ModelCard, model: str, net: Any, options: dict[str, Any]
) -> MotionFrontEnd:
    """Return the front end of motion, which has no files of its own."""
    del card, model, net, options
    return MotionFrontEnd()


def probe() -> pa.RecordBatch:
    """Return rows that every motion model has to answer: a face at rest, and one that moves."""
    rows = np.repeat([[0.0], [0.5]], len(MOTION_FEATURES), axis=1)
    return pa.record_batch({"weights": vector_column(rows)})
