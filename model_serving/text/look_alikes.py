"""Latin letters in a style, and letters of other scripts that look like Latin ones.

Who wants to get by a filter writes one Cherokee or Cyrillic letter; who wants to be seen writes
in circles, small capitals or flags. A reader sees plain letters.
"""

import re
import unicodedata
from typing import Final

from phonenumbers import SUPPORTED_REGIONS

_STYLED = (
    r"\x{AA}\x{BA}\x{250}-\x{2B8}\x{2E0}-\x{2E3}\x{1D00}-\x{1DBF}\x{2071}\x{207F}\x{2090}-\x{209C}"
    r"\x{2100}-\x{2138}\x{249C}-\x{24E9}\x{A730}\x{A731}\x{FB00}-\x{FB06}\x{FF21}-\x{FF3A}"
    r"\x{FF41}-\x{FF5A}\x{1D400}-\x{1D6A5}\x{1F110}-\x{1F189}"
)
_OTHER = (
    r"\x{131}\x{237}\x{251}\x{261}\x{269}\x{28B}\x{370}-\x{3FF}\x{400}-\x{52F}\x{531}-\x{587}"
    r"\x{13A0}-\x{13F5}\x{1400}-\x{167F}\x{2C80}-\x{2CE3}\x{A4D0}-\x{A4FF}\x{AB70}-\x{ABBF}"
)
_FLAGS = r"\x{1F1E6}-\x{1F1FF}"
MAYBE_STYLED: Final = rf"[{_STYLED}{_OTHER}{_FLAGS}]"
"""Matches, in RE2, every text that may have letters in a style or look-alikes."""

_BY_LATIN: Final = {
    "A": "АΑᎪꓮᗩ", "B": "ВΒᏴꓐᗷ", "C": "СᏟꓚᑕϹ", "D": "Ꭰꓓᗪꓒᗞ", "E": "ЕΕᎬꓰᗴ", "F": "ᖴꓝϜ", "G": "ᏀꓖᏳ",
    "H": "НΗᎻꓧᕼ", "I": "ІΙꓲӀ", "J": "ЈᎫꓙᒍ", "K": "КΚᏦꓗ", "L": "ᏞꓡᒪԼ", "M": "МΜᎷꓟᗰ", "N": "ΝꓠᑎՈ",
    "O": "ОΟꓳՕ", "P": "РΡᏢꓑᑭ", "Q": "ԚႭ", "R": "ᎡᏒꓣᖇ", "S": "ЅᏚꓢՏᔕ", "T": "ТΤᎢꓔ", "U": "ꓴᑌՍ",
    "V": "ᏙꓦᐯѴ", "W": "ᎳꓪᗯԜ", "X": "ХΧꓫ᙭", "Y": "ΥᎩꓬҮ", "Z": "ΖᏃꓜ",
    "a": "аɑαꭺ", "b": "ЬᏏ", "c": "сϲⲥꮯ", "d": "ԁᏧꭰ", "e": "еҽꭼє", "f": "ƒ", "g": "ɡցᏻ",
    "h": "һհᏂ", "i": "іιıɩᎥ", "j": "јյȷϳ", "k": "кκ", "l": "ӏ", "m": "м", "n": "ոռ", "o": "оοօⲟσ",
    "p": "рρⲣ", "q": "ԛզ", "r": "ꭇ", "s": "ѕꮪ", "t": "τт", "u": "υսʋ", "v": "νѵꮩ", "w": "ԝωѡꮃ",
    "x": "хχⲭ", "y": "уγү", "z": "ꮓ",
}  # fmt: skip
"""Latin letter → what looks like it in Cyrillic, Greek, Cherokee, Lisu, Armenian, Coptic, Canadian
syllabics and IPA (Unicode's confusables, those that a reader takes for it inside of a word)."""
_LOOK_ALIKES: Final = {
    ord(other): latin for latin, others in _BY_LATIN.items() for other in others
} | {
    ord(other.lower()): latin.lower()
    for latin, others in _BY_LATIN.items()
    for other in others
    if "\u13a0" <= other <= "\u13f5"  # Cherokee, whose small letters are small capitals
}
_OTHERS = "".join(map(chr, _LOOK_ALIKES))
_WORD = re.compile(r"[^\W\d_]+")
_OTHER_LETTER = re.compile(f"[{_OTHERS}]")
_LATIN_WORD = re.compile(r"(?<![^\W\d_])[A-Za-z]{2,}(?![^\W\d_])")
_LEAST_WHOLE = 3  # letters of a word that has no Latin one: α and β are signs

_LETTER_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]+")
_REGIONS: Final = frozenset(SUPPORTED_REGIONS) | {"AQ", "EU", "UN", "GS", "PN", "TF", "UM"}
_FIRST_FLAG = 0x1F1E6


def plain_letters(text: str) -> str:
    """Return the text with letters in a style, in circles and on flags as plain ones."""
    text = text.translate(_PLAIN_LETTERS)
    runs = [_flag_letters(run) for run in _LETTER_FLAG.findall(text)]
    if not runs or all(map(_are_flags, runs)):
        return text
    return _LETTER_FLAG.sub(lambda run: _flag_letters(run[0]), text)


def _flag_letters(run: str) -> str:
    return "".join(chr(ord("A") + ord(char) - _FIRST_FLAG) for char in run)


def _are_flags(letters: str) -> bool:
    pairs = [letters[at : at + 2] for at in range(0, len(letters), 2)]
    return all(pair in _REGIONS for pair in pairs)


def in_one_script(text: str) -> str:
    """Return the text with look-alikes of other scripts in Latin words as Latin letters.

    A word of look-alikes alone becomes Latin beside a word that mixes scripts, and where all other
    words are Latin: Russian and Greek have letters that look like none.
    """
    words = [word for word in _WORD.findall(text) if _OTHER_LETTER.search(word)]
    if not words:
        return text
    if any(_is_mixed(word) for word in words):
        least = 1
    elif _LATIN_WORD.search(text) and all(word.translate(_LOOK_ALIKES).isascii() for word in words):
        least = _LEAST_WHOLE
    else:
        return text
    return _WORD.sub(lambda word: _as_latin(word[0], least), text)


def _is_mixed(word: str) -> bool:
    return any(char.isascii() for char in word)


def _as_latin(word: str, least: int) -> str:
    latin = word.translate(_LOOK_ALIKES)
    return latin if latin.isascii() and (_is_mixed(word) or len(word) >= least) else word


def _styled_letters() -> dict[int, str]:
    """Return what letters in a style, in circles, squares and small capitals are written for."""
    found = {}
    for low, high in re.findall(r"\\x\{(\w+)\}(?:-\\x\{(\w+)\})?", _STYLED):
        for code in range(int(low, 16), int(high or low, 16) + 1):
            plain = unicodedata.normalize("NFKC", chr(code)).strip("()")
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
