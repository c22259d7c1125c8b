"""The network of the motion model: ``motion_mlp`` sees the blendshape weights of one frame.

It is registered with transformers' Auto classes when this module is imported.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    PretrainedConfig,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from model_serving.net import Net
from schemas.modalities import MOTION_FEATURES


class MotionMlpConfig(PretrainedConfig):
    """Shape of a ``motion_mlp``."""

    model_type = "motion_mlp"

    def __init__(
        self,
        features: int = len(MOTION_FEATURES),
        hidden: tuple[int, ...] = (128, 64),
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self.features = features
        self.hidden = tuple(hidden)
        self.dropout = dropout
        super().__init__(**kwargs)


class MotionMlp(Net):
    """One frame of blendshape weights and head pose -> expression; no memory of other frames."""

    config_class = MotionMlpConfig
    main_input_name = "motion_values"

    def __init__(self, config: MotionMlpConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        width = config.features
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(config.dropout)]
            width = hidden
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def forward(
        self, motion_values: Tensor, labels: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Frames (n, 55), in the order of ``MOTION_FEATURES`` -> logits."""
        hidden = self.body(motion_values.to(self.classifier.weight.dtype))
        logits = self.classifier(hidden)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=(hidden,))


AutoConfig.register("motion_mlp", MotionMlpConfig)
AutoModel.register(MotionMlpConfig, MotionMlp)
