"""What this project's own networks share.

Scores of a row depend on that row alone: neither padding nor the rest of a batch moves them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import nn
from transformers import PreTrainedModel

from model_serving.size import Held
from schemas.errors import AffectstreamError

_FEW: Final = 1 << 20
"""Numbers that may be missing besides: a head that was not trained is said in its own words."""


class Net(PreTrainedModel):
    """Weights start as torch starts them; transformers' own start is for transformers."""

    def _init_weights(self, module: nn.Module) -> None:
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()


def check_filled(folder: str | Path, make: Callable[[], nn.Module], held: Held) -> None:
    """Build a net without memory, and compare its size with what the weights of its folder hold.

    Twice as many as the file has are still taken, for layers that share weights.

    Raises:
        AffectstreamError: the settings ask for a net that these weights cannot fill.
    """
    with torch.device("meta"):
        numbers = sum(each.numel() for each in make().parameters())
    if held.tensors and numbers > 2 * held.numbers + _FEW:
        message = (
            f"model folder {folder} is not loaded: config.json asks for {numbers:,} numbers, and "
            f"its weights hold {held.numbers:,}; fetch or train the model again"
        )
        raise AffectstreamError(message)
