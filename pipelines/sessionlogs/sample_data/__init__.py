"""The built-in sample's own material: written utterances, synthetic voice clips, rendered faces."""

import csv
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import yaml
from PIL import Image

from schemas.vocabularies import EXPRESSIONS

DATA: Final = Path(__file__).parent
VOICE: Final = "voice"
MANIFEST: Final = "manifest.csv"
FACE: Final = "face"
SYNTHESISED: Final = "synthesised speech"
"""What the clips are. The voice models learnt from actors: they tell 24 % of the clips right, 14 %
would be luck, so the sample's truth calls them stand-ins."""
HEADS, VARIANTS, SIDE = 13, 6, 80
"""Heads, pictures of a head and expression, and pixels of their sides."""

_PERSONAL = re.compile(r"\d{3}|@|://")


class Utterance(NamedTuple):
    """One written line, what it shows and where people say such a thing."""

    lang: str
    scenario: str
    expression: str
    text: str

    @property
    def content_type(self) -> str:
        """Media type of the event that carries it."""
        return "application/json"

    @property
    def personal(self) -> bool:
        """Holds an invented number, address, link or handle for the scrubber to find."""
        return _PERSONAL.search(self.text) is not None


class Clip(NamedTuple):
    """One voice clip: the file's bytes and what it shows."""

    name: str
    lang: str
    expression: str
    voice: str
    seconds: float
    media: bytes

    @property
    def content_type(self) -> str:
        """Media type of the event that carries it."""
        return f"audio/{self.name.rsplit('.')[-1]}"


@cache
def utterances() -> tuple[Utterance, ...]:
    """Return every written utterance in the order of the file."""
    tree = yaml.safe_load((DATA / "utterances.yaml").read_text(encoding="utf-8"))
    return tuple(
        Utterance(lang, scenario, expression, text)
        for lang, scenarios in tree.items()
        for scenario, expressions in scenarios.items()
        for expression, texts in expressions.items()
        for text in texts
    )


@cache
def clips() -> tuple[Clip, ...]:
    """Return every voice clip in the order of the manifest."""
    folder = DATA / VOICE
    with (folder / MANIFEST).open(encoding="utf-8", newline="") as file:
        return tuple(
            Clip(
                row["file"],
                row["lang"],
                row["expression"],
                row["voice"],
                float(row["seconds"]),
                (folder / row["file"]).read_bytes(),
            )
            for row in csv.DictReader(file)
        )


@cache
def head(number: int) -> np.ndarray:
    """Return the pictures (7, 6, 80, 80, 3) of a head: by expression, then display."""
    with Image.open(DATA / FACE / f"head-{number:02}.webp") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    cells = pixels.reshape(VARIANTS, SIDE, len(EXPRESSIONS), SIDE, 3)
    return cells.transpose(2, 0, 1, 3, 4)
