"""A text as a recogniser reads it: the writer's own words, and signs as what they mean.

Quotations are somebody else's words. Mentions, placeholders and markup are nobody's: no training
row has a placeholder, and two of them made an angry line neutral.
"""

import re
from collections.abc import Collection
from itertools import product
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from model_serving.text.canonical import canonical
from model_serving.text.emoticons import MAYBE_FACE, name_faces
from model_serving.text.visible_text import PLACEHOLDERS
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

_NAMED = "|".join(PLACEHOLDERS)
_UNUSUAL: Final = (
    rf"[#＃<*~`|_]|(?m:^[ \t]*[>＞「])|\[/?[A-Za-z]|(?m:^-{{2,}}|wrote:|写道[:：])|{MAYBE_FACE}"
)
"""Matches, in RE2, every text that may not be read as it is."""

_QUOTED_BLOCK = re.compile(
    r"<(mx-reply|blockquote)\b[^<>]*>.*?</\1>|\[quote[^\[\]]{0,80}\].*?\[/quote\]",
    re.DOTALL | re.IGNORECASE,
)
_QUOTED_LINE = re.compile(
    r"^[ \t]*[>＞](?![:;=][\-']?[()\[\]|/@3cC<]|[_.\-wox]{0,2}[<＜]).*$", re.MULTILINE
)
_QUOTED_ABOVE = re.compile(r"\A「[^」]*」\s*\n(?:[ \t]*[\-–—]){4,}[ \t]*\n")
_QUOTED_BELOW = re.compile(
    r"^(?:On .{4,120} wrote:|.{2,60}写道[:：]"
    r"|-{2,} ?(?:Original Message|Forwarded message|原始邮件|转发的邮件) ?-{2,})[ \t]*$.*",
    re.MULTILINE | re.DOTALL,
)
_REPLY_TO = re.compile(
    r"^\s*(?:RT|回复|回覆|Replying to|Re)[ \t]*(?:<handle>|@[\w.\-]{1,40})[ \t]*[:：]?"
)
_MARKUP = re.compile(
    rf"<(?:{_NAMED})>"
    r"|<[@#!][^<>\s]{1,80}>|<t:[0-9]{1,12}(?::[tTdDfFR])?>"
    r"|\[(?:CQ|mirai):(?!face)[^\[\]]{0,400}\]"
    r"|</?(?:p|div|br|span|b|i|u|s|em|strong|del|at|a|img|font|code|pre|li|ul|ol)(?:\s[^<>]{0,400})?/?>"
    r"|\[/?(?:b|i|u|s|url|img|color|size|spoiler|code)(?:=[^\[\]]{0,200})?\]"
)
_MARKS = re.compile(r"[#＃]|(?<![\w*])\*+|\*+(?![\w*])|~~|\|\||`+")  # the star of f*ck is a letter
_HASHTAG = re.compile(r"[#＃]\w{2,}")
_NEXT_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
_REPEATED_LETTER = re.compile(r"([A-Za-z])\1{2,}")
_DRAWN_OUT_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]*?([A-Za-z])\1{2}[A-Za-z]*")
_MOST_RUNS = 4
_SPACED_OUT = re.compile(r"(?<![A-Za-z])(?:[A-Za-z][ .\-_]){3,40}[A-Za-z](?![A-Za-z])")
_MASKED_WORD = re.compile(r"(?<![\w*])[A-Za-z]+[*#!]{1,4}[A-Za-z]+(?![\w*])")
_MASKED: Final = [
    "fuck", "fucks", "fucked", "fucking", "fucker", "shit", "shitty", "bullshit", "bitch",
    "bitches", "asshole", "bastard", "dick", "cunt", "damn", "piss", "pissed", "hell", "kill",
    "suck", "sucks", "hate",
]  # fmt: skip
_ALONE = frozenset("aiu")  # letters that are words by themselves
_LEET_WORD = re.compile(r"(?<![\w$])[a-z$][a-z]*[0134570$][a-z0134570$]*(?![\w$])", re.IGNORECASE)
_LEAST_WORD = 4  # letters: of shorter words too many are units and names, such as 3am and ps5
_LEET: Final = str.maketrans("013457$", "oieasts")
_SPACE = re.compile(r"\s+")


