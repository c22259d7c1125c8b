"""What a reader can see of a text: blank-looking characters say nothing."""

import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import regex

UNSEEN: Final = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\u2800]+")
"""Characters that leave no mark: joiners, fillers, controls, the empty braille pattern."""
_SEEN: Final = re.compile(r"[^\W_]")
_ALIKE: Final = r"[\p{Cyrillic}\p{Greek}\p{Armenian}\p{Cherokee}\p{Coptic}]"
_MIXED: Final = regex.compile(rf"\p{{Latin}}{_ALIKE}|{_ALIKE}\p{{Latin}}")
_FORMULA: Final = "=+-@"
_LONGEST: Final = 128


def is_legible(text: str) -> bool:
    """Return whether a text has a letter or digit that can be seen."""
    return _SEEN.search(UNSEEN.sub("", text)) is not None


def explain_illegible(text: str) -> str | None:
    """Say why a reader cannot see all of a short text, or a sheet would act on it; None if fine."""
    if not is_legible(text):
        return "it has no letter or digit"
    if UNSEEN.search(text) or not text.isprintable():
        return "it has characters that cannot be seen"
    if text[0] in _FORMULA:
        return f"a spreadsheet reads what begins with `{text[0]}` as a formula"
    if len(text) > _LONGEST:
        return f"it has more than {_LONGEST} characters"
    if _MIXED.search(text):
        return "it mixes letters of several scripts that look alike"
    return None


def are_legible(column: pa.Array) -> pa.Array:
    """Return which strings are legible; a null is not."""
    coded = column.dictionary_encode()
    flags = pa.array(map(is_legible, coded.dictionary.to_pylist()), pa.bool_())
    return pc.fill_null(flags.take(coded.indices), False)
