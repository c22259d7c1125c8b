"""The canonical form of a text, which the scrubber and the recognisers both read.

What cannot be seen is taken out (``visible_text``), entities of HTML become what they stand for,
letters in a style become plain ones, look-alikes of another script in a Latin word become Latin,
and a platform's own emoji become shortcodes, without the number that identifies them. Digits stay
as they are written: a text in which nothing personal is found keeps them.
"""

import html
import re
import unicodedata
from typing import Final

import pyarrow as pa

from model_serving.text.visible_text import NOT_PLAIN, strip_invisible
from schemas.arrow import match_rows, replace_rows

_STYLED = (
    r"\x{AA}\x{BA}\x{250}-\x{2B8}\x{2E0}-\x{2E3}\x{1D00}-\x{1DBF}\x{2071}\x{207F}\x{2090}-\x{209C}"
    r"\x{2100}-\x{2138}\x{24B6}-\x{24E9}\x{A730}\x{A731}\x{FB00}-\x{FB06}\x{FF21}-\x{FF3A}"
    r"\x{FF41}-\x{FF5A}\x{1D400}-\x{1D6A5}\x{1F110}-\x{1F189}"
)
_CYRILLIC_OR_GREEK = r"\x{370}-\x{3FF}\x{400}-\x{45F}\x{4AE}-\x{4BB}\x{500}-\x{51D}"
_NOT_CANONICAL: Final = (
    rf"{NOT_PLAIN}|[{_STYLED}]|&[#A-Za-z]|<a?:[A-Za-z0-9_]"
    rf"|[A-Za-z][{_CYRILLIC_OR_GREEK}]|[{_CYRILLIC_OR_GREEK}][A-Za-z]"
)
"""Matches, in RE2, every text that may have another canonical form."""

_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,5}26);)+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MOST_ESCAPES = 4  # a gateway behind a gateway behind a page
_CUSTOM_EMOJI = re.compile(r"<a?:([A-Za-z0-9_]{1,32}):[0-9]{5,25}>")


def canonical(text: pa.Array) -> pa.Array:
    """Return a string column in canonical form; a row that is in it already keeps its bytes."""
    rows = match_rows(text, _NOT_CANONICAL)
    if not len(rows):
        return text
    plain = [_plain(value) for value in text.take(pa.array(rows)).to_pylist()]
    seen = strip_invisible(pa.array(plain, pa.string())).to_pylist()
    return replace_rows(
        text, rows, pa.array([_in_one_script(value) for value in seen], pa.string())
    )


def _plain(text: str) -> str:
    return _CUSTOM_EMOJI.sub(r":\1:", _unescape(text)).translate(_PLAIN_LETTERS)


def _unescape(text: str) -> str:
    for _ in range(_MOST_ESCAPES):
        if "&" not in text:
            break
        before = text
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), _AMPERSANDS.sub("&", text))
        if text == before:
            break
    return text


def _in_one_script(text: str) -> str:
    if not _MIXED.search(text):
        return text
    return _WORD.sub(lambda found: _as_latin(found[0]), text)


def _as_latin(word: str) -> str:
    """Return the word in Latin letters where every other letter of it looks like one."""
    latin = word.translate(_LOOK_ALIKES)
    return latin if latin.isascii() else word


def _styled_letters() -> dict[int, str]:
    """Return what letters in a style, in circles, squares and small capitals are written for."""
    found = {}
    for low, high in re.findall(r"\\x\{(\w+)\}(?:-\\x\{(\w+)\})?", _STYLED):
        for code in range(int(low, 16), int(high or low, 16) + 1):
            plain = unicodedata.normalize("NFKC", chr(code))
            name = unicodedata.name(chr(code), "")
            if plain.isascii() and plain.isalpha():
                found[code] = plain
            elif capital := _CAPITAL.search(name):
                found[code] = capital[1].lower() if "SMALL" in name else capital[1]
    return found


_CAPITAL = re.compile(
    r"^(?:LATIN LETTER SMALL CAPITAL|NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER) ([A-Z])$"
)
_PLAIN_LETTERS = _styled_letters()
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝкАВЕКМНОРСТУХІЈЅοανρικυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijshdqwkABEKMHOPCTYXIJSoavpikuABEZHIKMNOPTYX",
)
_OTHER_LETTER = r"[\u0370-\u03FF\u0400-\u045F\u04AE-\u04BB\u0500-\u051D]"
_MIXED = re.compile(rf"[A-Za-z]{_OTHER_LETTER}|{_OTHER_LETTER}[A-Za-z]")
_WORD = re.compile(r"[^\W\d_]+")
