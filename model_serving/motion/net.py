"""What this project's own networks share, and the one that sees motion.

``motion_mlp`` sees blendshape weights; it is registered with transformers' Auto classes when this
module is imported. ``voice_nets`` and ``text_nets`` hold the others. Scores of a row depend on that
row alone: neither padding nor the rest of a batch moves them.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from schemas.modalities import MOTION_FEATURES


class Net(PreTrainedModel):
    """Weights start as torch starts them; transformers' own start is for transformers."""

    def _init_weights(self, module: nn.Module) -> None:
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()


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
