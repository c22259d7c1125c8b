"""Personal data that is spelt out, and internet addresses: found by a pattern, decided by code."""

import re
import unicodedata
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address
from itertools import pairwise
from typing import Final

import pyarrow as pa

from schemas.arrow import match_rows, replace_rows
from transforms.scrubbing.numbers import is_counting
from transforms.scrubbing.rules import CHINESE_NUMERALS, TOP_DOMAINS
from transforms.scrubbing.spans import Stretch

LEAST_SPELT: Final = 7
"""Digits of the shortest number that is taken for a phone number because it is spelt out."""

_AT = (
    r"(?:[_\-]at[_\-]|\s?[\[({<]\s?(?:at|a|@)\s?[\])}>]\s?|\s?艾特\s?|\s?@\s?"
    r"|(?<=[A-Za-z0-9])圈(?=[A-Za-z0-9]))"
)
_DOT = r"(?:[_\-]dot[_\-]|\s?[\[({<]\s?(?:dot|\.)\s?[\])}>]\s?|\sdot\s|\s?点\s?|\s?。\s?|\.)"
_NAME = r"(?<![A-Za-z0-9._+\-])(?P<name>[A-Za-z0-9][A-Za-z0-9._+\-]{0,63})"
_HOST = r"[A-Za-z0-9][A-Za-z0-9\-]{0,62}"
_END = rf"(?:{TOP_DOMAINS})(?![A-Za-z0-9])"
_NO_HOST = (
    r"(?:the|this|that|a|an|my|your|our|his|her|their|every|some|all|him|them|me|us|you|it|home|work|school"
    r"|one|two|three|four|five|six|seven|eight|nine|ten)\s"
)
_COMMON_END = r"(?:com|net|org|edu|cn)(?![A-Za-z0-9])"
_ADDRESSES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_NAME}(?:{_AT}|(?P<word>\sat\s)(?!{_NO_HOST})(?=[^.。点]{{1,80}}(?:\sdot\s|点)|\S{{1,80}}\.))"
        rf"{_HOST}(?:{_DOT}{_HOST}){{0,4}}{_DOT}{_END}",
        rf"{_NAME}\s?@\s?{_HOST}(?:\s?[.,]\s?{_HOST})?\s?[.,]\s?{_COMMON_END}",
        rf"{_NAME}(?:{_AT}|(?P<word>\sat\s))(?:gmail|hotmail|icloud|protonmail|foxmail)(?![A-Za-z0-9.])",
    )
)
_NO_NAMES_BEFORE_AT = re.compile(
    r"look(?:s|ed|ing)?|laugh(?:s|ed|ing)?|star(?:e|es|ed|ing)|yell(?:s|ed|ing)?|shout(?:s|ed|ing)?|scream(?:s|ed|ing)?"
    r"|shop(?:s|ped|ping)?|meet(?:s|ing)?|met|buy|bought|find|found|available|more|info|see|saw|work(?:s|ed|ing)?|jobs?"
    r"|read|sign|up|live|lives|living|stay|watch|order(?:ed)?|play(?:ed|ing)?|tickets?|sale|only|now|out|in|on|off|check"
    r"|good|bad|great|best|worst|mad|angry|happy|sad|upset|am|is|are|was|were|be|been|being|home|here|there|all|it|that"
    r"|this|one|point(?:s|ed|ing)?|aim(?:ed|ing)?|arriv(?:e|ed|ing)|start(?:s|ed|ing)?|end(?:s|ed)?|left|not|and|or|but|people"
    r"|guy|guys|man|someone|everyone|anyone|nobody|millionaire|someday|today|tomorrow|tonight|later|free|online|hosted|posted"
    r"|down|back|over|just|still|even|never|always|prices?|deals?|stuff|page|site|video|link|article|store|support|staff|engineer|team"
)
SPELT_ADDRESSES: Final = (
    r"(?i:\bdot\b|[_\-]dot[_\-]|艾特|[A-Za-z0-9]圈[A-Za-z0-9]|点 ?(?:com|cn|net|org)|@[^ ]*。"
    r"|[\[({<] ?(?:at?|@) ?[\])}>]"
    r"|\sat\s[A-Za-z0-9.\-]+\.[A-Za-z]|(?:@|\bat\b) ?(?:gmail|hotmail|icloud|protonmail|foxmail)"
    r"|@\s?[A-Za-z0-9\-]+(?:\s?[.,]\s?[A-Za-z0-9\-]+)?(?:\s[.,]\s?|\s?,\s?|\s?[.,]\s)(?:com|net|org|edu|cn)\b)"
)
"""Matches, in RE2, every row that may have an e-mail address spelt out."""

