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
_PART_OF_COUNTRY: Final = re.compile(r"[a-z]{2}-[a-z0-9]{1,3}")  # as in ISO 3166-2
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
    if dimension == "region" and spelling not in table and _PART_OF_COUNTRY.fullmatch(spelling):
        spelling = spelling[:2]
    return table.get(spelling)


def canonical(dimension: str, column: pa.Array) -> pa.Array:
    """Return a string column with each value's name; what no row knows stays as it is."""
    coded = column.dictionary_encode()
    given = coded.dictionary.to_pylist()
    names = [known_name(dimension, value) or value for value in given]
    return column if names == given else pa.array(names, pa.string()).take(coded.indices)
