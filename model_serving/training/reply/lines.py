"""What the learnt part of the filter learns from: lines with brackets, written sets and corpora."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from model_serving.corpora.dialogues import read_smilechat
from model_serving.corpora.text import CORPORA
from model_serving.reply.hazard import Hazard, Side
from model_serving.reply.safety import find_sign
from schemas.strict import parse_yaml
from schemas.vocabularies import EXPRESSIONS

WRITTEN: Final = Path(__file__).with_name("written")
SETS: Final = ("first", "second")
_LANGUAGES: Final = ("en", "zh")
_BRACKETS: Final = re.compile(r"\[([^\]]*)\]")
_LOOSE: Final = re.compile(r"\s+(?=[,.?!，。])")
_READINGS: Final = 5
"""Readings of a line with brackets that are learnt: more are much alike."""
_OF_CORPORA: Final = {"GoEmotions": 1000, "CPED": 1000, "SmileChat": 400}
_LONGEST: Final = 120  # characters of a line of a corpus


@dataclass(frozen=True, slots=True)
class Line:
    """A text of one side; ``hazard`` is None for a benign one, ``source`` says where it stood."""

    text: str
    side: Side
    hazard: Hazard | None
    source: str


def read_set(path: Path) -> Iterator[Line]:
    """Yield the lines of a written set, ``NAME.LANGUAGE.yaml``; brackets stand for themselves."""
    found = parse_yaml(path.read_text(encoding="utf-8"))
    for hazard, sides in [*found["hostile"].items(), (None, found["benign"])]:
        for side, texts in sides.items():
            yield from (Line(text, side, hazard, path.stem) for text in texts)


def read_written(seed: int) -> list[Line]:
    """Return readings of the lines with brackets, and the sets that may be learnt from."""
    rng = np.random.default_rng(seed)
    found: list[Line] = []
    for language in _LANGUAGES:
        whole = parse_yaml((WRITTEN / f"{language}.yaml").read_text(encoding="utf-8"))
        for name, sides in whole.items():
            hazard = None if name == "benign" else name
            for side, texts in sides.items():
                read = [reading for text in texts for reading in readings(text, rng)]
                found += [Line(text, side, hazard, "lines") for text in read]
        for name in SETS:
            found += read_set(WRITTEN / f"{name}.{language}.yaml")
    return found


def read_benign(data: Path, seed: int) -> list[Line]:
    """Return lines of corpora, none with a sign of a hazard: what people and replies mostly say."""
    rng = np.random.default_rng(seed)
    found: list[Line] = []
    for corpus, side, texts in read_corpora(data):
        known = sorted({text for text in texts if len(text) <= _LONGEST})
        picked = rng.permutation(len(known))[: _OF_CORPORA[corpus]]
        clean = (known[place] for place in picked if find_sign(known[place], side) is None)
        found += [Line(text, side, None, corpus) for text in clean]
    return found


def read_corpora(data: Path) -> Iterator[tuple[str, Side, list[str]]]:
    """Yield name, side and texts: comments of GoEmotions and lines of CPED, said to people.

    Comments that show anger or disgust are left out. SmileChat has both sides.
    """
    named = {corpus.name: corpus.splits["train"] for corpus in CORPORA}
    comments = named["GoEmotions"](data)
    if comments.shown is not None:
        heated = comments.shown[:, [EXPRESSIONS.index("anger"), EXPRESSIONS.index("disgust")]]
        comments = comments.take(np.flatnonzero(~heated.any(axis=1)))
    yield "GoEmotions", "person", comments.texts
    yield "CPED", "person", named["CPED"](data).texts
    turns = [turn for dialogue in read_smilechat(data) for turn in dialogue.turns]
    yield "SmileChat", "person", [turn.text for turn in turns if turn.by_person]
    yield "SmileChat", "reply", [turn.text for turn in turns if not turn.by_person]


def readings(line: str, rng: np.random.Generator) -> list[str]:
    """Return some of what a line with brackets can be read as, all different."""
    parts = _BRACKETS.split(line)  # text and choices by turns
    found: dict[str, None] = {}
    for _ in range(3 * _READINGS):
        read = [
            str(rng.choice(part.split("|"))) if at % 2 else part for at, part in enumerate(parts)
        ]
        found[_LOOSE.sub("", " ".join("".join(read).split()))] = None
    return list(found)[:_READINGS]
