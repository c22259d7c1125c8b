"""The safety filter: finds hazards in what a person or a model says, by signs, then by meaning."""

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from model_serving.reply.hazard import HAZARDS, Hazard, Side
from model_serving.reply.hazard_net import load_hazard_net
from schemas.strict import parse_yaml

_SIGNS: Final = Path(__file__).parent / "hazards"
_DROPPED: Final = re.compile(r"[\u200b-\u200f\u2060\ufeff'’`´]")
_IN_WORDS: Final = str.maketrans("013457@$", "oieastas")
_DISGUISED: Final = re.compile(r"(?<![\w@$])(?=[\w@$]*[a-z])(?=[\w@$]*[0-9@$])[a-z0-9@$]+")
_POLITE: Final = re.compile(
    r"\bI(?:'m| am|m|'d|'ll)? "
    r"(?:(?:so|very|really|truly|am|do|can|can't|cannot|could|would|totally|definitely|just|also|"
    r"only|sure) )*"
    r"(?:sorry|hope|bet|see|understand|imagine|think|guess|wonder|suppose|agree|hear you|take it|"
    r"suggest|glad|happy for you|proud of you|sure)\b",
    re.IGNORECASE,
)
_OF_ONESELF: Final = re.compile(
    r"\b(?:I|I'm|I've|I'd|I'll|Im|Ive|me|my|mine|myself|we|we're|we've|our|us)\b", re.IGNORECASE
)
_ASKED: Final = re.compile(
    r"\b(?:let me know|(?:tell|show) me|I (?:did not|didn't) expect (?:that|this))\b",
    re.IGNORECASE,
)


def find_hazards(texts: Sequence[str], side: Side) -> list[Hazard | None]:
    """Return what is hazardous in each text that the person, or a model, says; None for nothing.

    A text without a sign is judged by the learnt part.
    """
    found = [find_sign(text, side) for text in texts]
    unsigned = [place for place, hazard in enumerate(found) if hazard is None]
    learnt = load_hazard_net().find([texts[place] for place in unsigned], side)
    for place, hazard in zip(unsigned, learnt, strict=True):
        found[place] = hazard
    return found


def find_sign(text: str, side: Side) -> Hazard | None:
    """Return the hazard of which a text has a written sign; None for none.

    English and Chinese signs are looked for in any text, since people mix them.
    """
    plain = _normalise(text)
    joined = "".join(plain.split())
    forms = (plain, _DISGUISED.sub(lambda word: word[0].translate(_IN_WORDS), plain))
    for hazard in HAZARDS:
        signs = _signs(side)[hazard]
        if any(signs["en"].search(form) for form in forms) or signs["zh"].search(joined):
            return hazard
        if hazard == "human_claim" and side == "reply":
            return hazard if tells_of_oneself(_ASKED.sub(" ", text.replace("’", "'"))) else None
    return None


def tells_of_oneself(reply: str) -> bool:
    """Return whether an English reply tells of a life of its own, which a model has not.

    Set phrases such as "I'm sorry to hear that" tell nothing.
    """
    return _OF_ONESELF.search(_POLITE.sub(" ", reply)) is not None


def _normalise(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_DROPPED.sub("", folded).split())


@functools.cache
def _signs(side: Side) -> Mapping[Hazard, Mapping[str, re.Pattern[str]]]:
    """Return for each hazard one pattern in each language."""
    read = {
        path.stem: parse_yaml(path.read_text(encoding="utf-8")) for path in _SIGNS.glob("*.yaml")
    }
    return {
        hazard: {
            language: re.compile(
                "|".join(
                    f"(?:{line})"
                    for part in ("both", side)
                    for line in found[hazard].get(part, "").splitlines()
                )
                or r"(?!)"
            )
            for language, found in read.items()
        }
        for hazard in HAZARDS
    }
