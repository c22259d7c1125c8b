"""The front end of motion: the features of a frame, as they are."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModel

import model_serving.motion.net  # noqa: F401 - registers ``motion_mlp``
from model_serving.card import ModelCard
from model_serving.front_end import Failure, Inputs, Prepared, rows_with_payload
from schemas.arrow import vector_column, vectors
from schemas.errors import DeadLetterCode
from schemas.modalities import MOTION_FEATURES

NET_CLASS = AutoModel


class MotionFrontEnd:
    """Passes on the 55 motion features of a row as they are."""

    column = "weights"
    chunk_rows = 8192
    micro_batch = 8192
    pads = False

    def prepare(self, column: pa.Array) -> Prepared:
        rows, failures = rows_with_payload(column)
        found = vectors(column, len(MOTION_FEATURES))[rows].astype(np.float32)
        sound = np.isfinite(found).all(axis=1)
        code, detail = DeadLetterCode.RECOGNISER_FAILED, "a weight is not a finite number"
        failures += tuple(Failure(int(row), code, detail) for row in rows[~sound])
        rows, values = rows[sound], torch.from_numpy(found[sound])

        def collate(picked: np.ndarray) -> Inputs:
            return {"motion_values": values[torch.from_numpy(picked)]}

        return Prepared(rows, np.zeros(len(rows), np.int64), collate, failures)


def load_front_end(
    card: ModelCard, model: str, net: Any, options: dict[str, Any]
) -> MotionFrontEnd:
    """Return the front end of motion, which has no files of its own."""
    del card, model, net, options
    return MotionFrontEnd()


def probe() -> pa.RecordBatch:
    """Return one row that every motion model has to answer: a face at rest."""
    return pa.record_batch({"weights": vector_column(np.zeros((1, len(MOTION_FEATURES))))})
