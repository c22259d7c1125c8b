"""How much of a frame can be judged: which action units are tracked, and whether it is a face."""

from typing import Final

import numpy as np

from schemas.arkit import AU_BLENDSHAPES, BLENDSHAPES, EXPRESSION_UNITS
from schemas.errors import QualityCode

_AT: Final = {name: place for place, name in enumerate(BLENDSHAPES)}
_SIDES: Final = [(_AT[name], _AT[name[:-4] + "Right"]) for name in BLENDSHAPES
                 if name[:-4] + "Right" in _AT]  # fmt: skip
_UNITS: Final = tuple(AU_BLENDSHAPES)
_SHAPES_OF: Final = [[_AT[name] for name in AU_BLENDSHAPES[unit]] for unit in _UNITS]
_WEIGHT: Final = np.array(
    [sum(unit in units for units in EXPRESSION_UNITS.values()) for unit in _UNITS], np.float64
)
"""In how many expressions a unit takes part."""

_OPPOSED: Final = [
    (_AT[one], _AT[other])
    for one, other in (
        ("eyeBlinkLeft", "eyeWideLeft"), ("eyeBlinkRight", "eyeWideRight"),
        ("eyeLookUpLeft", "eyeLookDownLeft"), ("eyeLookUpRight", "eyeLookDownRight"),
        ("eyeLookInLeft", "eyeLookOutLeft"), ("eyeLookInRight", "eyeLookOutRight"),
        ("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"),
    )
]  # fmt: skip
"""Shapes that one face cannot show at once."""