_TAG = re.compile(r"(?<![A-Za-z0-9_.\-#])[0-9_.\-]*[A-Za-z][A-Za-z0-9_.\-]*#[0-9]{4,6}(?![0-9])")
TAGS: Final = r"[A-Za-z0-9_.\-]#[0-9]{4}"
"""Matches, in RE2, every row that may have a name with a number; # on both sides is a topic's."""

_PART = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
_IP_DOT = r"(?:\.|\s?[\[({]\s?(?:\.|dot|点)\s?[\])}]\s?|\s\.\s|点|\sdot\s)"
_IPV4 = re.compile(rf"(?<![0-9.])(?:{_PART}{_IP_DOT}){{3}}{_PART}(?![0-9]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]{3,39}(?![0-9A-Za-z:])")
_MAC = re.compile(r"(?<![0-9A-Fa-f:\-])[0-9A-Fa-f]{2}(?:[:\-][0-9A-Fa-f]{2}){5}(?![0-9A-Fa-f:\-])")
_VERSION = re.compile(
    r"(?:\bv|ver|version|版本号?|build|release|update|更新到?|firmware|固件|fw|section|sections?|§|第|chapter|clause|para"
    r"|patch|hotfix|ios|android|chrome|firefox|edge|safari|windows|macos|linux|kernel|driver|sdk|java|python|node|app"
    r"|系统|驱动|补丁)[ .:：是v]{0,3}\Z",
    re.IGNORECASE,
)
_ADDRESS_CUE = re.compile(
    r"(?:\bips?\b|server|host|address|connect|ping|dns|router|gateway|subnet|ddos|地址|服务器|连|网关)[^\n]{0,20}\Z",
    re.IGNORECASE,
)
_CUE_WIDTH = 32  # characters before
_PRIVATE = 10
_MOST_OF_VERSION = 31  # in all four parts: one address of 4,000 has none larger
_NO_HOSTS: Final = frozenset(["127.0.0.1", "0.0.0.0"])
_LEAST_IPV6 = 6  # characters: `::1` and `a::b` are signs and code
_MAYBE_DOT = r" ?[\[({]? ?(?:\.|dot|点) ?[\])}]? ?"
INTERNET_ADDRESSES: Final = (
    rf"[0-9]{_MAYBE_DOT}[0-9]{{1,3}}{_MAYBE_DOT}[0-9]{{1,3}}{_MAYBE_DOT}[0-9]"
    r"|[0-9A-Fa-f]:[0-9A-Fa-f]*:|(?:[0-9A-Fa-f]{2}-){5}"
)
"""Matches, in RE2, every row that may have an address of IPv4, IPv6 or of a network card."""

