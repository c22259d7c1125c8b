"""The learnt part of the reply filter: hazards by what a line means, in English and Chinese.

The first eight layers of multilingual-e5-small (MIT) read a line; one hidden layer judges the means
of its states after the sixth and the eighth. The encoder's weights lie in blocks of 32 values of
four bits and a scale, as the package that they come from has them.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from model_serving.reply.card import FilterCard, read_filter_card
from model_serving.reply.hazard import HAZARDS, Hazard, Side
from model_serving.threads import model_threads

FOLDER: Final = Path(__file__).with_name("filter")
ENCODER, TOKENIZER, JUDGE = "encoder.safetensors", "tokenizer.json", "judge.safetensors"
READ_AFTER: Final = (6, 8)
"""The layers whose states are judged; the upper four of twelve know less of what is harmful."""
HIDDEN: Final = 384
PREFIX: Final = "query: "
"""What e5 learnt to read short texts behind."""
_PIECE, _OVERLAP = 48, 12  # tokens: in a longer text a sentence of harm drowns
_FEWEST_LETTERS: Final = 5
_MOST_READ, _MOST_PIECES = 4000, 64  # characters and pieces of a text: 0.2 s
_AT_ONCE: Final = 16
_SENTENCE: Final = re.compile(r"[^.!?。！？\n]*[.!?。！？\n]*")
_UNSEEN: Final = re.compile(
    r"[\u200b-\u200f\u2060\ufeff]|(?<=[\u2e80-\uffef]) (?=\w)|(?<=\w) (?=[\u2e80-\uffef])"
)


def make_judge(width: int) -> nn.Sequential:
    """Return an untrained judge of (n, width + 1) states, the last of which tells the side.

    Its outputs (n, 6) are logits: of no hazard, then of ``HAZARDS``.
    """
    return nn.Sequential(
        nn.Dropout(0.2),
        nn.Linear(width + 1, HIDDEN),
        nn.GELU(),
        nn.Dropout(0.4),
        nn.Linear(HIDDEN, 1 + len(HAZARDS)),
    )


@dataclass(frozen=True, slots=True)
class Encoder:
    """Reads lines; each gets the mean states of its tokens after the layers ``READ_AFTER``."""

    net: Any
    tokenizer: Tokenizer

    def states(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return states (pieces, 768), and of which text each is: a long one has several."""
        pieces: list[tuple[int, list[int]]] = []
        for number, text in enumerate(texts):
            pieces += [(number, ids) for ids in self._pieces(_UNSEEN.sub("", text[:_MOST_READ]))]
        order = sorted(range(len(pieces)), key=lambda place: len(pieces[place][1]))
        states = np.zeros((len(pieces), len(READ_AFTER) * self.net.config.hidden_size), np.float32)
        with model_threads(), torch.inference_mode():
            for start in range(0, len(order), _AT_ONCE):
                picked = order[start : start + _AT_ONCE]
                states[picked] = self._forward([pieces[place][1] for place in picked]).numpy()
        return states, np.array([number for number, _ in pieces], np.int64)

    def _pieces(self, text: str) -> list[list[int]]:
        """Return the token ids of a text; of one longer than a piece, those of its sentences."""
        whole = self.tokenizer.encode(PREFIX + text)
        if not whole.overflowing:
            return [whole.ids]
        sentences = (PREFIX + part for part in _SENTENCE.findall(text) if part.strip())
        found = self.tokenizer.encode_batch(list(sentences))
        parts = [part.ids for first in found for part in (first, *first.overflowing)]
        return parts[:_MOST_PIECES]

    def _forward(self, rows: Sequence[list[int]]) -> Tensor:
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = (torch.arange(longest) < torch.tensor([[len(row)] for row in rows])).float()
        found = self.net(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        share = (mask / mask.sum(1, keepdim=True))[..., None]
        return torch.cat([(found.hidden_states[at] * share).sum(1) for at in READ_AFTER], dim=1)


@dataclass(frozen=True, slots=True)
class HazardNet:
    """Judges lines by the states of its encoder, and the thresholds of its card."""

    encoder: Encoder
    judge: nn.Module
    card: FilterCard

    def find(self, texts: Sequence[str], side: Side) -> list[Hazard | None]:
        """Return the hazard of each text of this side, or None.

        The likelier one is taken, but harm to oneself from its own, lower threshold on. A text of
        fewer than five letters, or two in Chinese, has no meaning to judge.
        """
        found: list[Hazard | None] = [None] * len(texts)
        judged = [place for place, text in enumerate(texts) if _has_words(text)]
        if not judged:
            return found
        states, numbers = self.encoder.states([texts[place] for place in judged])
        odds = judge_odds(self.judge, states, side)
        for row, part in zip(odds, numbers, strict=True):
            number = judged[part]
            if row[1] > self.card.self_harm_above:
                found[number] = "self_harm"
            elif row[0] > self.card.any_above and found[number] is None:
                found[number] = HAZARDS[int(row[1:].argmax())]
        return found


def _has_words(text: str) -> bool:
    letters = [letter for letter in text[:_MOST_READ] if letter.isalpha()]
    return len(letters) >= _FEWEST_LETTERS or sum(letter > "\u2e80" for letter in letters) > 1


def judge_odds(judge: nn.Module, states: np.ndarray, side: Side) -> np.ndarray:
    """Return log-odds (n, 6): that there is any hazard, and of each of ``HAZARDS``."""
    with torch.inference_mode():
        shares = judge(with_side(states, [side] * len(states))).log_softmax(dim=1).double()
    against = torch.log(-torch.expm1(shares))
    odds = shares - against
    odds[:, 0] *= -1
    return odds.numpy()


def with_side(states: np.ndarray, sides: Sequence[Side]) -> Tensor:
    """Return (n, width + 1) inputs of a judge."""
    reply = np.array([[2.0 * (side == "reply")] for side in sides], np.float32)
    return torch.from_numpy(np.concatenate([states, reply], axis=1))


@functools.cache
def load_hazard_net(folder: Path = FOLDER) -> HazardNet:
    """Load the filter that ships, once in a process.

    Raises:
        AffectstreamError: a file is missing, or not what its card describes.
    """
    card = read_filter_card(folder)
    return HazardNet(load_encoder(folder), _load_judge(folder), card)


def load_encoder(folder: Path, piece: int = _PIECE) -> Encoder:
    """Load the encoder alone; it cuts texts that are longer than so many tokens."""
    net = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
    net.load_state_dict(unpack(load_file(folder / ENCODER), net.state_dict()))
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.enable_truncation(piece, stride=_OVERLAP)
    return Encoder(net.eval(), tokenizer)


def _load_judge(folder: Path) -> nn.Module:
    weights = {name: value.float() for name, value in load_file(folder / JUDGE).items()}
    judge = make_judge(weights["1.weight"].shape[1] - 1)
    judge.load_state_dict(weights)
    return judge.eval()


def unpack(packed: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in float32 of the shapes of ``like``: (q - 8) · scale where it has blocks."""
    found = {}
    for name, shape in ((name, value.shape) for name, value in like.items()):
        if name in packed:
            found[name] = packed[name].float().reshape(shape)
        elif f"{name}.q" in packed:
            q, scale = packed[f"{name}.q"], packed[f"{name}.scale"]
            values = torch.cat([q & 15, q >> 4], dim=1).float() - 8
            found[name] = (values * scale.float()[:, None]).reshape(shape)
    return found
