"""The network of the base text model: a BERT body under the mean over its tokens.

``mean_bert`` is registered with transformers' Auto classes when this module is imported.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.bert.modeling_bert import BertPreTrainedModel


class MeanBertConfig(BertConfig):
    """A BertConfig; ``num_labels`` outputs."""

    model_type = "mean_bert"


class MeanBert(BertPreTrainedModel):
    """BERT, the mean over real tokens, one linear layer: the summary that e5 was trained with."""

    config_class = MeanBertConfig

    def __init__(self, config: MeanBertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any
    ) -> SequenceClassifierOutput:
        """Token ids (n, tokens), mask 1 where a token is real -> logits (n, num_labels)."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        more.pop("labels", None)
        found = self.bert(input_ids=input_ids, attention_mask=attention_mask, **more)
        state = found.last_hidden_state
        mask = attention_mask.to(state.dtype)[:, :, None]
        pooled = (state * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return SequenceClassifierOutput(
            logits=self.classifier(self.dropout(pooled)), hidden_states=found.hidden_states
        )


AutoConfig.register("mean_bert", MeanBertConfig)
AutoModelForSequenceClassification.register(MeanBertConfig, MeanBert)
