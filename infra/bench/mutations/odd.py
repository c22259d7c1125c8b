"""Values that a field hardly ever has: texts, JSON, times and spellings at the edges."""

import random
import unicodedata
from collections.abc import Callable
from typing import Final

TEXTS: Final = (
    "", " ", "\t\r\n", "\x00", "a\x00b", "\x1b[31m", "\x7f", "\x85", "\ufeff", "\u200b",
    "\u202etxt", "\u2028", "\ufffe", "\U0010ffff", "e\u0301" * 40, "ﷺ", "👩‍👩‍👧‍👦", "İ", "ß",
    "null", "None", "NaN", "true", "0", "-1", "*", "=1+1", "<b>", "../../x", "%s%n", "{}", "[]",
    "''", '"', "\\", "https://example.org/?a=b#c", "mailto:x@example.org", "urn:uuid:0", "data:,x",
    "file:///", "a" * 255, "a" * 256, "a" * 257, "a" * 4001, "文" * 4000, "1 " * 2000,
)  # fmt: skip
"""Texts, some of which the schemas allow."""

CONTENT_TYPES: Final = (
    "", "application/json", "application/cloudevents+json", "application/cloudevents-batch+json",
    "application/cloudevents+avro", "application/cloudevents+json; charset=utf-16",
    "APPLICATION/CLOUDEVENTS+JSON", "text/plain", "image/png", "audio/wav",
    "application/cloudevents",
)  # fmt: skip

TOKENS: Final = (
    "null", "true", "false", "0", "-0", "-1", "1", "1.0", "2", "1.7", "-1.7", "1e400", "-1e400",
    "1e-400", "1e308", "3.5e38", "NaN", "Infinity", "-Infinity", "nan", "01", "+1", ".5", "1.",
    "0x1", "9007199254740993", "9223372036854775807", "9223372036854775808",
    "-9223372036854775809", "18446744073709551616", "9" * 400,
    "9" * 5000, "0." + "9" * 400, '""', '" "', '"true"', '"1"',
    r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"', r'"\ufeff"', r'"\x41"', '"\x01"', '"a', "'a'",
    "{}", "[]", "[null]", "[[]]", '[""]', '{"":0}', '{"a":1,"a":2}', "undefined", "/*", "",
)  # fmt: skip
"""What may stand in the place of a JSON value; not all of it is JSON."""

GRANTED: Final = (
    "true", "false", '"yes"', '"TRUE "', '"no"', '"Ｔｒｕｅ"', "1", "0", "1.0", "2", "null",
    "[true]", '{"granted":true}', 'true,"granted":false', 'false,"Granted":true', '"ja"',
)  # fmt: skip
LISTS: Final = (
    "[]", "null", '["*"]', '"*"', '["avatar_mirroring"]', '["recommendation","nothing"]',
    '["text"]', '["Voice "]', '["text","voice","face","motion"]', '["text",null]', '[["text"]]',
    '{"text":true}', '["avatar_mirroring","avatar_mirroring"]', '[""]', "[1]",
    str([str(number) for number in range(300)]).replace("'", '"'),
)  # fmt: skip
"""What a consent may say of itself, of its purposes and of its modalities."""

_DEPTHS: Final = (50, 500, 1_500, 20_000)
_LENGTHS: Final = (1_000, 4_001, 70_000, 300_000)

