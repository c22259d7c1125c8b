"""What a reader can see of a text: blank-looking characters say nothing."""

import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import regex

UNSEEN: Final = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\u2800]+")
"""Characters that leave no mark: joiners, fillers, controls, the empty braille pattern."""
_SEEN: Final = re.compile(r"[^\W_]")


def is_legible(text: str) -> bool:
    """Return whether a text has a letter or digit that can be seen."""
    return _SEEN.search(UNSEEN.sub("", text)) is not None


def are_legible(column: pa.Array) -> pa.Array:
    """Return which strings are legible; a null is not."""
    coded = column.dictionary_encode()
    flags = pa.array(map(is_legible, coded.dictionary.to_pylist()), pa.bool_())
    return pc.fill_null(flags.take(coded.indices), False)
