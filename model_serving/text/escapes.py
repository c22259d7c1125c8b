"""Characters that a gateway has written as escapes, or read in another encoding than they were."""

import html
import re
from typing import Final
from urllib.parse import unquote

_TAIL = (
    r"\x{80}-\x{BF}\x{152}\x{153}\x{160}\x{161}\x{178}\x{17D}\x{17E}\x{192}\x{2C6}\x{2DC}"
    r"\x{2013}\x{2014}\x{2018}-\x{201E}\x{2020}-\x{2022}\x{2026}\x{2030}\x{2039}\x{203A}\x{20AC}\x{2122}"
)
"""Bytes 80 to BF, which follow the first of a character in UTF-8, as Windows' Latin shows them."""
MAYBE_ESCAPED: Final = (
    r"&[#A-Za-z]|\\[uU][0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2}"
    rf"|[\x{{C2}}\x{{C3}}][{_TAIL}]|[\x{{E2}}-\x{{EF}}][{_TAIL}]{{2}}|\x{{F0}}[{_TAIL}]{{3}}"
)
"""Matches, in RE2, every text in which ``unescape`` may find something."""

_MOST_ESCAPES = 4  # a gateway behind a gateway behind a page
_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,5}26);)+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SURROGATES = re.compile(r"&#(x?)([0-9A-F]{4,5});&#(x?)([0-9A-F]{4,5});", re.IGNORECASE)
_OF_JSON = re.compile(r"(?:\\u[0-9A-Fa-f]{4})+|\\U000?[01][0-9A-Fa-f]{4,5}")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_OF_URL = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_PERCENTS = re.compile("%(?:25)+(?=[0-9A-Fa-f]{2})")
_SIGN_OF_ADDRESS = re.compile(r"(?<=[A-Za-z0-9])%40(?=[A-Za-z0-9])")
_LEAST_OF_URL = 2  # escapes of a text that has no space: 100%25 is no form's
_MISREAD = re.compile(
    re.sub(
        r"\\x\{(\w+)\}",
        lambda code: chr(int(code[1], 16)),
        rf"[\x{{C2}}\x{{C3}}][{_TAIL}]|[\x{{E2}}-\x{{EF}}][{_TAIL}]{{2}}|\x{{F0}}[{_TAIL}]{{3}}",
    )
)
_WINDOWS: Final = {chr(byte): byte for byte in range(0x80, 0x100)} | {
    char: byte for byte in range(0x80, 0xA0) if (char := bytes([byte]).decode("cp1252", "ignore"))
}
"""Characters of Latin-1 and of Windows' code page → their byte."""


def unescape(text: str) -> str:
    """Return the text with escapes, and UTF-8 that was misread, as the characters meant."""
    for _ in range(_MOST_ESCAPES):
        before = text
        text = _MISREAD.sub(_as_utf8, text)
        if "&" in text:
            text = _SURROGATES.sub(_of_surrogates, _AMPERSANDS.sub("&", text))
            text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
        if "\\" in text:
            text = _OF_JSON.sub(_of_json, text)
        if "%" in text:
            text = _unescape_form(text)
        if text == before:
            break
    return text


def _of_surrogates(found: re.Match[str]) -> str:
    """Return the character that two entities stand for, as clients write that count in UTF-16."""
    first, second = (int(found[at + 1], 16 if found[at] else 10) for at in (1, 3))
    if not (0xD800 <= first < 0xDC00 <= second < 0xE000):
        return found[0]
    return chr(0x10000 + (first - 0xD800) * 0x400 + second - 0xDC00)


def _of_json(found: re.Match[str]) -> str:
    if found[0].startswith("\\U"):
        return chr(int(found[0][2:], 16)) if int(found[0][2:], 16) < 0x110000 else found[0]
    units = "".join(chr(int(unit, 16)) for unit in found[0].split("\\u")[1:])
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")


def _unescape_form(text: str) -> str:
    """Undo what a form or an address does to spaces; a link keeps its escapes."""
    if "://" in text or "www." in text.lower():
        return text
    text = _PERCENTS.sub("%", text)
    if not re.search(r"\s", text) and len(_ESCAPE.findall(text)) >= _LEAST_OF_URL:
        return _OF_URL.sub(_of_url, text)
    return _SIGN_OF_ADDRESS.sub("@", text)


def _of_url(found: re.Match[str]) -> str:
    plain = unquote(found[0], errors="replace")
    return found[0] if "\ufffd" in plain else plain


def _as_utf8(found: re.Match[str]) -> str:
    """Return the character whose UTF-8 was read as Windows' Latin; what is none stays."""
    try:
        return bytes(_WINDOWS[char] for char in found[0]).decode("utf-8")
    except UnicodeDecodeError:
        return found[0]
