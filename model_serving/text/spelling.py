"""Words as a tokenizer knows them, of words drawn out, spaced out, run together and in digits."""

import re
from collections.abc import Collection
from itertools import product
from typing import Final

from model_serving.text.masked_words import MASKED_WORD, unmask

SEVERAL_WORDS: Final = r"(?:[a-z]{6,40}|[A-Z]{6,40})(?![\w#])"
"""Matches a hashtag without its sign that may be several words: ``soangry``."""
_HASHTAG = re.compile(rf"#({SEVERAL_WORDS})")
_SHORT_FORMS: Final = {
    "h8": "hate", "h8s": "hates", "h8r": "hater", "h8er": "hater", "h8ers": "haters",
    "h8ing": "hating", "h8ed": "hated", "gr8": "great", "m8": "mate", "w8": "wait", "l8": "late",
    "l8r": "later", "b4": "before", "str8": "straight", "f8": "fate", "sk8": "skate",
    "2day": "today", "2nite": "tonight", "2moro": "tomorrow", "2morrow": "tomorrow",
    "4ever": "forever", "4eva": "forever", "no1": "no one", "some1": "someone", "any1": "anyone",
    "every1": "everyone", "ne1": "anyone",
}  # fmt: skip
"""What phones with few keys taught people to write, as words."""
_DIGIT = re.compile("[0-9]")
_SHORT_FORM = re.compile(
    r"(?<![\w.'])(?:[A-Za-z]{1,5}[0-9][A-Za-z]{0,4}|[0-9][A-Za-z]{3,6})(?![\w'])"
)
_REPEATED_LETTER = re.compile(r"([A-Za-z])\1{2,}")
_DRAWN_OUT_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]*?([A-Za-z])\1{2}[A-Za-z]*")
_MOST_RUNS = 4
_SPACED_OUT = re.compile(r"(?<![A-Za-z])(?:[A-Za-z][ .\-_]){3,40}[A-Za-z](?![A-Za-z])")
_SIGN = re.compile("[*#!@]")
_ALONE = frozenset("aiu")  # letters that are words by themselves
_MOODS: Final = frozenset(
    [
        "angry",
        "annoyed",
        "annoying",
        "furious",
        "pissed",
        "disgusting",
        "disgusted",
        "terrified",
        "anxious",
        "lonely",
        "depressed",
        "heartbroken",
        "miserable",
        "jealous",
        "excited",
        "grateful",
        "blessed",
        "awesome",
        "hungry",
        "exhausted",
    ]
)
"""Words that run together with others, and that a small vocabulary has in pieces."""
_JOINED_WORDS = re.compile(r"\s*[A-Za-z']+(?:([+._\-])[A-Za-z']+)(?:\1[A-Za-z']+){1,40}[.!?]*\s*")
_LEET_WORD = re.compile(r"(?<![\w$])[a-z$][a-z]*[0134570$][a-z0134570$]*(?![\w$])", re.IGNORECASE)
_LEAST_WORD = 4  # letters: of shorter words too many are units and names, such as 3am and ps5
_LEET: Final = str.maketrans("013457$", "oieasts")


def respell(text: str, words: Collection[str]) -> str:
    """Return the text with words drawn out, spaced out, run together and in digits as ``words``.

    ``haaate`` and ``h4te`` are rare pieces to a tokenizer. What resembles no word of four letters
    stays: ``noooo`` says more than ``no``, and the models learnt it.
    """
    if "#" in text:
        text = _HASHTAG.sub(lambda found: _cut(found[1], words) or found[1], text)
    if joined := _JOINED_WORDS.fullmatch(text):
        text = text.replace(joined[1], " ")
    if _DIGIT.search(text):
        text = _SHORT_FORM.sub(lambda found: _SHORT_FORMS.get(found[0].lower(), found[0]), text)
    if _LEET_WORD.search(text):
        text = _LEET_WORD.sub(lambda found: _without_digits(found[0], words), text)
    if _DRAWN_OUT_WORD.search(text):
        text = _DRAWN_OUT_WORD.sub(lambda found: _shortened(found[0], words), text)
    if _SIGN.search(text):
        text = MASKED_WORD.sub(lambda found: unmask(found[0]), text)
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


def _joined(spaced: str, words: Collection[str]) -> str:
    """Return ``I h a t e y o u`` as words, or as it is."""
    return _cut(re.sub("[^A-Za-z]", "", spaced), words) or spaced


def _cut(letters: str, words: Collection[str]) -> str:
    """Return the fewest words that the letters can be cut into, or nothing."""
    cuts: list[tuple[str, ...] | None] = [()]
    for end in range(1, len(letters) + 1):
        found = [
            (*before, letters[start:end])
            for start, before in enumerate(cuts)
            if before is not None and _is_word(letters[start:end].lower(), words)
        ]
        cuts.append(min(found, key=len) if found else None)
    whole = cuts[-1]
    is_text = whole is not None and max(map(len, whole), default=0) >= _LEAST_WORD
    return " ".join(whole) if whole is not None and is_text else ""


def _is_word(part: str, words: Collection[str]) -> bool:
    return part in words or part in _MOODS if len(part) > 1 else part in _ALONE
