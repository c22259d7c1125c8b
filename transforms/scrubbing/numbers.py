"""Numbers that a checksum or a national numbering plan decides: IBANs, cards, phone numbers."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn

from transforms.scrubbing.rules import DIGITS, SEPARATORS
from transforms.scrubbing.spans import Stretch

MOST_ASKED: Final = 16
"""How many numbers of one text the numbering plans are asked about, a third of a millisecond each;
more of them are taken for phone numbers. Of 165,441 texts of the corpora one has five, the others
at most two."""
_LEAST_COUNTED = 3
_LEAST_SINGLE = 7  # digits one by one: 4 1 5 5 5 5 2 6 7 1
_ASKED_LENGTH = 32  # characters that one question pays for: the longest number as it is written

_IBAN_SIZES = range(15, 35)
_IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]){11,30}))")
_DATE = r"[0-9]{4}[-/.年][0-9]{1,2}[-/.月][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4}"
_CARD = re.compile(r"(?<![0-9.])[0-9]{13,20}(?![0-9])")
_LEAST_ID = 17
_TWO_GROUPS = re.compile(r"(?<![0-9.])(?<![0-9][ \-])([5-9][0-9]{3})[ \-]([0-9]{4})(?![ \-]?[0-9])")
_DATE_OR_NUMBER = re.compile(
    rf"(?<![0-9.])(?:({_DATE})(?![0-9])|[+(]?{DIGITS}(?:[0-9{SEPARATORS}]*[0-9])?)"
)


def ibans(text: str) -> Iterator[Stretch]:
    """Yield where an IBAN stands; the words after it may look like more of it."""
    for match in _IBAN.finditer(text):
        for end in _sound_ends(match[1]):
            if iban.is_valid(match[1][:end]):
                yield match.start(), match.start() + end
                break


def _sound_ends(found: str) -> list[int]:
    """Return where the checksum (ISO 7064, modulo 97) of what stands before is right.

    One sum for all ends: to ask the library for each took 60 µs a start, of which 4 kB can have
    a thousand.
    """
    head = int("".join(str(int(char, 36)) for char in found[:4]))
    head_size = 10 ** len(str(head))
    rest, size, ends = 0, 4, []
    for end, char in enumerate(found[4:], start=5):
        if char == " ":
            continue
        value = int(char, 36)
        rest = (rest * (10 if value < 10 else 100) + value) % 97
        size += 1
        if size in _IBAN_SIZES and (rest * head_size + head) % 97 == 1:
            ends.append(end)
    return ends[::-1]


def cards(text: str) -> Iterator[Stretch]:
    """Yield where a card's number or a platform's id stands that is written without groups.

    From 17 digits on it needs no checksum: Discord's ids have 17 to 19, those of Steam 17.
    """
    for match in _CARD.finditer(text):
        number = match[0]
        is_id = len(number) >= _LEAST_ID and text[match.start() - 1 : match.start()] != "-"
        is_id = is_id and len(set(number)) > 2 and not is_counting(list(number))
        if is_id or (luhn.is_valid(number) and not _is_word(number)):
            yield match.span()


def short_phones(text: str) -> Iterator[Stretch]:
    """Yield where eight digits stand in two groups, as Hong Kong and Singapore write mobiles.

    Years (1999-2004) begin otherwise; round and repeated groups are amounts (5600 6000, 9999 9999).
    """
    for match in _TWO_GROUPS.finditer(text):
        first, second = match[1], match[2]
        if first != second and not first.endswith("00") and not second.endswith("00"):
            yield match.span()


_DISGUISED = re.compile(r"(?<![A-Za-z0-9])[0-9OolI](?:[ .\-]?[0-9OolI]){9,12}(?![A-Za-z0-9])")
_LEAST_DIGITS = 5  # of a number in which letters stand for the others
_AS_DIGITS = str.maketrans("OolI", "0011")
_MOBILE = re.compile(r"(?:86)?1[3-9][0-9]{9}|1?[2-9][0-9]{2}[2-9][0-9]{6}")
DISGUISED: Final = r"[0-9][OolI]|[OolI][0-9]"
"""Matches, in RE2, every row that may have a number with letters for digits."""


def disguised_phones(text: str) -> Iterator[Stretch]:
    """Yield where a mobile or American number has letters O for 0 and l for 1."""
    for match in _DISGUISED.finditer(text):
        plain = re.sub(r"[ .\-]", "", match[0])
        digits = sum(char.isdigit() for char in plain)
        if _LEAST_DIGITS <= digits < len(plain) and _MOBILE.fullmatch(plain.translate(_AS_DIGITS)):
            yield match.span()


class Phones:
    """Asks the numbering plans, each number once; ``asked`` counts."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stretch, ...]] = {}
        self.asked = 0

    def find(self, text: str) -> Iterator[Stretch]:
        """Yield where a phone number stands, or a number too many to be asked about."""
        left = MOST_ASKED
        for match in _DATE_OR_NUMBER.finditer(text):
            if match[1] or _is_word(match[0]):
                continue
            groups = re.findall(r"[0-9]+", match[0])
            if is_counting(groups) or not (regions := _regions(match[0])):
                continue
            if len(groups) >= _LEAST_SINGLE and max(map(len, groups)) == 1:
                if self._spans("".join(groups), regions):
                    yield match.span()
                continue
            left -= -(-len(match[0]) // _ASKED_LENGTH)
            if left < 0:
                yield match.span()
                continue
            for start, end in self._spans(match[0], regions):
                yield match.start() + start, match.start() + end

    def _spans(self, number: str, regions: tuple[str, ...]) -> tuple[Stretch, ...]:
        if number not in self._known:
            self.asked += 1
            self._known[number] = tuple(
                (found.start, found.end)
                for region in regions
                for found in PhoneNumberMatcher(number, region, leniency=_leniency(number))
            )
        return self._known[number]


def _regions(number: str) -> tuple[str, ...]:
    """Return the regions whose plans can have this number."""
    if number.lstrip("+(").startswith("0"):
        return ("GB", "DE", "CN")
    size = sum(char.isdigit() for char in number)
    if not number.startswith("+") and (size < 10 or (number.isdigit() and size > 11)):
        return ()
    return ("US", "CN")


def _leniency(number: str) -> int:
    """Ask for the plan's own groups between spaces alone: 1024 768 512 is a place on a map."""
    if re.fullmatch(r"[1-9][0-9]*(?: [0-9]+)+", number):
        return Leniency.STRICT_GROUPING
    return Leniency.VALID


def is_counting(groups: Sequence[str]) -> bool:
    """Whether three numbers and more go on in equal steps, as in 1 2 3 4, 10 20 30 and 10 9 8."""
    if len(groups) < _LEAST_COUNTED:
        return False
    steps = {
        (int(b) - int(a)) % 10 if len(a) == len(b) == 1 else int(b) - int(a)
        for a, b in pairwise(groups)
    }
    return len(steps) == 1


def _is_word(number: str) -> bool:
    """Whether digits are meant as a word: 2333333333 laughs, 8888888888 wishes luck."""
    return re.fullmatch(r"2?3+|([0-9])\1*", re.sub(r"[^0-9]", "", number)) is not None
