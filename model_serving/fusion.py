"""Attention fusion: the score vectors of a window's modalities become one, missing ones masked."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from model_serving.card import CARD_FILE, ModelCard, check_files, read_card
from model_serving.fusion_net import AttentionFusion, AttentionFusionConfig
from model_serving.gaps import GapLimit, check_gaps
from model_serving.labels import read_outputs
from model_serving.net import check_filled
from model_serving.threads import model_threads
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS

disable_progress_bar()  # a backfill loads nothing else, and a bar for one file says nothing

SHIPPED = Path(__file__).parent / "weights" / "fusion"
_BLOCK = 16
"""Rows. In blocks of 8 and of 16 no bit of 3,000 rows depended on how they were split."""


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
            inputs = (counts, scores[:, :, list(self.order)], confidence)
            tensors = [_filled(part[some]) for part in inputs]
            with model_threads(), torch.inference_mode():
                output = self.net(*tensors)
                probabilities = (output.logits / self.card.calibration.temperature).softmax(dim=1)
            known = slice(np.count_nonzero(some))
            fused[some] = probabilities.numpy()[known, np.argsort(self.order)]
            attention[np.ix_(some, own)] = output.attentions[0].numpy()[known]
        best = fused.max(axis=1, initial=0.0)
        abstained = ~some | (best < np.float32(self.card.calibration.threshold))
        return Fused(fused, best, attention, abstained)


def _filled(rows: np.ndarray) -> torch.Tensor:
    """Return rows in double precision, with empty ones up to the next multiple of ``_BLOCK``.

    A matrix product treats whole blocks of rows alike, and those that are left over otherwise: by
    up to 1e-14 in a logit, which may turn the last bit of a score in float32.
    """
    filled = np.zeros((-(-len(rows) // _BLOCK) * _BLOCK, *rows.shape[1:]))
    filled[: len(rows)] = rows
    return torch.from_numpy(filled)


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
