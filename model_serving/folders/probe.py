"""Asks a model, before it is used, some rows of its modality: alone, together and in other order.

What is said of a row depends on that row alone; a model that pads without a mask, reads its padding
or has no padding token says something else beside a longer neighbour, or fails.
"""

import logging
from typing import Final

import numpy as np
import pyarrow as pa

from model_serving.front_end import Prepared
from model_serving.recogniser import NetRecogniser, micro_batches
from model_serving.threads import model_threads
from schemas.errors import AffectstreamError

_LOG = logging.getLogger(__name__)
_APART: Final = 1e-3
"""How far an output may move by neighbours, relative to its size and 1; rounding moves it by 1e-5.

Scores would hide it where a model is sure of every row.
"""


def check_answers(found: NetRecogniser, rows: pa.RecordBatch, source: str) -> None:
    """Raise AffectstreamError where a model does not answer rows of a probe, each by itself.

    Where padding moves the answers, rows of equal length alone share a forward pass from here on.
    """
    what = f"the {found.card.modality} model of {source}"
    front_end = found.front_end
    try:
        with model_threads():
            prepared = front_end.prepare(rows[front_end.column])
            if prepared.failures:
                message = f"{what} does not answer: {prepared.failures[0].detail}"
                raise AffectstreamError(message)
            moved = _difference(found, prepared)
            if moved > _APART and front_end.pads:
                front_end.pads = False
                _LOG.warning("padding moves the answers of %s: rows of equal length only", source)
                moved = _difference(found, prepared)
    except AffectstreamError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        message = f"{what} does not answer: {type(error).__name__}: {reason}"
        raise AffectstreamError(message) from error
    if not moved <= _APART:
        message = (
            f"{what} answers a row otherwise beside other rows (an output moves by {moved:.3g}): "
            "its net has to judge each row by itself"
        )
        raise AffectstreamError(message)


def _difference(found: NetRecogniser, prepared: Prepared) -> float:
    """Return the most by which an output differs between a row alone and among others.

    Raises whatever the model does, and ValueError where scores are not finite.
    """
    alone = _outputs(found, prepared, [np.array([row]) for row in range(len(prepared.rows))])
    together = _outputs(found, prepared, list(micro_batches(prepared.lengths, found.front_end)))
    return float((np.abs(alone - together) / (1 + np.abs(alone))).max())


def _outputs(found: NetRecogniser, prepared: Prepared, batches: list[np.ndarray]) -> np.ndarray:
    logits: dict[int, np.ndarray] = {}
    for picked in batches:
        answers, states, _ = found.forward(prepared.collate(picked))
        if answers.ndim != 2 or answers.shape != (len(picked), len(found.outputs.matrix)):
            message = f"it gives logits of {answers.shape} for {len(picked)} rows"
            raise ValueError(message)
        if not (np.isfinite(answers).all() and np.isfinite(states).all()):
            message = "the model gave scores that are not finite"
            raise ValueError(message)
        logits |= dict(zip(picked.tolist(), answers, strict=True))
    return np.stack([logits[row] for row in sorted(logits)])
