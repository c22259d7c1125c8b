"""What this project's own networks share.

Scores of a row depend on that row alone: neither padding nor the rest of a batch moves them.
"""

from torch import nn
from transformers import PreTrainedModel


class Net(PreTrainedModel):
    """Weights start as torch starts them; transformers' own start is for transformers."""

    def _init_weights(self, module: nn.Module) -> None:
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
