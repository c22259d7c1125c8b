"""Attention fusion: the score vectors of a window's modalities become one, missing ones masked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.logging import disable_progress_bar

from model_serving.card import CARD_FILE, ModelCard, check_files, read_card
from model_serving.gaps import GapLimit, check_gaps
from model_serving.labels import read_outputs
from model_serving.net import Net, check_filled
from model_serving.threads import model_threads
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS

disable_progress_bar()  # a backfill loads nothing else, and a bar for one file says nothing

SHIPPED = Path(__file__).parent / "weights" / "fusion"
_LEAST = 1e-4  # scores below it say nothing more: their logarithm would shout over the rest


_FIRST = ("text", "voice", "face", "motion")
"""What a model fuses whose configuration names no modalities: the shipped ones name none."""


class AttentionFusionConfig(PretrainedConfig):
    """Shape of an ``attention_fusion``, and the modalities that it was trained to fuse."""

    model_type = "attention_fusion"

    def __init__(
        self,
        width: int = 32,
        heads: int = 4,
        dropout: float = 0.1,
        modalities: Sequence[str] = _FIRST,
        **kwargs: Any,
    ) -> None:
        self.width = width
        self.heads = heads
        self.dropout = dropout
        self.modalities = list(modalities)
        super().__init__(**kwargs)


class AttentionFusion(Net):
    """One token for each modality, one layer of self-attention, then a weighted mean of log-scores.

    The weights are softmaxed over the modalities that are there; the mean is sharpened by a
    learned factor and moved by a small learned correction, so that agreement can raise confidence.
    """

    config_class = AttentionFusionConfig
    main_input_name = "scores"

    def __init__(self, config: AttentionFusionConfig) -> None:
        super().__init__(config)
        width = config.width
        self.embed = nn.Linear(len(EXPRESSIONS) + 2, width)
        self.modality = nn.Embedding(len(config.modalities), width)
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.weigh = nn.Linear(width, 1)
        self.sharpen = nn.Linear(width, 1)
        self.correct = nn.Linear(width, len(EXPRESSIONS))
        self.post_init()

    def forward(
        self, counts: Tensor, scores: Tensor, confidence: Tensor, **_: Any
    ) -> SequenceClassifierOutput:
        """Counts (n, 4), scores (n, 4, 7), confidence (n, 4) -> logits, attention (n, 4).

        Every row needs one modality with a count above zero.
        """
        present = counts > 0
        logs = scores.clamp(min=_LEAST).log()
        extra = torch.stack([confidence, torch.log1p(counts.to(scores.dtype))], dim=2)
        tokens = functional.gelu(self.embed(torch.cat([logs, extra], dim=2)))
        tokens = self._attend(tokens + self.modality.weight, present)
        weight = self.weigh(tokens).squeeze(2).masked_fill(~present, float("-inf")).softmax(dim=1)
        pooled = (tokens * weight.unsqueeze(2)).sum(dim=1)
        mean = (logs * weight.unsqueeze(2)).sum(dim=1)
        logits = mean * self.sharpen(pooled).exp() + self.correct(pooled)
        return SequenceClassifierOutput(logits=logits, attentions=(weight,))

    def _attend(self, tokens: Tensor, present: Tensor) -> Tensor:
        n, modalities, width = tokens.shape
        heads = self.config.heads
        parts = self.query_key_value(self.norm(tokens))
        parts = parts.view(n, modalities, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mask = present.view(n, 1, 1, modalities)
        query, key, value = parts.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(n, modalities, width)
        return tokens + self.dropout(self.mix(mixed))


AutoConfig.register("attention_fusion", AttentionFusionConfig)
AutoModel.register(AttentionFusionConfig, AttentionFusion)


@dataclass(frozen=True, slots=True)
class Fused:
    """Scores (n, 7), confidence (n,), attention (n, 4), abstained (n,) of n windows.

    Attention is 0 where a modality is missing and sums to 1.
    """

    scores: np.ndarray
    confidence: np.ndarray
    attention: np.ndarray
    abstained: np.ndarray


@dataclass(frozen=True, slots=True)
class Fusion:
    """A trained fusion net and its card.

    ``order`` is the expression of each of the net's outputs, and so of each score that it reads:
    its logits are the logarithms of those, moved. A modality that the net does not know has no
    part in what it fuses.
    """

    net: AttentionFusion
    card: ModelCard
    order: tuple[int, ...] = tuple(range(len(EXPRESSIONS)))

    @property
    def model_id(self) -> str:
        return self.card.model_id

    def fuse(self, counts: np.ndarray, scores: np.ndarray, confidence: np.ndarray) -> Fused:
        """Fuse windows row by row: counts (n, 4), scores (n, 4, 7), confidence (n, 4).

        A row without any modality that the net knows gets uniform scores, no attention at all, and
        abstains. What the cells of a missing modality contain is never read.
        """
        n = len(counts)
        own = np.array([list(MODALITIES).index(name) for name in self.net.config.modalities])
        counts, scores, confidence = counts[:, own], scores[:, own], confidence[:, own]
        fused = np.full((n, len(EXPRESSIONS)), 1 / len(EXPRESSIONS), np.float32)
        attention = np.zeros((n, len(MODALITIES)), np.float32)
        there = counts > 0
        some = there.any(axis=1)
        if some.any():
            inputs = (
                counts,
                np.where(there[:, :, None], scores, 1.0)[:, :, list(self.order)],
                np.where(there, confidence, 0.0),
            )
            # In double precision, so that a row moves by less than 1e-9 with its batch.
            tensors = [torch.from_numpy(np.asarray(part[some], np.float64)) for part in inputs]
            with model_threads(), torch.inference_mode():
                output = self.net(*tensors)
                probabilities = (output.logits / self.card.calibration.temperature).softmax(dim=1)
            fused[some] = probabilities.numpy()[:, np.argsort(self.order)]
            attention[np.ix_(some, own)] = output.attentions[0].numpy()
        best = fused.max(axis=1, initial=0.0)
        abstained = ~some | (best < np.float32(self.card.calibration.threshold))
        return Fused(fused, best, attention, abstained)


def load_fusion(path: Path | None = None, gaps: GapLimit | None = None) -> Fusion:
    """Load the fusion model of this folder, or the shipped one, once a process.

    With ``gaps`` a card of which groups lie too far apart is refused, as by ``load_recogniser``.
    """
    folder = (path or SHIPPED).resolve()
    if gaps is not None:
        check_gaps(read_card(folder / CARD_FILE), gaps)
    with model_threads():
        return _load(folder)


@lru_cache(maxsize=4)
def _load(folder: Path) -> Fusion:
    card = read_card(folder / CARD_FILE)
    if card.modality != "fusion":
        message = f"model {folder} is for {card.modality} by its card, not for fusion"
        raise AffectstreamError(message)
    held = check_files(folder, card)
    try:
        settings = AttentionFusionConfig.from_pretrained(folder, local_files_only=True)
        check_filled(folder, lambda: AttentionFusion(settings), held)
        net, found = AttentionFusion.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except AffectstreamError:
        raise
    except Exception as error:  # safetensors and torch raise their own
        message = f"the fusion model can't be loaded from folder {folder}: {error}"
        raise AffectstreamError(message) from error
    if unknown := sorted(set(net.config.modalities) - set(MODALITIES)):
        message = (
            f"the fusion model in {folder} fuses {', '.join(unknown)}, which is no modality here: "
            f"name a model of {', '.join(MODALITIES)}"
        )
        raise AffectstreamError(message)
    if found["missing_keys"]:  # they would be filled at random
        message = f"the fusion model in {folder} lacks {min(found['missing_keys'])}: train it again"
        raise AffectstreamError(message)
    return Fusion(net.double().eval(), card, _order(card, net.config))


def _order(card: ModelCard, config: Any) -> tuple[int, ...]:
    """Return which expression each output is, by the names on card and configuration."""
    matrix = read_outputs(card, config).matrix
    if matrix.shape[0] != len(EXPRESSIONS) or not (matrix.sum(axis=0) == 1).all():
        message = (
            f"the card of {card.model_id} does not map one label to each expression, and fusion "
            f"is of all: map each label to its own of {', '.join(EXPRESSIONS)}"
        )
        raise AffectstreamError(message)
    return tuple(int(place) for place in matrix.argmax(axis=1))
