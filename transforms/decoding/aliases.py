"""The one table of other spellings: region, purpose, scenario and age band are read by it, once."""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import yaml

from schemas.errors import AffectstreamError

_FILE: Final = Path(__file__).parents[2] / "schemas" / "policies" / "aliases.yaml"
_BETWEEN: Final = re.compile(r"[\s_\-‐-―]+")
_PART_OF_COUNTRY: Final = re.compile(r"([a-z]{2})-([a-z0-9]{1,3})")  # as in ISO 3166-2
_LONGEST: Final = 64  # characters; no longer name is known


def fold_spelling(name: str) -> str:
    """Return a short name without case, Unicode form, quotes and the kind of its separators."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return _BETWEEN.sub("-", folded.strip(" \t\r\n\"'`")).strip("-")


@cache
def aliases(dimension: str) -> Mapping[str, str]:
    """Return plain spelling → name of one CloudEvents attribute, the names themselves included."""
    table = yaml.safe_load(_FILE.read_text(encoding="utf-8"))[dimension]
    found: dict[str, str] = {}
    for name, spellings in table.items():
        for spelling in (name, *spellings):
            if found.setdefault(fold_spelling(spelling), name) != name:
                message = f"{_FILE.name}: {dimension} {spelling!r} stands for two names"
                raise AffectstreamError(message)
    return MappingProxyType(found)


def known_name(dimension: str, given: str) -> str | None:
    """Return the name that this spelling stands for, None where the table has none."""
    if len(given) > _LONGEST:
        return None
    spelling, table = fold_spelling(given), aliases(dimension)
    if dimension == "region" and spelling not in table and is_region_code(given):
        spelling = spelling[:2]
    return table.get(spelling)


def is_region_code(given: str) -> bool:
    """Return whether a name is a part of a country as ISO 3166-2 writes it, by country."""
    found = _PART_OF_COUNTRY.fullmatch(fold_spelling(given))
    return found is not None and found[2] in _parts().get(found[1], (found[2],))


@cache
def _parts() -> Mapping[str, frozenset[str]]:
    """Return country → its parts, for countries whose parts have laws of their own."""
    given = yaml.safe_load(_FILE.read_text(encoding="utf-8"))["parts"]
    return {country: frozenset(parts.split()) for country, parts in given.items()}


def canonical(dimension: str, column: pa.Array) -> pa.Array:
    """Return a string column with each value's name; what no row knows stays as it is."""
    coded = column.dictionary_encode()
    given = coded.dictionary.to_pylist()
    names = [known_name(dimension, value) or value for value in given]
    return column if names == given else pa.array(names, pa.string()).take(coded.indices)
