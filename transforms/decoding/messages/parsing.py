"""JSON payloads, typed and row by row, with the parser's own words where one cannot be read."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import msgspec
import numpy as np

from schemas.errors import DeadLetterCode
from transforms.decoding.details import Explained
from transforms.decoding.messages.kinds import are_several, name_kind

ABSENT: Final = (b"", b"null")
"""JSON that says nothing."""
_SEVERAL: Final = "the value is several objects, or an array of them: send each as its own record"
_Shape = TypeVar("_Shape")
_ESCAPES: Final = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>u[dD][89a-fA-F]..)|.)", re.DOTALL
)
_HIDDEN: Final = rb"\u00"
"""Begins an escape by which JSON may hide a letter of a name."""


def parse_json(values: list[bytes], shape: type[_Shape]) -> tuple[list[_Shape], np.ndarray]:
    """Parse one JSON value a row; a row that does not fit is empty and has a problem code."""
    decode = msgspec.json.Decoder(shape).decode
    problems = np.full(len(values), None, object)
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return list(map(decode, values)), problems
    parsed: list[_Shape] = []
    for row, value in enumerate(values):
        try:
            parsed.append(decode(value))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            parsed.append(shape())
            problems[row] = _explain(value, error)
    return parsed, problems


def _explain(value: bytes, error: Exception) -> Explained:
    """Return the code of a value that does not fit, and what the parser or its first bytes say.

    Those are types, places of our schemas, byte numbers and names of formats, and no content.
    """
    try:
        if isinstance(msgspec.json.decode(value), dict):
            return Explained(DeadLetterCode.WRONG_TYPE, str(error))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if kind := name_kind(value):
            return Explained(DeadLetterCode.BAD_JSON, f"{kind} was found: send plain JSON")
    if are_several(value):
        return Explained(DeadLetterCode.BATCHED_EVENTS, _SEVERAL)
    if isinstance(error, UnicodeDecodeError):
        return Explained(DeadLetterCode.BAD_JSON, f"the JSON is not UTF-8 (byte {error.start})")
    words = "JSON is nested too deep" if isinstance(error, RecursionError) else str(error)
    return Explained(DeadLetterCode.BAD_JSON, words)


def without_half_pairs(value: bytes) -> bytes:
    """Return JSON with U+FFFD for each escape that is half of a surrogate pair.

    A string of UTF-16, as JavaScript's are, that is cut within an emoji ends with such a half.
    """
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found["half"] else found[0], value)


def find_repeats(values: Sequence[bytes], given: Mapping[str, int], problems: np.ndarray) -> None:
    """Note as a problem which objects have one of these members twice with different values.

    JSON's readers differ in which of the two they take. ``given`` is by member in how many of the
    values one was read, 0 where nobody counted.
    """
    joined = b"\n".join(values)
    suspects: set[int] = set()
    if b"\\" in joined and _HIDDEN in joined:  # the first look is 20 times as fast
        suspects = {row for row, value in enumerate(values) if _HIDDEN in value}
    for name, count in given.items():
        quoted = b'"%s"' % name.encode()
        if suspects or joined.count(quoted) != count:  # else each that was read stands once
            suspects |= {row for row, value in enumerate(values) if value.count(quoted) > 1}
    for row in sorted(suspects):
        if problems[row] is None and (twice := repeated_member(values[row], given.keys())):
            words = f"`{twice}` stands twice in the payload, with different values"
            problems[row] = Explained(DeadLetterCode.BAD_JSON, words)


def repeated_member(value: bytes, names: Collection[str]) -> str | None:
    """Return which of these members an object has twice with different values."""
    try:
        pairs = json.loads(value, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return None
    seen: dict[str, str] = {}
    for name, given in pairs if isinstance(pairs, tuple) else ():
        said = repr(given)  # 1 and true are equal, but not here
        if name in names and seen.setdefault(name, said) != said:
            return str(name)
    return None
