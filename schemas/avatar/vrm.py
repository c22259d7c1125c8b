"""The looks of an avatar: each as weights on VRM 1.0 presets and on ARKit's 52 blendshapes.

Source of the presets and of the override rules:
https://github.com/vrm-c/vrm-specification/blob/master/specification/VRMC_vrm-1.0/expressions.md
"""

from types import MappingProxyType
from typing import Final

import numpy as np

from schemas.arkit import BLENDSHAPES, EXPRESSION_WEIGHTS
from schemas.vocabularies import EXPRESSIONS

PRESETS: Final = ("happy", "angry", "sad", "relaxed", "surprised", "neutral")
"""The emotion presets of VRM 1.0, and ``neutral``: the six weights of a decision, in this order."""

RELAXED: Final = EXPRESSIONS.index("neutral")
"""Joy at low arousal. It takes the place that ``neutral`` has among EXPRESSIONS: at rest no look is
shown at all, and every other look has the index of its expression."""
REST: Final = -1
"""The look of a face that shows nothing."""
LOOKS: Final = tuple("relaxed" if name == "neutral" else name for name in EXPRESSIONS)

CALM: Final = 0.2
"""Arousal under which joy is shown as ``relaxed``."""
LIVELY: Final = 0.3
"""Arousal from which on it is ``happy`` again; between the two it stays what it is.

A joy of probability 0.8 has an arousal of 0.45 by ``CIRCUMPLEX``, one of 0.4 has about 0.3.
"""

LOOK_PRESETS: Final = MappingProxyType(
    {
        "anger": {"angry": 1.0},
        "disgust": {"angry": 0.5},
        "fear": {"surprised": 0.6, "sad": 0.4},
        "joy": {"happy": 1.0},
        "sadness": {"sad": 1.0},
        "surprise": {"surprised": 1.0},
        "relaxed": {"relaxed": 1.0},
    }
)
"""Look → its presets. VRM has none for disgust, which is half of ``angry`` so that nobody seems as
angry as they are not, nor for fear: the wide eyes and raised brows of surprise (action units 1, 2,
5 and 26) with the drawn ones of sadness (1 and 4)."""

OVERRIDES: Final = ("none", "blend", "block")
"""What a preset does to a procedural weight, from the weakest to the strictest."""
TARGETS: Final = ("mouth", "blink", "look_at")
"""The procedural weights: lip sync, blinking, gaze."""

OVERRIDE_RULES: Final = MappingProxyType(
    {
        "happy": {"mouth": "none", "blink": "blend", "look_at": "none"},
        "angry": {"mouth": "none", "blink": "blend", "look_at": "none"},
        "sad": {"mouth": "none", "blink": "none", "look_at": "none"},
        "relaxed": {"mouth": "none", "blink": "blend", "look_at": "none"},
        "surprised": {"mouth": "none", "blink": "block", "look_at": "none"},
        "neutral": {"mouth": "none", "blink": "none", "look_at": "none"},
    }
)
"""Preset → target → override. No preset stops the lips, since it is the mouth that yields. A blink
fades where a preset narrows the eyes, and stops where it opens them wide."""

MOUTH: Final = np.array(
    [name.startswith(("jaw", "mouth", "tongue", "cheekPuff")) for name in BLENDSHAPES]
)
"""(52,): which blendshapes yield to lip sync; a cheek is puffed with closed lips only."""
LIP_SYNC_MASK: Final = "".join("1" if yields else "0" for yields in MOUTH)
"""``MOUTH`` as 52 digits."""

LOOK_SHAPES: Final = np.stack(
    [EXPRESSION_WEIGHTS[EXPRESSIONS.index("joy" if n == "relaxed" else n)] for n in LOOKS]
)
"""(7, 52): the blendshape weights of each look in full; a relaxed face has the shapes of joy."""

LOOK_WEIGHTS: Final = np.array(
    [[LOOK_PRESETS[look].get(preset, 0.0) for preset in PRESETS[:-1]] for look in LOOKS], np.float32
)
"""(7, 5): the weights of each look in full on the presets before ``neutral``, which is the rest."""

MAIN_PRESET: Final = (*(max(shares, key=shares.__getitem__) for shares in
                        (LOOK_PRESETS[look] for look in LOOKS)), "neutral")  # fmt: skip
"""The preset that each look is called by; the last, for REST, is ``neutral``."""

AT_REST: Final = MappingProxyType({preset: float(preset == "neutral") for preset in PRESETS})
"""The weights of a face at rest."""
