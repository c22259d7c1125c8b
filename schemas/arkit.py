"""ARKit-52 blendshapes, and each expression as weights on them.

Source of the expressions: the prototypes of Ekman and Friesen's Facial Action Coding System as
listed in EMFACS (joy 6+12, sadness 1+4+15, surprise 1+2+5+26, fear 1+2+4+5+7+20+26,
anger 4+5+7+23+24, disgust 9+15+17). An action unit maps to the blendshapes that move the same
skin; ``AU_BLENDSHAPES`` is that table.
"""

from types import MappingProxyType

import numpy as np

from schemas.vocabularies import EXPRESSIONS

BLENDSHAPES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight",
    "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight", "eyeWideRight", "jawForward",
    "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft",
    "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft",
    "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
    "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft",
    "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 blendshapes of ARKit in Apple's order; every weight is in [0, 1]."""

SIDES = tuple(
    (BLENDSHAPES.index(name), BLENDSHAPES.index(f"{name[:-4]}Right"))
    for name in BLENDSHAPES
    if name.endswith("Left") and name not in ("jawLeft", "mouthLeft")
)
"""Places of a shape's left and right."""

HEAD_POSE = ("pitch", "yaw", "roll")
"""Head rotation in radians."""

AU_BLENDSHAPES = MappingProxyType(
    {
        1: ("browInnerUp",),
        2: ("browOuterUpLeft", "browOuterUpRight"),
        4: ("browDownLeft", "browDownRight"),
        5: ("eyeWideLeft", "eyeWideRight"),
        6: ("cheekSquintLeft", "cheekSquintRight"),
        7: ("eyeSquintLeft", "eyeSquintRight"),
        9: ("noseSneerLeft", "noseSneerRight"),
        12: ("mouthSmileLeft", "mouthSmileRight"),
        15: ("mouthFrownLeft", "mouthFrownRight"),
        17: ("mouthShrugLower",),
        20: ("mouthStretchLeft", "mouthStretchRight"),
        23: ("mouthRollLower", "mouthRollUpper"),
        24: ("mouthPressLeft", "mouthPressRight"),
        26: ("jawOpen",),
    }
)

EXPRESSION_UNITS = MappingProxyType(
    {
        "anger": (4, 5, 7, 23, 24),
        "disgust": (9, 15, 17),
        "fear": (1, 2, 4, 5, 7, 20, 26),
        "joy": (6, 12),
        "sadness": (1, 4, 15),
        "surprise": (1, 2, 5, 26),
        "neutral": (),
    }
)

_UNIT_WEIGHT = 0.7  # a clear but not extreme display, intensity C-D of FACS on a 0-1 scale


def _weights(expression: str) -> np.ndarray:
    moved = {name for unit in EXPRESSION_UNITS[expression] for name in AU_BLENDSHAPES[unit]}
    return np.array([_UNIT_WEIGHT if name in moved else 0.0 for name in BLENDSHAPES], np.float32)


EXPRESSION_WEIGHTS = np.stack([_weights(name) for name in EXPRESSIONS])
"""(7, 52): the blendshape weights of each expression of ``ekman7-v1``."""
