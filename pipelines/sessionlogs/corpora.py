"""Held-out parts of the labelled corpora as material for session logs.

Texts are MELD's test split and the fifth of CPED that no training sees, clips those of RAVDESS's
test actors and EMO-DB's test speakers, faces FER+'s test split. Labels map to ekman7 by
``schemas.vocabularies``; a text whose label has no place there keeps none.
"""

import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from model_serving.corpora.held_out import held_out_cped
from model_serving.corpora.speakers import emodb_split, ravdess_split
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS, to_ekman

MELD: Final = "text/meld/test_sent_emo.csv"
CPED: Final = "text/cped/valid_split.csv"
CLIPS: Final = "audio/manifest.csv"
FACES: Final = "face/ferplus.npz"

_CP1252 = {0x85: "…", 0x91: "‘", 0x92: "’", 0x93: "“", 0x94: "”", 0x96: "–", 0x97: "—"}
_SECONDS_A_CHARACTER = 0.25  # Mandarin at about four characters a second
_LONGEST_GAP_MS = 6_000
_LONGEST_TURN_MS = 15_000


@dataclass(frozen=True, slots=True)
class Line:
    """One turn of a dialogue; ``gap_ms`` is the silence before it, ``speaker`` counts from 0."""

    speaker: int
    text: str
    expression: str | None
    gap_ms: int
    length_ms: int


@dataclass(frozen=True, slots=True)
class Speaker:
    """One actor of a voice corpus with the clips of each expression."""

    name: str
    corpus: str
    lang: str
    clips: dict[str, list[Path]]


Dialogue = tuple[Line, ...]


def require(corpora: Path) -> None:
    """Check that the folder holds every file that a log needs.

    Raises:
        AffectstreamError: a file is missing; the sentence names it.
    """
    for name in (MELD, CPED, CLIPS, FACES):
        if not (corpora / name).is_file():
            message = (
                f"{corpora} has no {name}: name a folder with the corpora MELD, CPED, RAVDESS, "
                "EMO-DB and FER+ in it, or leave --corpora out for the built-in sample"
            )
            raise AffectstreamError(message)


def meld_dialogues(corpora: Path) -> list[Dialogue]:
    """Read MELD's test dialogues with their speakers, turns and times."""
    table = pd.read_csv(corpora / MELD)
    times = ["StartTime", "EndTime"]
    table[times] = table[times].apply(
        lambda t: pd.to_timedelta(t.str.replace(",", "."), errors="coerce") // pd.Timedelta("1ms")
    )
    return [_meld_dialogue(rows) for _, rows in table.groupby("Dialogue_ID", sort=True)]


def _meld_dialogue(rows: pd.DataFrame) -> Dialogue:
    rows = rows.sort_values("Utterance_ID")
    speakers = pd.factorize(rows["Speaker"])[0]
    length = (rows["EndTime"] - rows["StartTime"]).clip(600, _LONGEST_TURN_MS).fillna(2_000)
    gap = (rows["StartTime"] - rows["EndTime"].shift()).clip(200, _LONGEST_GAP_MS).fillna(0)
    texts = rows["Utterance"].map(clean)
    labels = rows["Emotion"].map(to_ekman)
    columns = (speakers.tolist(), texts, labels, gap.astype(int), length.astype(int))
    return tuple(Line(*row) for row in zip(*columns, strict=True))


def cped_dialogues(corpora: Path, rng: np.random.Generator) -> list[Dialogue]:
    """Read CPED's held-out dialogues; times are made from the length of each utterance."""
    table = pd.read_csv(corpora / CPED, encoding="utf-8-sig")
    held = table[table["Dialogue_ID"].map(held_out_cped)]
    dialogues = []
    for _, rows in held.groupby("Dialogue_ID", sort=True):
        ordered = rows.sort_values("Utterance_ID")
        speakers = pd.factorize(ordered["Speaker"])[0]
        length = 400 + 1000 * _SECONDS_A_CHARACTER * ordered["Utterance"].str.len()
        gaps = rng.integers(200, 1_500, len(ordered))
        labels = [to_ekman(label) for label in ordered["Emotion"]]
        texts = ordered["Utterance"].map(clean)
        columns = (speakers.tolist(), texts, labels, gaps.tolist(), length.astype(int))
        dialogues.append(tuple(Line(*row) for row in zip(*columns, strict=True)))
    return dialogues


def clean(text: str) -> str:
    """Return a text in which Windows-1252 bytes that were read as Latin-1 are decoded properly."""
    return " ".join(text.translate(_CP1252).split())


def held_out_speakers(corpora: Path) -> dict[str, list[Speaker]]:
    """Return the test speakers of RAVDESS under ``en`` and those of EMO-DB under ``de``."""
    table = pd.read_csv(corpora / CLIPS, dtype=str)
    split = {"ravdess": ravdess_split, "emodb": emodb_split}
    speakers: dict[str, list[Speaker]] = defaultdict(list)
    for key, rows in table.groupby(["dataset", "speaker"], sort=True):
        corpus, name = map(str, key)
        if corpus not in split or split[corpus](name) != "test":
            continue
        clips: dict[str, list[Path]] = defaultdict(list)
        for path, label in zip(rows["path"], rows["emotion"], strict=True):
            if (expression := to_ekman(label)) is not None:
                clips[expression].append(corpora / "audio" / path)
        lang = rows["lang"].iloc[0]
        speakers[lang].append(Speaker(name, corpus, lang, dict(clips)))
    return dict(speakers)


class FaceDeck:
    """FER+ test pictures, dealt by the expression that has more than half of the ten votes."""

    def __init__(self, corpora: Path) -> None:
        with np.load(corpora / FACES) as arrays:
            pictures, votes = arrays["test_x"], arrays["test_votes"]
            labels = [to_ekman(str(name)) for name in arrays["columns"]]
        self._pictures = pictures
        self._files: dict[int, bytes] = {}
        self._of = []
        for name in EXPRESSIONS:
            voted = votes[:, [label == name for label in labels]].sum(axis=1)
            self._of.append(np.flatnonzero(voted * 2 > votes.sum(axis=1)))

    def deal(self, expression: int, rng: np.random.Generator) -> tuple[bytes, str]:
        """Return a JPEG or PNG file that shows this expression, and its content type."""
        place = int(rng.choice(self._of[expression]))
        container = "jpeg" if place % 2 else "png"
        if place not in self._files:
            buffer = io.BytesIO()
            Image.fromarray(self._pictures[place]).save(buffer, container.upper(), quality=92)
            self._files[place] = buffer.getvalue()
        return self._files[place], f"image/{container}"


def deal_dialogues(dialogues: list[Dialogue], rng: np.random.Generator) -> Iterator[Dialogue]:
    """Deal dialogues without end: each once in a random order, then again in another."""
    while True:
        for place in rng.permutation(len(dialogues)):
            yield dialogues[place]
