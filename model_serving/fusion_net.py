"""The network of fusion: a token for each modality, attention over them, a weighted mean."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from model_serving.net import Net
from schemas.vocabularies import EXPRESSIONS

Context = Literal["none", "past", "whole"]

_FIRST = ("text", "voice", "face", "motion")
"""What a model fuses whose configuration names no modalities: the shipped ones name none."""

_LEAST = 1e-4  # scores below it say nothing more: their logarithm would shout over the rest
_REACH = 8  # windows: those further away share a place
_SILENCE = 1.0  # windows one place away at the start count .37, .61, .78, .88 by head
_TRUST = 2.0  # bias of a gate at the start: .88 open, so that training begins by believing


class AttentionFusionConfig(PretrainedConfig):
    """Shape of an ``attention_fusion``, and the modalities that it was trained to fuse.

    A score vector has a score for each label. ``features`` gives the width of the vector of each
    modality that is read as features; the others are read as score vectors. ``gated`` adds a
    quality gate to each modality. ``context`` says which windows of its dialogue a window is judged
    with: none, those before it, or the whole dialogue, which a live stream does not have.
    ``worth``, above 0 up to 1 for each modality, is how much it tells of dialogues that its
    recogniser did not learn from, beside the best one; without it all count as the best.
    """

    model_type = "attention_fusion"

    def __init__(
        self,
        width: int = 32,
        heads: int = 4,
        dropout: float = 0.1,
        modalities: Sequence[str] = _FIRST,
        features: Mapping[str, int] | None = None,
        gated: bool = False,
        context: Context = "none",
        **kwargs: Any,
    ) -> None:
        self.width = width
        self.heads = heads
        self.dropout = dropout
        self.modalities = list(modalities)
        self.features = dict(features or {})
        self.gated = gated
        self.context = context
        self.worth: dict[str, float] = dict(kwargs.pop("worth", {}))
        known = set(self.worth) == set(self.modalities)
        if self.worth and not (known and all(0 < worth <= 1 for worth in self.worth.values())):
            message = (
                f"worth {self.worth} does not fit: give each of {', '.join(self.modalities)} a "
                "number above 0 up to 1, or leave worth out"
            )
            raise ValueError(message)
        if "id2label" not in kwargs:
            kwargs.setdefault("num_labels", len(EXPRESSIONS))
        super().__init__(**kwargs)


class AttentionFusion(Net):
    """One token for each modality, one layer of self-attention, then a weighted mean of log-scores.

    The weights are softmaxed over the modalities that are there; the mean is sharpened by a
    learned factor and moved by a small learned correction, so that agreement can raise confidence.
    A feature vector becomes the scores of its modality by a linear layer of its own.

    Where the configuration tells what modalities are worth, the weights begin from it, and factor,
    correction and what a window tells its neighbours shrink with the worth of what was weighed: of
    modalities that tell next to nothing the mean of their scores is left as it is.
    """

    config_class = AttentionFusionConfig
    main_input_name = "scores"

    def __init__(self, config: AttentionFusionConfig) -> None:
        super().__init__(config)
        width = config.width
        self.embed = nn.Linear(config.num_labels + 2, width)
        if config.features:
            sizes = config.features.items()
            self.judge = nn.ModuleDict({n: nn.Linear(size, config.num_labels) for n, size in sizes})
        self.modality = nn.Embedding(len(config.modalities), width)
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.weigh = nn.Linear(width, 1)
        self.sharpen = nn.Linear(width, 1)
        self.correct = nn.Linear(width, config.num_labels)
        if config.gated:
            self.gate = nn.Linear(width, 1)
        if config.context != "none":
            self.dialogue = DialogueContext(config)
        self.post_init()
        if config.gated:
            nn.init.constant_(self.gate.bias, _TRUST)
        if config.context != "none":
            self.dialogue.start_near()

    def forward(
        self,
        counts: Tensor,
        scores: Tensor | None = None,
        confidence: Tensor | None = None,
        features: Tensor | None = None,
        dialogue: Tensor | None = None,
        position: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Counts (n, m), scores (n, m, 7), confidence (n, m) -> logits (n, 7), attention (n, m).

        ``features`` (n, sum of their widths) are side by side in the order of the modalities, and
        take the place of these modalities' scores where they are given;
        ``dialogue`` (n,) numbers the dialogue of each window and ``position`` (n,) its place there.
        A modality whose count is 0 is never read. A row without any gets no attention, and what its
        dialogue says.
        """
        present = counts > 0
        if features is not None:
            scores, confidence = self._judge(present, scores, confidence, features)
        if scores is None or confidence is None:
            message = "fusion needs scores and confidence, or features of all its modalities"
            raise ValueError(message)
        logs = scores.where(present.unsqueeze(2), 1.0).clamp(min=_LEAST).log()
        sure = confidence.where(present, 0.0)
        extra = torch.stack([sure, torch.log1p(counts.to(scores.dtype))], dim=2)
        tokens = functional.gelu(self.embed(torch.cat([logs, extra], dim=2)))
        tokens = tokens + self.modality.weight
        trust = present.to(logs.dtype)
        if self.config.gated:
            trust = trust * self.gate(tokens).squeeze(2).sigmoid()
        tokens = tokens + self.dropout(self.mix(self._attend(tokens, present)))
        far = torch.finfo(logs.dtype).min
        worth = self._worth(logs)
        weigh = self.weigh(tokens).squeeze(2) + worth.log()
        weight = weigh.masked_fill(~present, far).softmax(dim=1) * present
        share = (weight * trust).unsqueeze(2)
        pooled, mean = (tokens * share).sum(dim=1), (logs * share).sum(dim=1)
        tells = 1 - (weight * (1 - worth)).sum(dim=1, keepdim=True)  # (n, 1); 1 with all at 1
        logits = mean * (tells * self.sharpen(pooled)).exp() + tells * self.correct(pooled)
        if self.config.context != "none":
            says = tells * present.any(dim=1, keepdim=True)
            logits = logits + self.dialogue(logits, says, dialogue, position)
        return SequenceClassifierOutput(logits=logits, attentions=(weight,))

    def _worth(self, like: Tensor) -> Tensor:
        """Return what each modality is worth (m,), 1 where the configuration tells of none."""
        worth = self.config.worth or dict.fromkeys(self.config.modalities, 1.0)
        return like.new_tensor([worth[name] for name in self.config.modalities])

    def _judge(
        self,
        present: Tensor,
        scores: Tensor | None,
        confidence: Tensor | None,
        features: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return scores and confidence with those of the feature vectors in their places."""
        n, modalities = present.shape
        if scores is None or confidence is None:
            scores = features.new_ones(n, modalities, self.config.num_labels)
            confidence = features.new_zeros(n, modalities)
        scores, confidence = scores.clone(), confidence.clone()
        start = 0
        for place, name in enumerate(self.config.modalities):
            if name in self.config.features:
                end = start + self.config.features[name]
                vector = features[:, start:end].where(present[:, [place]], 0.0)
                scores[:, place] = self.judge[name](vector).softmax(dim=1)
                confidence[:, place] = scores[:, place].amax(dim=1)
                start = end
        return scores, confidence

    def _attend(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Return what each token (n, m, width) gathers from those that are there, and from itself.

        A missing one has only itself, so that a row without any stays a number.
        """
        n, modalities, width = tokens.shape
        heads = self.config.heads
        parts = self.query_key_value(self.norm(tokens))
        parts = parts.view(n, modalities, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        itself = torch.eye(modalities, dtype=torch.bool, device=tokens.device)
        mask = present.view(n, 1, 1, modalities) | itself
        query, key, value = parts.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(n, modalities, width)


class DialogueContext(nn.Module):
    """What the other windows of a dialogue add to the logits of each: their own, by distance.

    Only scores are looked at. Attention over the windows' tokens learnt the 62 training videos of
    CMU-MOSI by heart. A window is one row, and the rows of a batch may come in any order; those of
    other dialogues, of windows that hold nothing, and where ``context`` is "past" of later ones
    are not seen.
    """

    def __init__(self, config: AttentionFusionConfig) -> None:
        super().__init__()
        self.whole = config.context == "whole"
        self.distance = nn.Embedding(2 * _REACH + 1, config.heads)
        self.correct = nn.Linear(config.heads * config.num_labels, config.num_labels, bias=False)

    def start_near(self) -> None:
        """Let the heads begin by looking 1, 2, 4 and more windows far.

        That is ALiBi's start (Press et al., "Train Short, Test Long", 2022); from an even one the
        62 dialogues of CMU-MOSI did not teach it that near windows say more.
        """
        heads = self.distance.embedding_dim
        apart = torch.arange(-_REACH, _REACH + 1).abs()
        with torch.no_grad():
            self.distance.weight.copy_(-apart[:, None] / 2.0 ** torch.arange(heads))

    def forward(self, logits: Tensor, says: Tensor, dialogue: Tensor, position: Tensor) -> Tensor:
        """Logits (n, 7), ``says`` (n, 1) of 0 to 1 how much each is heard -> what to add (n, 7).

        The mean is over what is heard, and over as much as ``_SILENCE`` windows that say nothing:
        one neighbour is believed less than many, and weak modalities are hardly believed at all.
        """
        some = (says > 0).squeeze(1)
        apart = position[:, None] - position[None, :]
        seen = (dialogue[:, None] == dialogue[None, :]) & some[None, :]
        seen &= ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        if not self.whole:
            seen &= apart > 0
        to, of = seen.nonzero(as_tuple=True)  # of eight dialogues a ninth of all pairs
        near = self.distance(apart[to, of].clamp(-_REACH, _REACH) + _REACH).exp()
        near = near * says[of]  # (pairs, heads)
        logs = logits.log_softmax(dim=1)
        logs = logs - logs.mean(dim=1, keepdim=True)
        said = near.unsqueeze(2) * logs[of].unsqueeze(1)  # (pairs, heads, 7)
        total = near.new_zeros(len(logits), near.shape[1]).index_add(0, to, near)
        mean = near.new_zeros(len(logits), *said.shape[1:]).index_add(0, to, said)
        mean = mean / (total + _SILENCE).unsqueeze(2)
        return self.correct(mean.flatten(1))


AutoConfig.register("attention_fusion", AttentionFusionConfig)
AutoModel.register(AttentionFusionConfig, AttentionFusion)
