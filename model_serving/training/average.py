"""The running average of a net's weights, which is what is judged, kept and shipped."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Averaged(nn.Module):
    """Trains ``net`` and answers, in evaluation, by the exponential average of its states.

    ``frozen`` parts neither learn nor renew the statistics of their norms. The parameters to give
    a rate of their own are named ``net.…``.
    """

    def __init__(self, net: nn.Module, decay: float, frozen: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        for part in frozen:
            part.requires_grad_(requires_grad=False)
        self.net = net
        self._frozen = tuple(frozen)
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(net, multi_avg_fn=average, use_buffers=True)
        self.average.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> "Averaged":
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(self, **inputs: Any) -> Any:
        """Answer as the net that is trained while it trains, as the average otherwise."""
        if not self.training:
            return self.average(**inputs)
        self.average.update_parameters(self.net)
        return self.net(**inputs)
