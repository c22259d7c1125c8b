"""Protected classes: names that read as work, education or intimacy, however they are written."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import regex

from schemas.strict import Frozen, parse_yaml
from transforms.decoding.aliases import fold_spelling
from transforms.gating.legible import UNSEEN

_FILE: Final = Path(__file__).parents[2] / "schemas" / "policies" / "classes.yaml"
_LONGEST: Final = 256
"""Characters of a name that are read: twice what a scene's id may have."""
_HUMP: Final = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})")
_BETWEEN: Final = re.compile(r"[\W\d_]+")
_SPELT_OUT: Final = re.compile(r"(?<!\S)(?:\S ){2,}\S(?!\S)")
"""Three or more single letters in a row, as in ``o.f.f.i.c.e``."""
_LOOKALIKES: Final = str.maketrans("аеорсухіјѕкмтнԝοαεικνρτυχıłø", "aeopcyxijskmthwoaeikvptuxilo")
"""Small Cyrillic, Greek and other letters → the Latin ones that they look like."""
_DIGITS: Final = tuple(str.maketrans("013457@$", f"o{one}eastas") for one in "il")
"""Digits and signs → the letters for which they are written; 1 is read both ways."""
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


class ProtectedClass(Frozen):
    """A class of scenes that the law protects, and the words by which a name reads as it.

    What reads as it is judged as ``scenario``, besides as what it claims to be; ``purpose`` is the
    prohibited purpose for which an unlisted one that reads as the class stands, if there is one.
    ``words`` are whole words of a name, ``ends`` are how one may end, and ``parts`` may stand
    anywhere in it but in one of ``others``.
    """

    scenario: str
    purpose: str | None = None
    words: tuple[str, ...]
    ends: tuple[str, ...] = ()
    parts: tuple[str, ...]
    others: tuple[str, ...] = ()


class _Spellings(NamedTuple):
    """The words of a class in plain spelling; ``phrases`` are words with spaces in them."""

    words: frozenset[str]
    phrases: tuple[str, ...]
    ends: tuple[str, ...]
    parts: tuple[str, ...]
    others: tuple[str, ...]

    def match(self, reading: str) -> bool:
        """Return whether a reading of a name, words with one space between two, has one of them."""
        words = reading.split()
        if not self.words.isdisjoint(words) or any(word.endswith(self.ends) for word in words):
            return True
        spaced = f" {reading} "
        if any(phrase in spaced for phrase in self.phrases):
            return True
        whole = "".join(words)
        for other in self.others:
            whole = whole.replace(other, " ")
        return any(part in whole for part in self.parts)


@cache
def protected_classes() -> Mapping[str, ProtectedClass]:
    """Return the classes of classes.yaml by name."""
    table = parse_yaml(_FILE.read_text(encoding="utf-8"))
    return {name: ProtectedClass.model_validate(given) for name, given in table.items()}


@lru_cache(maxsize=20_000)
def classes_of(name: str | None) -> frozenset[str]:
    """Return the names of the classes as which the name of a scenario, purpose or scene reads."""
    if not name:
        return frozenset()
    readings = set(_readings(name[:_LONGEST]))
    return frozenset(
        label for label, spellings in _spellings().items() if any(map(spellings.match, readings))
    )


def _readings(name: str) -> Iterator[str]:
    """Yield the ways in which a name may be meant, each as words with one space between two."""
    seen = UNSEEN.sub("", re.sub(r"\s", " ", unicodedata.normalize("NFKC", name)))
    text, joined = _HUMP.sub(" ", seen).casefold(), seen.casefold()
    meant = text.translate(_LOOKALIKES)
    spellings = (text, joined, meant, *(meant.translate(digits) for digits in _DIGITS))
    for spelling in dict.fromkeys(spellings):
        words = _words(spelling)
        yield words
        yield _SPELT_OUT.sub(lambda letters: letters[0].replace(" ", ""), words)


@cache
def _spellings() -> Mapping[str, _Spellings]:
    return {
        label: _Spellings(
            words=frozenset(_plain_spellings(each.words)),
            phrases=tuple(f" {words} " for words in _plain_spellings(each.words) if " " in words),
            ends=tuple(_plain_spellings(each.ends)),
            parts=tuple(part.replace(" ", "") for part in _plain_spellings(each.parts)),
            others=tuple(_plain_spellings(each.others)),
        )
        for label, each in protected_classes().items()
    }


def _plain_spellings(given: Iterable[str]) -> list[str]:
    """Return words in plain spelling, those with umlauts also as ``ae``, ``oe`` and ``ue``."""
    return list(dict.fromkeys(_words(w) for word in given for w in (word, _spread_umlauts(word))))


def _spread_umlauts(word: str) -> str:
    return unicodedata.normalize("NFC", word).casefold().translate(_UMLAUTS)


def _words(name: str) -> str:
    """Return a name's words in plain spelling, without accents, with one space between two."""
    folded = fold_spelling(name)
    if not folded.isascii():
        letters = unicodedata.normalize("NFD", folded)
        bare = "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")
        folded = unicodedata.normalize("NFC", bare)
    return _BETWEEN.sub(" ", folded).strip()
