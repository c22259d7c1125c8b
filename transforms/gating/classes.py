"""Protected classes: names that read as work, education or intimacy, however they are written."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from schemas.strict import Frozen, parse_yaml
from transforms.decoding.aliases import fold_spelling

_FILE: Final = Path(__file__).parents[2] / "schemas" / "policies" / "classes.yaml"
_LONGEST: Final = 256
"""Characters of a name that are read: twice what a scene's id may have."""
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BETWEEN: Final = re.compile(r"[\W\d_]+")


class ProtectedClass(Frozen):
    """A class of scenes that the law protects, and the words by which a name reads as it.

    What reads as it is judged as ``scenario``, besides as what it claims to be; ``purpose`` is the
    prohibited purpose for which an unlisted one that reads as the class stands, if there is one.
    ``words`` are whole words of a name, ``parts`` may stand anywhere in it.
    """

    scenario: str
    purpose: str | None = None
    words: tuple[str, ...]
    parts: tuple[str, ...]


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
    words = _words(_HUMP.sub(" ", name[:_LONGEST]))
    whole = words.replace(" ", "")
    return frozenset(
        label
        for label, (in_words, in_whole) in _patterns().items()
        if in_words.search(f" {words} ") or in_whole.search(whole)
    )


@cache
def _patterns() -> Mapping[str, tuple[re.Pattern[str], re.Pattern[str]]]:
    """Return for each class what finds its words, each between spaces, and its parts."""
    return {
        label: (
            re.compile(f" (?:{'|'.join(re.escape(_words(word)) for word in each.words)}) "),
            re.compile("|".join(re.escape(_words(part)) for part in each.parts)),
        )
        for label, each in protected_classes().items()
    }


def _words(name: str) -> str:
    """Return a name's words in plain spelling, with one space between two."""
    return _BETWEEN.sub(" ", fold_spelling(name)).strip()