_DAY: Final = "2026-09-14"
TIMES: Final = (
    "", "now", "0", "1757844000", "1757844000000", "2026-09-14", "10:00:00Z", f"{_DAY}T10:00:00",
    f"{_DAY}T10:00Z", f"{_DAY} 10:00:00Z", f"{_DAY}t10:00:00z", f"{_DAY}T10:00:00.123456789Z",
    f"{_DAY}T10:00:00.1234567890Z", f"{_DAY}T10:00:00,5Z", f"{_DAY}T23:59:60Z", f"{_DAY}T24:00:00Z",
    f"{_DAY}T10:00:61Z", f"{_DAY}T10:60:00Z", "2016-12-31T23:59:60Z", f"{_DAY}T10:00:00+18:00",
    f"{_DAY}T10:00:00-18:00", f"{_DAY}T10:00:00+18:01", f"{_DAY}T10:00:00+24:00",
    f"{_DAY}T10:00:00-00:00", f"{_DAY}T10:00:00+0000", f"{_DAY}T10:00:00 Z", f" {_DAY}T10:00:00Z\n",
    "2026-02-29T10:00:00Z", "2026-13-01T10:00:00Z", "2026-W38-1T10:00:00Z", "2026-257T10:00:00Z",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+18:00",
    "0999-12-31T23:59:59Z", "1000-01-01T00:00:00Z", "1000-01-01T00:00:00+18:00",
    "1582-10-10T00:00:00Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z",
    "1999-12-31T23:59:59.999999Z", "2000-01-01T00:00:00Z", "2000-01-01T00:00:00+18:00",
    "2038-01-19T03:14:08Z", "2099-12-31T23:59:59.999999Z", "2099-12-31T23:59:59-18:00",
    "2100-01-01T00:00:00Z", "2262-04-11T23:47:16.854775807Z", "8999-12-31T23:59:59.999999Z",
    "8999-12-31T23:59:59-18:00", "9000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-18:00", "10000-01-01T00:00:00Z", "+012026-09-14T10:00:00Z",
    "-0001-09-14T10:00:00Z", "٢٠٢٦-٠٩-١٤T10:00:00Z",
    "２０２６-09-14T10:00:00Z",
)  # fmt: skip

STAMPS: Final = (
    -1, 0, 1, -2, 999, -(2**63), -(2**63) + 1, 2**63 - 1, 2**53, -(2**53), 2**31, -(2**31), 2**32,
    -62_135_596_800_001, -62_135_596_800_000, -30_610_224_000_000, 221_845_392_000_000,
    253_402_300_799_999, 253_402_300_800_000, 9_223_372_036_854_775, 9_223_372_036_854_776,
    946_684_800_000, 4_102_444_800_000, 1_789_380_000_000_000,
)  # fmt: skip
"""Record times in milliseconds: none, never set, of every calendar's end, seconds and µs."""

_SPELLINGS: Final[tuple[Callable[[str], str], ...]] = (
    str.upper,
    str.title,
    str.swapcase,
    lambda text: f" {text}\t",
    lambda text: f'"{text}"',
    lambda text: f"\u200b{text}\u2060",
    "\u00ad".join,
    lambda text: "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text),
    lambda text: unicodedata.normalize("NFD", text.replace("a", "ä")),
    lambda text: text.replace("-", "\u2011"),
    lambda text: text.replace("e", "\u0435"),
    lambda text: text[::-1],
    lambda text: text * 30,
    lambda text: text + "\u0301" * 500,
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass")),
)


def odd_text(rng: random.Random) -> str:
    """Return one of TEXTS, or a text that is long or drawn at random."""
    if rng.random() < 0.7:
        return rng.choice(TEXTS)
    if rng.random() < 0.1:
        return rng.choice("xé文 1.@") * rng.choice(_LENGTHS)
    return "".join(chr(rng.choice(_PLANES)(rng)) for _ in range(rng.randrange(1, 60)))


_PLANES: Final[tuple[Callable[[random.Random], int], ...]] = (
    lambda rng: rng.randrange(0x80),
    lambda rng: rng.randrange(0x80, 0x800),
    lambda rng: rng.randrange(0x2000, 0x2100),
    lambda rng: rng.randrange(0x4E00, 0xA000),
    lambda rng: rng.randrange(0x10000, 0x110000),
)


def odd_token(rng: random.Random) -> str:
    """Return one of TOKENS, or a value that is nested deeply, or long."""
    chance = rng.random()
    if chance < 0.85:
        return rng.choice(TOKENS)
    if chance < 0.95:
        depth, (begin, end) = rng.choice(_DEPTHS), rng.choice((("[", "]"), ('{"a":', "}")))
        inside, ends = rng.choice(("", "1")), rng.choice((depth, depth, depth - 1, 0))
        return begin * depth + inside + end * ends
    many = rng.choice((100, 101, 3_000, 20_000))
    return rng.choice(("[" + "0," * many + "0]", "[" + '"a",' * many + '"*"]', f'"{"x" * many}"'))


def respell(text: str, rng: random.Random) -> str:
    """Return another spelling of a name, which may or may not mean the same."""
    return rng.choice(_SPELLINGS)(text[:1_000])
