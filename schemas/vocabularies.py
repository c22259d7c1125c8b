"""Expression vocabularies, and the tables that map other models' labels to them."""

from types import MappingProxyType

import numpy as np

VOCABULARY = "ekman7-v1"

EXPRESSIONS = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")
"""The labels of ``ekman7-v1`` in the order of every score vector."""

CONFIRMED = "confirmed"
REVIEWER_DECISIONS = (CONFIRMED, "unclear", *EXPRESSIONS)
"""What a person may say: the window's expression is right, nobody can tell, or what was shown."""

VALUES = ("valence", "arousal")
"""Outputs of a model that gives valence and arousal itself."""

VALENCE_AROUSAL = MappingProxyType(
    {
        "anger": (-0.51, 0.59),
        "disgust": (-0.60, 0.35),
        "fear": (-0.64, 0.60),
        "joy": (0.76, 0.48),
        "sadness": (-0.63, -0.27),
        "surprise": (0.40, 0.67),
        "neutral": (0.0, 0.0),
    }
)
"""Valence and arousal of each expression in [-1, 1].

The pleasure and arousal means of Russell and Mehrabian, "Evidence for a three-factor theory of
emotions" (1977), as commonly reproduced for the six basic terms; neutral is the origin.
"""

CIRCUMPLEX = np.array([VALENCE_AROUSAL[name] for name in EXPRESSIONS], dtype=np.float32)
"""``VALENCE_AROUSAL`` as a (7, 2) matrix."""


def affect_of(scores: np.ndarray) -> np.ndarray:
    """Return valence and arousal (n, 2) of scores (n, 7): the mean over their expressions.

    It is summed in the order of the expressions. A matrix product takes another way for one row
    than for two, so that a third of all rows moved by up to 9e-8 with the size of their batch.
    """
    total = scores[:, :1] * CIRCUMPLEX[0]
    for place in range(1, len(EXPRESSIONS)):
        total = total + scores[:, place, None] * CIRCUMPLEX[place]
    return np.asarray(total)


ALIASES = MappingProxyType(
    {
        "angry": "anger",
        "ang": "anger",
        "annoyance": "anger",
        "disapproval": "anger",
        "disgusted": "disgust",
        "dis": "disgust",
        "fearful": "fear",
        "fea": "fear",
        "anxiety": "fear",
        "nervousness": "fear",
        "worried": "fear",
        "happy": "joy",
        "happiness": "joy",
        "hap": "joy",
        "like": "joy",
        "love": "joy",
        "amusement": "joy",
        "grateful": "joy",
        "relaxed": "joy",
        "positive-other": "joy",
        "sad": "sadness",
        "depress": "sadness",
        "grief": "sadness",
        "surprised": "surprise",
        "surprize": "surprise",
        "astonished": "surprise",
        "sur": "surprise",
        "calm": "neutral",
        "boredom": "neutral",
        "bored": "neutral",
        "neutrality": "neutral",
        "neural": "neutral",
        "neu": "neutral",
        "others": "neutral",
        "contempt": "disgust",
    }
)
"""Labels of common corpora and models → ``ekman7-v1``."""


def to_ekman(label: str) -> str | None:
    """Map a label of another vocabulary to ``ekman7-v1``; None where no mapping is known."""
    name = label.strip().lower()
    name = ALIASES.get(name, name)
    return name if name in EXPRESSIONS else None