def text_for_model(text: pa.Array) -> pa.Array:
    """Return a string column as a recogniser should read it; numbers of four digits are alike."""
    text = canonical(text)
    if len(rows := match_rows(text, _UNUSUAL)):
        found = [_read(value) for value in text.take(pa.array(rows)).to_pylist()]
        text = replace_rows(text, rows, pa.array(found, pa.string()))
    if len(rows := match_rows(text, _NUMBER)):
        same = pc.replace_substring_regex(text.take(pa.array(rows)), _NUMBER, _ANY_NUMBER)
        text = replace_rows(text, rows, same)
    return text


def _read(text: str) -> str:
    own = _QUOTED_BELOW.sub("", _QUOTED_ABOVE.sub("", _QUOTED_BLOCK.sub(" ", text)))
    own = _QUOTED_LINE.sub("", own)
    own = _REPLY_TO.sub("", own if own.strip() else text)
    own = name_faces(_MARKUP.sub(" ", own))
    own = _MARKS.sub(" ", _HASHTAG.sub(lambda tag: _NEXT_WORD.sub(" ", tag[0]), own))
    return own if own == text else _SPACE.sub(" ", own).strip()


def respell(text: str, words: Collection[str]) -> str:
    """Return the text with words drawn out, spaced out and in digits as one of ``words``.

    ``haaate`` and ``h4te`` are rare pieces to a tokenizer. What resembles no word of four letters
    stays: ``noooo`` says more than ``no``, and the models learnt it.
    """
    if _LEET_WORD.search(text):
        text = _LEET_WORD.sub(lambda found: _without_digits(found[0], words), text)
    if _DRAWN_OUT_WORD.search(text):
        text = _DRAWN_OUT_WORD.sub(lambda found: _shortened(found[0], words), text)
    if _MASKED_WORD.search(text):
        text = _MASKED_WORD.sub(lambda found: _unmasked(found[0]), text)
    if _SPACED_OUT.search(text):
        text = _SPACED_OUT.sub(lambda found: _joined(found[0], words), text)
    return text


def _without_digits(word: str, words: Collection[str]) -> str:
    plain = word.lower().translate(_LEET)
    is_word = len(plain) >= _LEAST_WORD and plain in words and word.lower() not in words
    return plain if is_word else word


def _shortened(word: str, words: Collection[str]) -> str:
    """Return the known word with each letter that is repeated twice and more once or twice."""
    parts = _REPEATED_LETTER.split(word)  # between runs, and the letter of each run
    runs = len(parts) // 2
    for often in product((2, 1), repeat=runs) if runs <= _MOST_RUNS else ():
        letters = [parts[0]]
        for run, times in enumerate(often):
            letters += [parts[2 * run + 1] * times, parts[2 * run + 2]]
        found = "".join(letters)
        if len(found) >= _LEAST_WORD and found.lower() in words:
            return found
    return word


def _unmasked(word: str) -> str:
    """Return ``f*ck`` and ``sh!t`` in full; a sign stands for one letter or more."""
    pattern = re.compile(re.sub(r"[*#!]+", "[a-z]{1,4}", word.lower()))
    return next((found for found in _MASKED if pattern.fullmatch(found)), word)


def _joined(spaced: str, words: Collection[str]) -> str:
    """Return ``I h a t e y o u`` as the fewest words that it can be cut into, or as it is."""
    letters = re.sub("[^A-Za-z]", "", spaced)
    cuts: list[tuple[str, ...] | None] = [()]
    for end in range(1, len(letters) + 1):
        found = [
            (*before, letters[start:end])
            for start, before in enumerate(cuts)
            if before is not None and _is_word(letters[start:end].lower(), words)
        ]
        cuts.append(min(found, key=len) if found else None)
    whole = cuts[-1]
    is_text = whole is not None and max(map(len, whole)) >= _LEAST_WORD
    return " ".join(whole) if whole is not None and is_text else spaced


def _is_word(part: str, words: Collection[str]) -> bool:
    return part in words if len(part) > 1 else part in _ALONE