_NUMERAL = f"[{CHINESE_NUMERALS}]"
_BETWEEN = r"[ ,.，、\-]{0,2}"
_LEAST_BEAT = 3  # beats that are counted in a row
_LEAST_MIXED = 2  # Chinese numerals among other digits: 2015一岁 is a date and a word
_DIGIT_WORD = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine)"
_NUMBER_WORD = rf"(?:(?:double|triple)[ \-])?(?:{_DIGIT_WORD}|[0-9])"
NUMERALS: Final = (
    rf"{_NUMERAL}[ ,.，、\-]*{_NUMERAL}[ ,.，、\-]*{_NUMERAL}"
    rf"|[0-9]{_NUMERAL}+[0-9]|[0-9]{{3}}{_NUMERAL}{{2}}"
    rf"|(?i:\b{_DIGIT_WORD}[ ,.\-]+{_DIGIT_WORD}[ ,.\-]+{_DIGIT_WORD})"
)
"""Matches, in RE2, every row that may have a number in Chinese numerals or English words."""
_IN_CHINESE = re.compile(
    rf"(?<![0-9]){_NUMERAL}(?:{_BETWEEN}{_NUMERAL}){{{LEAST_SPELT - 1},}}(?![0-9])"
    rf"|[0-9{CHINESE_NUMERALS}]{{{LEAST_SPELT},}}"
)
_IN_ENGLISH = re.compile(
    rf"\b{_NUMBER_WORD}(?:[ ,.\-]{{1,2}}{_NUMBER_WORD}){{5,}}\b", re.IGNORECASE
)
_WORDS: Final = {
    word: str(value)
    for value, words in enumerate(
        ["zero oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    )
    for word in words.split()
}
_CHINESE: Final = str.maketrans(CHINESE_NUMERALS, "001234567891123456789")
OTHER_DIGITS: Final = (
    r"[\x{660}-\x{669}\x{6F0}-\x{6F9}\x{966}-\x{96F}\x{9E6}-\x{9EF}\x{E50}-\x{E59}\x{24F5}-\x{24FF}"
    r"\x{2776}-\x{2793}]"
)
"""Digits that NFKC leaves: of other scripts, in two circles, and white on black."""
_OTHER_DIGITS: Final = {
    code: str(unicodedata.digit(chr(code)))
    for code in range(0x660, 0x2794)
    if unicodedata.digit(chr(code), None) is not None
}


def spelt_addresses(text: str) -> Iterator[Stretch]:
    """Yield where an e-mail address is spelt out: jo at example dot com, jo艾特example点com."""
    for pattern in _ADDRESSES:
        for match in pattern.finditer(text):
            found = match.groupdict()
            if found.get("word") and _NO_NAMES_BEFORE_AT.fullmatch(found["name"].lower()):
                continue
            yield match.span()


def tags(text: str) -> Iterator[Stretch]:
    """Yield where a name with a number stands, as Discord and Battle.net give them: nova#4821."""
    for match in _TAG.finditer(text):
        yield match.span()


def internet_addresses(text: str) -> Iterator[Stretch]:
    """Yield where an address of IPv4, IPv6 or a network card stands, and no version 1.2.3.4."""
    for match in _IPV4.finditer(text):
        if not _is_version(text, match):
            yield match.span()
    for match in _MAC.finditer(text):
        parts = re.split("[:-]", match[0])
        if not (all(part.isdigit() for part in parts) and is_counting(parts)):
            yield match.span()
    for match in _IPV6.finditer(text):
        if len(match[0]) >= _LEAST_IPV6 and match[0].count(":") > 1 and _is_ipv6(match[0]):
            yield match.span()


def _is_version(text: str, match: re.Match[str]) -> bool:
    """Whether four numbers are of a program or a book, or an address that is the same for all."""
    start = max(0, match.start() - _CUE_WIDTH)
    if match[0] in _NO_HOSTS or _VERSION.search(text, start, match.start()):
        return True
    parts = [int(part) for part in re.findall("[0-9]+", match[0])]
    small = max(parts) <= _MOST_OF_VERSION and parts[0] != _PRIVATE
    return small and not _ADDRESS_CUE.search(text, start, match.start())


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def spelt_numbers(text: str) -> Iterator[Stretch]:
    """Yield where seven digits and more stand in words; who counts or laughs tells no number."""
    for match in _IN_CHINESE.finditer(text):
        digits = match[0].translate(_CHINESE)
        changed = sum(a != b for a, b in zip(match[0], digits, strict=True))
        if changed >= _LEAST_MIXED and _tells(digits):
            yield match.span()
    for match in _IN_ENGLISH.finditer(text):
        words = re.findall(r"[a-z]+|[0-9]", match[0].lower())
        digits = "".join(_WORDS.get(word, word if word.isdigit() else "") for word in words)
        if not digits.isdigit() or match[0].isdigit():
            continue
        repeated = sum(word in {"double", "triple"} for word in words)
        if len(digits) + repeated >= LEAST_SPELT and words[0] in _WORDS and _tells(digits):
            yield match.span()


def _tells(number: str) -> bool:
    digits = re.sub(r"[^0-9]", "", number)
    return len(set(digits)) > 2 and not is_counting(list(digits)) and not _is_beat(digits)


def _is_beat(digits: str) -> bool:
    """Whether digits count the beats of a dance: 5678 1234, or 1234 2234 3234."""
    runs = re.split(r"(?<=[0-9])(?=[0-9])", digits)
    steps = [int(b) - int(a) for a, b in pairwise(runs)]
    breaks = [at for at, step in enumerate(steps) if step != 1]
    lengths = [b - a for a, b in pairwise([-1, *breaks, len(steps)])]
    fours = [digits[at : at + 4] for at in range(0, len(digits), 4)]
    return min(lengths) >= _LEAST_BEAT or all(four[1:] == "234" for four in fours)


def ascii_digits(text: pa.Array) -> pa.Array:
    """Return a string column with the digits of other scripts, and of dingbats, in ASCII."""
    rows = match_rows(text, OTHER_DIGITS)
    if not len(rows):
        return text
    found = [value.translate(_OTHER_DIGITS) for value in text.take(pa.array(rows)).to_pylist()]
    return replace_rows(text, rows, pa.array(found, pa.string()))
