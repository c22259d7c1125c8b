"""A text as a recogniser reads it: the writer's own words, and signs as what they mean.

Quotations are somebody else's words. Mentions, placeholders and markup are nobody's: no training
row has a placeholder, and two of them made an angry line neutral.
"""

import re
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_serving.text.canonical import canonical
from model_serving.text.emoticons import MAYBE_FACE, name_faces
from model_serving.text.face_names import MAYBE_NAMED, show_named_faces
from model_serving.text.markup import MAYBE_MARKUP, drop_marks, drop_markup
from model_serving.text.media_labels import MAYBE_LABEL, drop_labels
from model_serving.text.number_words import MAYBE_NUMBER_WORD, say_number_words
from model_serving.text.quotations import MAYBE_QUOTED, own_words
from model_serving.text.spelling import SEVERAL_WORDS
from schemas.arrow import match_rows, replace_rows

_NUMERAL = (
    r"[0-9〇零一二三四五六七八九\x{B2}\x{B3}\x{B9}\x{660}-\x{669}\x{6F0}-\x{6F9}\x{966}-\x{96F}"
    r"\x{2070}-\x{2079}\x{2080}-\x{2089}\x{2460}-\x{2468}\x{FF10}-\x{FF19}\x{1D7CE}-\x{1D7FF}]"
)
_NUMBER_WORD = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine)"
_NUMBER = (
    rf"{_NUMERAL}(?:[ .,:/_\-]{{0,2}}{_NUMERAL}){{3,}}"
    rf"|(?i:\b{_NUMBER_WORD}(?:[ ,\-]{{1,2}}{_NUMBER_WORD}){{3,}}\b)"
)
"""Four digits and more, in any script or spelt out: a code, a year, the end of a phone number.

Fewer are left: 666, 233 and 520 are what Chinese texts say them for."""
_ANY_NUMBER: Final = "0000"
"""What a recogniser reads for each: no estimate tells one of 10,000 door codes from another."""

_HASHTAG = re.compile(r"[#＃]\w{2,}")
_NEXT_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
_SIGN = re.compile(rf"[#＃](?!{SEVERAL_WORDS})")
_SPACES: Final = r"[\s\x{85}\x{A0}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+"


def text_for_model(text: pa.Array) -> pa.Array:
    """Return a string column as a recogniser should read it; numbers of four digits are alike.

    A hashtag in letters of one case keeps its sign, by which ``respell`` can tell its words.
    """
    before = text = canonical(text)
    for maybe, read in _STEPS:
        if len(rows := match_rows(text, maybe)):
            found = [read(value) for value in text.take(pa.array(rows)).to_pylist()]
            text = replace_rows(text, rows, pa.array(found, pa.string()))
    if text is not before:
        changed = np.flatnonzero(pc.not_equal(text, before).fill_null(False).to_numpy(False))
        plain = pc.replace_substring_regex(text.take(pa.array(changed)), _SPACES, " ")
        text = replace_rows(text, changed, pc.utf8_trim_whitespace(plain))
    if len(rows := match_rows(text, _NUMBER)):
        same = pc.replace_substring_regex(text.take(pa.array(rows)), _NUMBER, _ANY_NUMBER)
        text = replace_rows(text, rows, same)
    return text


def _read_hashtags(text: str) -> str:
    return _SIGN.sub(" ", _HASHTAG.sub(_of_hashtag, text))


def _of_hashtag(found: re.Match[str]) -> str:
    words = found[0][1:]
    whole = re.fullmatch(SEVERAL_WORDS, words)
    return f" #{words}" if whole else f" {_NEXT_WORD.sub(' ', words)}"


_STEPS: Final = (
    (MAYBE_QUOTED, own_words),
    (MAYBE_LABEL, drop_labels),
    (MAYBE_MARKUP, drop_markup),
    (MAYBE_NAMED, show_named_faces),
    (MAYBE_FACE, name_faces),
    (r"[#＃_]", _read_hashtags),
    (r"[*~|`]", drop_marks),
    (MAYBE_NUMBER_WORD, say_number_words),
)
"""What a text is read through, in this order, where the pattern matches; whose words they are
comes first."""
