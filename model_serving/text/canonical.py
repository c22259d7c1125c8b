"""The canonical form of a text, which the scrubber and the recognisers both read.

What cannot be seen is taken out (``visible_text``), escapes become what they stand for
(``escapes``), letters in a style and look-alikes of another script become plain Latin ones
(``look_alikes``), and a platform's own emoji become shortcodes, without the number that identifies
them. Digits stay as they are written: a text in which nothing personal is found keeps them.
"""

import re
from typing import Final

import pyarrow as pa

from model_serving.text.escapes import MAYBE_ESCAPED, unescape
from model_serving.text.look_alikes import MAYBE_STYLED, in_one_script, plain_letters
from model_serving.text.visible_text import NOT_PLAIN, strip_invisible
from schemas.arrow import match_rows, replace_rows

_NOT_CANONICAL: Final = rf"{NOT_PLAIN}|{MAYBE_STYLED}|{MAYBE_ESCAPED}|<a?:[A-Za-z0-9_]"
"""Matches, in RE2, every text that may have another canonical form."""

_CUSTOM_EMOJI = re.compile(r"<a?:([A-Za-z0-9_]{1,32}):[0-9]{5,25}>")


def canonical(text: pa.Array) -> pa.Array:
    """Return a string column in canonical form; a row that is in it already keeps its bytes."""
    rows = match_rows(text, _NOT_CANONICAL)
    if not len(rows):
        return text
    plain = [_plain(value) for value in text.take(pa.array(rows)).to_pylist()]
    seen = strip_invisible(pa.array(plain, pa.string())).to_pylist()
    return replace_rows(text, rows, pa.array([in_one_script(value) for value in seen], pa.string()))


def _plain(text: str) -> str:
    return plain_letters(_CUSTOM_EMOJI.sub(r":\1:", unescape(text)))
