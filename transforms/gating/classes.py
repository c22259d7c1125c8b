"""Classes of names: what reads as work, education, intimacy or high stakes, however written."""

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

_POLICIES: Final = Path(__file__).parents[2] / "schemas" / "policies"
_WORKPLACE: Final = "workplace"
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


class ClassOfNames(Frozen):
    """Words by which a name reads as a class.

    ``words`` are whole words of a name, ``ends`` are how one may end, and ``parts`` may stand
    anywhere in it but in one of ``others``.
    """

    words: tuple[str, ...]
    ends: tuple[str, ...] = ()
    parts: tuple[str, ...]
    others: tuple[str, ...] = ()


class ProtectedClass(ClassOfNames):
    """A class of scenes that the law protects.

    What reads as it is judged as ``scenario``, besides as what it claims to be; ``purpose`` is the
    prohibited purpose for which an unlisted one that reads as the class stands, if there is one.
    """

    scenario: str
    purpose: str | None = None


class WeightyClass(ClassOfNames):
    """A class of scenarios with high stakes, and as which of the gate's it may be judged."""

    judged_as: frozenset[str]


class Stakes(Frozen):
    """Where the stakes are high whatever a policy says: scenarios by name, classes of names."""

    scenarios: frozenset[str]
    classes: Mapping[str, WeightyClass]


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
    table = parse_yaml((_POLICIES / "classes.yaml").read_text(encoding="utf-8"))
    return {name: ProtectedClass.model_validate(given) for name, given in table.items()}


@cache
def high_stakes() -> Stakes:
    """Return what stakes.yaml holds."""
    text = (_POLICIES / "stakes.yaml").read_text(encoding="utf-8")
    return Stakes.model_validate(parse_yaml(text))


@lru_cache(maxsize=20_000)
def classes_of(name: str | None) -> frozenset[str]:
    """Return the names of the classes as which the name of a scenario, purpose or scene reads."""
    return _matching(name, _spellings()) if name else frozenset()


def weighty_classes_of(scenario: str) -> frozenset[str]:
    """Return the classes with high stakes as which the name of a scenario reads."""
    return _matching(scenario, _weighty_spellings()) | (classes_of(scenario) & {_WORKPLACE})


def explain_judged_as(name: str, other: str) -> str | None:
    """Say why a scenario of this name may not be judged as the other, None where it may."""
    allowed = {
        label: frozenset({protected_classes()[label].scenario}) for label in classes_of(name)
    }
    weighty = high_stakes().classes
    allowed |= {label: weighty[label].judged_as for label in _matching(name, _weighty_spellings())}
    for label in sorted(allowed):
        if other not in allowed[label]:
            cure = f"judge it as {' or '.join(sorted(allowed[label]))}"
            if not allowed[label]:
                cure = "no scenario of the gate stands for that, so leave it out"
            return (
                f"judged_as gives {name!r} the rules of {other}, but its name reads as "
                f"{label}: {cure}, or give the scenario another name"
            )
    return None


def _matching(name: str, spellings: Mapping[str, "_Spellings"]) -> frozenset[str]:
    meant = set(readings(name[:_LONGEST]))
    return frozenset(label for label, each in spellings.items() if any(map(each.match, meant)))


def readings(name: str) -> Iterator[str]:
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
    return {label: _spelt(each) for label, each in protected_classes().items()}


@cache
def _weighty_spellings() -> Mapping[str, _Spellings]:
    return {label: _spelt(each) for label, each in high_stakes().classes.items()}


def _spelt(each: ClassOfNames) -> _Spellings:
    return _Spellings(
        words=frozenset(_plain_spellings(each.words)),
        phrases=tuple(f" {words} " for words in _plain_spellings(each.words) if " " in words),
        ends=tuple(_plain_spellings(each.ends)),
        parts=tuple(part.replace(" ", "") for part in _plain_spellings(each.parts)),
        others=tuple(_plain_spellings(each.others)),
    )


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


def read_as_latin(name: str) -> str:
    """Return a name with Latin letters in the place of those that look like them."""
    return unicodedata.normalize("NFKC", name).casefold().translate(_LOOKALIKES)
