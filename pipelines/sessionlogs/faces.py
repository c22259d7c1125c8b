"""Pictures of the sample's rendered heads, as a subject's camera sends them."""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from pipelines.sessionlogs.sample_data import head

_FORMATS: Final = {"jpeg": {"quality": 88}, "png": {}, "webp": {"quality": 88}}


@dataclass(frozen=True, slots=True)
class Camera:
    """What stays the same in a subject's pictures: pixels of a side, colour or grey, file type."""

    size: int
    colour: bool
    container: str

    @property
    def content_type(self) -> str:
        """Media type of the events that carry its pictures."""
        return f"image/{self.container}"


def camera(rng: np.random.Generator) -> Camera:
    """Choose one camera."""
    size = int(rng.choice([48, 56, 64, 80]))
    return Camera(size, bool(rng.random() < 0.6), str(rng.choice(list(_FORMATS))))


def photograph(number: int, expression: int, display: int, by: Camera) -> bytes:
    """Return the picture file of a head that shows this expression, by its number in EXPRESSIONS.

    ``display`` says which of its ``VARIANTS`` pictures.
    """
    picture = Image.fromarray(head(number)[expression, display])
    picture = picture.resize((by.size, by.size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown = picture if by.colour else picture.convert("L")
    shown.save(buffer, by.container.upper(), **_FORMATS[by.container])
    return buffer.getvalue()
