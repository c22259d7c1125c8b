"""Attribution by occlusion: how far an estimate falls when one part of an event is taken away.

Zeiler and Fergus (2014), https://arxiv.org/abs/1311.2901. It asks the recogniser itself, front end
and calibration included, so that it holds for any model of any library, and its figures are
probabilities. Gradients would stop at the tokeniser and the decoder. Parts that only count
together, each of which is enough alone, get small figures: the figures of an event need not add up
to its estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from model_serving.recogniser import Recogniser

METHOD: Final = "occlusion"
Unit = Literal["characters", "seconds", "crop", "weight"]


@dataclass(frozen=True, slots=True)
class Part:
    """One part, and by how much the probability falls without it; negative where it rises.

    ``name`` is the words, region or shape. ``start`` and ``end`` are where it stands in the text
    (characters) or clip (seconds), None for what is not on a line.
    """

    name: str
    effect: float
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """The probability of one expression by one event, and what each of its parts did to it.

    ``parts`` are in the order of the payload. ``removed`` says what stands in the place of a part.
    """

    probability: float
    parts: tuple[Part, ...]
    unit: Unit
    removed: str


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a payload: its name, and where it stands."""

    name: str
    start: float | None = None
    end: float | None = None


def probabilities(
    recogniser: Recogniser, column: str, payloads: pa.Array, expression: int
) -> np.ndarray:
    """Return the probability of an expression by each payload (n,), NaN where there is none."""
    found = recogniser.estimate(pa.record_batch({column: payloads}))
    out = np.full(len(payloads), np.nan)
    out[found.rows] = found.scores[:, expression]
    return out


def attribution(
    places: Sequence[Place], whole: float, without: np.ndarray, unit: Unit, removed: str
) -> Attribution | None:
    """Return the attribution of these parts, None where the whole cannot be judged.

    ``without`` (n,) are the probabilities without each part; one that is NaN has no part.
    """
    if not np.isfinite(whole):
        return None
    parts = (
        Part(place.name, float(whole - left), place.start, place.end)
        for place, left in zip(places, without, strict=True)
        if np.isfinite(left)
    )
    return Attribution(float(whole), tuple(parts), unit, removed)
