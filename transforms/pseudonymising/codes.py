"""Codes: short names such as ``quiz_started`` that may land as they are, since they name nobody.

A code can look right and still be somebody's: an address with its dots replaced, a phone number,
base64 of either, or the very id that is about to be replaced by a reference. What no rule can tell
from the name of a game is the name of another person.
"""

import base64
import binascii
import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from schemas.events import CODE
from transforms.scrub import scrub

MOST_DIGITS: Final = 5
"""More digits than these, beside one date, may be a phone number, a card or an identity card."""

_CODE: Final = re.compile(CODE)
_DATE: Final = re.compile(
    r"(?<![0-9])20[2-9][0-9]([-_.]?)(0[1-9]|1[0-2])(\1(0[1-9]|[12][0-9]|3[01]))?(?![0-9])"
)
"""A day or month from 2020 on, as versions of a notice have it: no adult was born then."""
_LEAST_WORD: Final = 3
"""Letters and digits of the shortest id that is looked for, as a whole word of the code."""
_LEAST_PART: Final = 4
"""Letters and digits from which on an id is looked for anywhere in the code."""
_LEAST_CODED: Final = 12
"""Characters from which on a word that decodes to a text is taken for one in base64, base32 or hex:
one in 8,000 words of this length does so by chance."""
_SPOKEN: Final = (
    (re.compile("[_.-]at[_.-]", re.IGNORECASE), "@"),
    (re.compile("[_.-]dot[_.-]", re.IGNORECASE), "."),
    (re.compile("[_-](com|net|org|de|cn|eu)$", re.IGNORECASE), r".\1"),
)


def are_plain_codes(values: Sequence[str]) -> list[bool]:
    """Tell of each value whether it is a code, and nothing in it names a person by any rule.

    All at once: the rules cost 0.2 ms a call, and some µs a value.
    """
    plain = [_looks_plain(value) for value in values]
    codes = [value for value, looks in zip(values, plain, strict=True) if looks]
    personal = iter(_hold_personal_data(codes))
    return [looks and not next(personal) for looks in plain]


def names_any(value: str, own: Iterable[str]) -> bool:
    """Tell whether one of these raw ids of its event stands in a code, in any spelling."""
    readings = _readings(value)
    return any(_names(letters, words, identity) for identity in own for letters, words in readings)


def _looks_plain(value: str) -> bool:
    if not _CODE.fullmatch(value) or _count_digits(value) > MOST_DIGITS:
        return False
    words = [value, *re.split("[_.-]", value)]
    return not any(len(word) >= _LEAST_CODED and any(_decode(word)) for word in words)


def _count_digits(value: str) -> int:
    return sum(map(str.isdigit, _DATE.sub("", value, count=1)))


def _hold_personal_data(codes: list[str]) -> list[bool]:
    """Apply the rules of ScrubText to codes as they are, and as they are meant to be read aloud."""
    if not codes:
        return []
    spoken = codes
    for pattern, sign in _SPOKEN:
        spoken = [pattern.sub(sign, code) for code in spoken]
    apart = [re.sub("[_-]", " ", code) for code in codes]
    read = pa.array([*codes, *spoken, *apart], pa.string())
    same = pc.equal(scrub(read), read).to_numpy(zero_copy_only=False).reshape(3, len(codes))
    return (~same.all(axis=0)).tolist()


@functools.lru_cache(10_000)
def _readings(value: str) -> list[tuple[str, list[str]]]:
    """Return letters and words of a code, and of what it decodes to."""
    texts = [value, *_decode(value)]
    return [(_letters(text), re.split(r"[\W_]+", text.casefold())) for text in texts]


def _names(letters: str, words: list[str], identity: str) -> bool:
    """Tell whether a text holds an id, or what stands before its @, forwards or backwards."""
    for part in {identity, identity.partition("@")[0]}:
        own = _letters(part)
        if len(own) >= _LEAST_PART and (own in letters or own[::-1] in letters):
            return True
        if len(own) >= _LEAST_WORD and own in words:
            return True
    return False


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def _decode(word: str) -> Iterator[str]:
    """Yield the printable texts of which this is the hex, base32 or base64."""
    in_base64 = word.replace("-", "+").replace("_", "/")
    decoders: tuple[Callable[[], bytes], ...] = (
        lambda: bytes.fromhex(word),
        lambda: base64.b32decode(word + "=" * (-len(word) % 8), casefold=True),
        lambda: base64.b64decode(in_base64 + "=" * (-len(word) % 4), validate=True),
    )
    for decode in decoders:
        with suppress(ValueError, binascii.Error):
            text = decode().decode()
            if text and text.isprintable():
                yield text
