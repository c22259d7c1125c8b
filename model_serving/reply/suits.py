"""Whether a reply shows what suits its strategy, as the text recogniser of the run estimates it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa

from model_serving.recogniser import Recogniser
from model_serving.reply.prompt import Cue, Strategy
from schemas.vocabularies import EXPRESSIONS

SUITING: Final[Mapping[Strategy, frozenset[str]]] = MappingProxyType(
    {
        "acknowledge": frozenset({"neutral", "joy", "surprise", "sadness"}),
        "ask": frozenset({"neutral", "surprise"}),
        "celebrate": frozenset({"joy", "surprise"}),
        "comfort": frozenset({"sadness", "neutral", "fear"}),
        "encourage": frozenset({"joy", "neutral"}),
        "suggest": frozenset({"neutral", "joy"}),
    }
)
"""The expressions that a reply may show for each strategy."""
LEAST: Final = 0.5
"""The probability that a reply must show one of them."""
_UNPLEASANT: Final = {"anger", "disgust", "fear", "sadness"}
_PRAISE: Final = re.compile(
    r"\b(?:that|it)(?:'s| is| sounds)(?: \w+){0,2} "
    r"(?:good|great|awesome|amazing|cool|nice|wonderful|fantastic|exciting|fun|lovely)\b|"
    r"^(?:wow|yay|congrat\w*|awesome|great|nice|cool)\b|^(?:太好了|恭喜|真棒|太棒了|真好)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Suitability:
    """Judges replies by the expression that ``recogniser``, one of text, sees in them."""

    recogniser: Recogniser

    def order(self, replies: Sequence[str], cue: Cue) -> list[str]:
        """Return the replies that suit the cue, the most suiting first.

        Of those that suit alike, to a tenth, the earlier one comes first. A reply that praises what
        a person takes badly suits nothing.
        """
        shares = self.shares(replies, cue.strategy).round(1)
        bad = cue.expression in _UNPLEASANT
        fitting = [
            place
            for place, text in enumerate(replies)
            if shares[place] >= LEAST and not (bad and _PRAISE.search(text))
        ]
        return [replies[place] for place in sorted(fitting, key=lambda place: -shares[place])]

    def shares(self, replies: Sequence[str], strategy: Strategy) -> np.ndarray:
        """Return how likely each reply shows what suits the strategy, (replies,); 0 if unread."""
        batch = pa.record_batch({"text": pa.array(replies, pa.string())})
        found = self.recogniser.estimate(batch)
        suiting = [name in SUITING[strategy] for name in EXPRESSIONS]
        shares = np.zeros(len(replies))
        shares[found.rows] = found.scores[:, suiting].sum(axis=1)
        return shares
