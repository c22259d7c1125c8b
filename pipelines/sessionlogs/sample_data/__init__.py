"""The built-in sample's own material: written utterances and synthetic voice clips."""

import csv
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import yaml

DATA: Final = Path(__file__).parent
VOICE: Final = "voice"
MANIFEST: Final = "manifest.csv"

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
