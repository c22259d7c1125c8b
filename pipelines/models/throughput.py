"""How fast the compact models' forward passes are, beside a matrix product in the same run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2, prod
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from model_serving.front_end import Inputs
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from model_serving.threads import model_threads
from pipelines.config import WEIGHTS
from schemas.modalities import MODALITIES, MOTION_FEATURES

_TOKENS, _SECONDS, _SIDE = 32, 3, 48
_ROWS = {"motion": 1024}
_ITEM = {"text": "32 tokens", "voice": "3 s", "face": "48 px face", "motion": "one frame"}
_EDGE = 1024


@dataclass(frozen=True, slots=True)
class Speed:
    """Items a second of one model, its arithmetic, and the rate of a matrix product beside it."""

    model: str
    item: str
    items_per_s: float
    mflop: float
    gflops: float
    matmul_gflops: float


def speeds(weights: Path = WEIGHTS, rounds: int = 7) -> list[Speed]:
    """Measure the compact model of each modality, with the threads that a worker gives it."""
    found = []
    for modality in MODALITIES:
        folder = weights / f"{modality}-compact"
        model = load_recogniser(modality, str(folder), None, "cpu")
        if isinstance(model, NetRecogniser):
            with model_threads():
                found.append(_speed(modality, model, rounds))
    return found


def _speed(modality: str, model: NetRecogniser, rounds: int) -> Speed:
    rows = _ROWS.get(modality, 64)
    inputs = example(modality, model, rows)
    left, right = torch.randn(_EDGE, _EDGE), torch.randn(_EDGE, _EDGE)
    counter = FlopCounterMode(display=False, custom_mapping=_TRANSFORMS)
    with torch.no_grad(), counter:
        model.net(**inputs)
    with torch.inference_mode():
        mine, product = [], []
        for _ in range(rounds):
            mine.append(_seconds(lambda: model.net(**inputs)))
            product.append(_seconds(lambda: left @ right))
    work = counter.get_total_flops()
    return Speed(
        model=model.card.name,
        item=_ITEM[modality],
        items_per_s=rows / median(mine),
        mflop=work / rows / 1e6,
        gflops=work / median(mine) / 1e9,
        matmul_gflops=2 * _EDGE**3 / median(product) / 1e9,
    )


def example(modality: str, model: NetRecogniser, rows: int) -> Inputs:
    """Return random inputs of the usual size for one forward pass."""
    rng = np.random.default_rng(0)
    if modality == "text":
        ids = torch.from_numpy(rng.integers(4, model.net.config.vocab_size, (rows, _TOKENS)))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if modality == "motion":
        return {"motion_values": torch.rand(rows, len(MOTION_FEATURES))}
    if modality == "voice":
        waves = torch.randn(rows, _SECONDS * 16_000)
        return {"input_values": waves, "attention_mask": torch.ones_like(waves, dtype=torch.long)}
    grids = [rng.integers(0, 255, (_SIDE, _SIDE, 1), np.uint8) for _ in range(rows)]
    front: Any = model.front_end
    found = front._processor(grids, input_data_format="channels_last", return_tensors="pt")
    return {"pixel_values": found["pixel_values"].float()}


def _real_fft(
    given: Sequence[int], dim: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any
) -> int:
    """Count 2.5 n log2 n operations for each transform of n real values, there or back."""
    axis = dim[-1]
    points = max(given[axis], out_shape[axis])  # the real side is the longer one
    return round(2.5 * prod(given) / given[axis] * points * log2(points))


_TRANSFORMS: Final = {torch.ops.aten._fft_r2c: _real_fft, torch.ops.aten._fft_c2r: _real_fft}
"""What torch's counter leaves out: it knows products and convolutions."""


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
