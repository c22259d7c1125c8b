"""Readers of the dialogues that replies are learnt from: EmpatheticDialogues and SmileChat."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from model_serving.reply.prompt import Turn

SHOWN_IN = MappingProxyType(
    {
        "anger": ("angry", "annoyed", "furious"),
        "disgust": ("disgusted",),
        "fear": ("afraid", "anxious", "apprehensive", "terrified"),
        "joy": (
            "anticipating", "confident", "content", "excited", "grateful", "hopeful",
            "impressed", "joyful", "proud",
        ),
        "sadness": (
            "ashamed", "devastated", "disappointed", "embarrassed", "guilty", "jealous",
            "lonely", "nostalgic", "sad", "sentimental",
        ),
        "surprise": ("surprised",),
        "neutral": ("caring", "faithful", "prepared", "trusting"),
    }
)  # fmt: skip
"""Expressions, and the situations of EmpatheticDialogues in which people mostly show them."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns that alternate, the person's first. ``group`` names who talked, where that is known."""

    expression: str
    group: str
    turns: tuple[Turn, ...]


def read_empathetic(data: Path) -> list[Dialogue]:
    """Return the dialogues of EmpatheticDialogues, in the order of its files.

    ``group`` is the task that two crowd workers did together: its dialogues stay on one side of
    a split.
    """
    folder = data / "reply" / "empatheticdialogues"
    return [
        dialogue
        for expression, situations in SHOWN_IN.items()
        for situation in situations
        for dialogue in _read_situation(folder / f"{situation}.csv", expression)
    ]


def read_smilechat(data: Path) -> list[Dialogue]:
    """Return the dialogues of SmileChat; what their people show is not labelled."""
    with (data / "reply" / "smilechat_4000.jsonl").open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [
        Dialogue(
            "neutral",
            str(row["id"]),
            _merge(Turn(text.strip(), role == "client") for role, text in row["turns"]),
        )
        for row in found
    ]


def _read_situation(path: Path, expression: str) -> Iterator[Dialogue]:
    said: dict[str, list[Turn]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["Type"] == "utterance" and row["Text"].strip():
                turn = Turn(" ".join(row["Text"].split()), row["Actor"] == "speaker")
                said.setdefault(row["Dialog_ID"], []).append(turn)
    for name, turns in said.items():
        yield Dialogue(expression, name.partition("_")[0], _merge(iter(turns)))


def _merge(turns: Iterator[Turn]) -> tuple[Turn, ...]:
    """Join what one side said in a row, and leave out what stands before the person's first."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].by_person == turn.by_person:
            merged[-1] = Turn(f"{merged[-1].text} {turn.text}", turn.by_person)
        elif merged or turn.by_person:
            merged.append(turn)
    return tuple(merged)
